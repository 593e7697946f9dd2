package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"bms/domain"
)

// A till that was offline for long hands in as much as one message may have. The
// answer is more than what a connection's lane is meant for, and must arrive,
// also to who asks again for it.
func TestSocketCommand_the_greatest_answer_arrives(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		const lines = 10
		line := domain.TransactionLine{ProductID: "p1", Quantity: 1}
		batch := struct {
			BranchID  string `json:"branchId"`
			CommandID string `json:"commandId"`
			domain.SubmitSync
		}{"b1", "batch-1", domain.SubmitSync{DeviceID: "till", FromSeq: 1}}
		for i := range int64(domain.MaxSyncOperations) {
			batch.Operations = append(batch.Operations, domain.SyncOperation{Seq: i + 1, Lines: slices.Repeat([]domain.TransactionLine{line}, lines)})
		}
		s := n.connect(t, protocol, domain.NamespaceAll, signed("clerk", domain.RoleStaff, "b1"), "")
		s.ask("room:leave", "branch:b1") // the events are not what this is about
		var first json.RawMessage
		for range 2 {
			id := s.send("sync:submit", batch)
			got, raw := s.answer()
			for bytes.Contains(raw, []byte(`"code":"log_unavailable"`)) { // not in time, on a machine that is busy
				id = s.send("sync:submit", batch)
				got, raw = s.answer()
			}
			if got != id || !bytes.HasPrefix(raw, []byte(`{"ok":true,`)) {
				t.Fatalf("answer to %d: %.300s, want it ok", got, raw)
			}
			if len(raw) <= 4<<20 {
				t.Errorf("the answer has %d bytes: too few to show anything", len(raw))
			}
			if first != nil && !bytes.Equal(first, raw) {
				t.Error("the answer is another one the second time")
			}
			first = raw
		}
	})
}

// Invariant 3: a key is for one command, over HTTP and over a socket alike,
// whether a client says on the socket of which branch it is or need not.
func TestSocketCommand_one_key_has_one_effect_whichever_way_it_comes(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		client, token := newClient(t, 1), signed("boss", domain.RoleAdmin)
		s := n.connect(t, protocol, domain.NamespaceAll, token, "")
		for _, c := range []struct{ command, branch, body, method, path, httpBody string }{
			{"branch.open", "", `{"branchId":"b3","name":"C"}`, "POST", "/api/branches", `{"branchId":"b3","name":"C"}`},
			{"branch.open", "b4", `{"branchId":"b4","name":"D"}`, "POST", "/api/branches", `{"name":"D","branchId":"b4"}`},
			{"branch.change", "b1", `{"name":"A"}`, "PATCH", "/api/branches/b1", `{"name":"A"}`},
			{"stock.count", "b1", `{"productId":"p1","counted":7}`, "PUT", "/api/branches/b1/products/p1/stock", `{"counted":7}`},
			{"user.set", "", `{"userId":"u1","role":"staff","branches":["b1"]}`, "PUT", "/api/users/u1", `{"role":"staff","branches":["b1"]}`},
			{"user.change", "b1", `{"userId":"u1","name":"U"}`, "PATCH", "/api/users/u1", `{"name":"U"}`},
			{"notification.send", "b1", `{"audience":"branch:b1","severity":"info","title":"x","message":"y"}`, "POST", "/api/notifications", `{"audience":"branch:b1","severity":"info","title":"x","message":"y"}`},
		} {
			branch := ""
			if c.branch != "" {
				branch = `"branchId":"` + c.branch + `",`
			}
			for i, socketFirst := range []bool{true, false} {
				if c.command == domain.CommandOpenBranch && i > 0 {
					continue // it is open
				}
				key := c.command + c.branch + strconv.Itoa(i)
				overSocket := func() string {
					s.send("command", json.RawMessage(`{"type":"`+c.command+`",`+branch+`"commandId":"`+key+`","body":`+c.body+`}`))
					_, raw := s.answer()
					return string(raw)
				}
				overHTTP := func() string {
					_, answer, err := request(t.Context(), client, c.method, "http://"+n.addr+c.path, token, key, c.httpBody)
					if err != nil {
						t.Fatal(err)
					}
					return `{"ok":true,` + string(answer[1:])
				}
				first, second := overSocket, overHTTP
				if !socketFirst {
					first, second = second, first
				}
				a, b := first(), second()
				if a != b || !strings.Contains(a, `"commandId":"`+key+`"`) {
					t.Errorf("%s in %q, over the socket first %v: %s and then %s, want one answer", c.command, c.branch, socketFirst, a, b)
				}
			}
		}
		s.send("command", json.RawMessage(`{"type":"branch.open","branchId":"b1","body":{"branchId":"b9","name":"Z"}}`))
		if _, raw := s.answer(); !bytes.HasPrefix(raw, []byte(`{"ok":false,`)) {
			t.Errorf("a branch opened in the name of another: %s", raw)
		}
	})
}

// However many members there are, the answer is bounded, and the same each time.
func TestSocketCommand_foreign_members_are_named_in_bounds_and_in_order(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"branchId":7`)
	for i := range 1000 {
		fmt.Fprintf(&b, `,"%d%s":1`, i, strings.Repeat("é", 200))
	}
	b.WriteString(`,"type":8}`)
	var first []byte
	for range 3 {
		_, no := readCommand(json.RawMessage(b.String()))
		if no == nil || no.Code != domain.CodeValidation {
			t.Fatalf("%v, want it refused", no)
		}
		errs := no.Details["errors"].([]domain.FieldError)
		if len(errs) != 2+maxForeign || errs[0].Field != "type" || errs[1].Field != "branchId" {
			t.Errorf("%d errors, the first of %q and %q, want %d, of what is known first", len(errs), errs[0].Field, errs[1].Field, 2+maxForeign)
		}
		for _, e := range errs {
			if len(e.Field) > 200 || !utf8.ValidString(e.Field) {
				t.Errorf("a key of %d bytes is shown", len(e.Field))
			}
		}
		answer, err := json.Marshal(errs)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, answer) {
			t.Errorf("the answer is %.300s, and was %.300s", answer, first)
		}
		first = answer
	}
}
