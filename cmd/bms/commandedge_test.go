package main

import (
	"encoding/json"
	"strings"
	"testing"

	"bms/domain"
	"bms/projections"
)

// Whoever has the answer is judged by it from then on, whichever way he asked.
func TestCommandEdge_users_are_known_once_a_change_is_answered(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		office := n.connect(t, protocol, domain.NamespaceAll, signed("boss", domain.RoleAdmin), "")
		till := newOffice(t)
		till.token = signed("sam", domain.RoleStaff, "b1")
		for i := range 20 {
			branch := []string{"b2", "b1"}[i%2]
			a := office.ask("command", map[string]any{"type": "user.set", "body": map[string]any{"userId": "sam", "role": "staff", "branches": []string{branch}, "disabled": false, "name": "Sam"}})
			if !a.OK {
				t.Fatalf("user.set: %+v", a)
			}
			pos, err := domain.ParsePosition(a.Pos)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range n.app.projections.Status() {
				if s.Name == projections.Users && s.Position.Seq < pos.Seq {
					t.Errorf("users are known up to %s, and the change at %s is answered", s.Position, pos)
				}
			}
			till.do(n, "GET", "/api/branches/"+branch+"/products/p1", "", nil)
		}
	})
}

// Units don't set out for where they can't arrive; a dispatch that was answered
// stays answered.
func TestCommandEdge_transfers_to_no_open_branch_are_refused_at_once(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		mia := n.connect(t, protocol, domain.NamespaceAll, signed("mia", domain.RoleManager, "b1"), "")
		dispatch := func(key, to string) string {
			t.Helper()
			id := mia.send("command", json.RawMessage(`{"type":"transfer.dispatch","branchId":"b1","commandId":"`+key+`","body":{"toBranchId":"`+to+`","lines":[{"productId":"p1","quantity":3}]}}`))
			got, raw := mia.answer()
			if got != id {
				t.Fatalf("answer %s to %d, want one to %d", raw, got, id)
			}
			return string(raw)
		}
		refused := func(key, to, code string) {
			t.Helper()
			if got := dispatch(key, to); !strings.Contains(got, `"code":"`+code+`"`) {
				t.Errorf("to %s: %s, want %s", to, got, code)
			}
		}
		first := dispatch("k1", "b2")
		if !strings.HasPrefix(first, `{"ok":true,`) {
			t.Fatalf("to b2: %s", first)
		}
		refused("k2", "ghost", domain.CodeUnknownBranch)
		refused("k2", "b1", domain.CodeValidation)
		closed := domain.BranchClosed
		n.commit(t, domain.CommandChangeBranch, "b2", domain.ChangeBranch{Status: &closed})
		refused("k2", "b2", domain.CodeBranchClosed)
		if again := dispatch("k1", "b2"); again != first {
			t.Errorf("again %s, want %s", again, first)
		}
		// One that was opened this moment is no unknown one.
		n.commit(t, domain.CommandOpenBranch, "b3", domain.OpenBranch{BranchID: "b3", Name: "New"})
		if got := dispatch("k2", "b3"); !strings.HasPrefix(got, `{"ok":true,`) {
			t.Errorf("to a new branch: %s", got)
		}
	})
}

// An answer belongs to who sent the key, also when he may not ask any more; it
// is nobody else's.
func TestCommandEdge_a_repeat_is_answered_to_who_may_not_ask_any_more(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		n.commit(t, domain.CommandSetUser, "", domain.SetUser{UserID: "mia", Role: domain.RoleManager, Branches: []string{"b1"}, Name: "Mia"})
		mia := n.connect(t, protocol, domain.NamespaceAll, signed("mia", domain.RoleManager, "b1"), "")
		eve := n.connect(t, protocol, domain.NamespaceAll, signed("eve", domain.RoleStaff, "b1"), "")
		create := func(s *testSocket, key string) string {
			t.Helper()
			id := s.send("command", json.RawMessage(`{"type":"product.create","branchId":"b1","commandId":"`+key+`","body":{"sku":"X","name":"Secret","priceMinor":1,"currency":"EUR","minStock":0}}`))
			got, raw := s.answer()
			if got != id {
				t.Fatalf("answer %s to %d, want one to %d", raw, got, id)
			}
			return string(raw)
		}
		first := create(mia, "k1")
		if !strings.HasPrefix(first, `{"ok":true,`) {
			t.Fatalf("create: %s", first)
		}
		n.commit(t, domain.CommandSetUser, "", domain.SetUser{UserID: "mia", Role: domain.RoleStaff, Branches: []string{"b1"}, Name: "Mia"})
		if again := create(mia, "k1"); again != first {
			t.Errorf("again %s, want %s", again, first)
		}
		for _, refused := range []string{create(mia, "k2"), create(eve, "k1")} {
			if !strings.Contains(refused, `"code":"role_forbidden"`) || strings.Contains(refused, "Secret") {
				t.Errorf("got %s, want role_forbidden", refused)
			}
		}
	})
}
