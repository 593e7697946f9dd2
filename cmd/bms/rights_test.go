package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"bms/domain"
	"bms/transport/plainws"
	"bms/transport/telemetry"
)

// wantUnwelcome waits for the end of a client that is not to come back
// unchanged, as its protocol says that, and returns the events before.
func wantUnwelcome(t *testing.T, s *testSocket, code websocket.StatusCode) []testEvent {
	t.Helper()
	end, before := s.end()
	want := socketEnd{code: code}
	if s.protocol == telemetry.ProtocolSocketIO {
		want = socketEnd{disconnected: true}
	}
	if end != want {
		t.Errorf("%v, want %v", end, want)
	}
	return before
}

func TestRights_staff_cannot_join_what_is_not_theirs(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		s := n.connect(t, protocol, domain.NamespaceAll, signed("clerk", domain.RoleStaff, "b1"), "")
		before := s.session.Rooms
		for _, room := range []any{
			"branch:b2", "user-role:admin", "user-role:manager", "user:other", "notifications:other", "system:alerts",
			"branch:*", "branch:b1\x00", "branch:b1 ", " branch:b1", "branch:B1", "Branch:b1", "branch:Ь1", "branch:b1/../b2", "branch:", "", "*",
			strings.Repeat("x", 10_000), 1, nil,
			[]string{"branch:b1"},
		} {
			if a := s.ask("room:join", room); a.OK || a.Error.Code == "" {
				t.Errorf("join of %.40q: %+v, want a refusal", room, a)
			}
		}
		if a := s.ask("room:join"); a.OK {
			t.Errorf("join of nothing: %+v, want a refusal", a)
		}
		a := s.ask("room:join", "branch:b1")
		if !a.OK || !slices.Equal(a.Rooms, before) {
			t.Errorf("rooms %v after refused joins, want %v", a.Rooms, before)
		}
		n.sell(t, "b2")
		s.want(n.sell(t, "b1"))
	})
}

func TestRights_rooms_of_one_connection_are_bounded(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		s := n.connect(t, protocol, domain.NamespaceAll, signed("boss", domain.RoleAdmin), "")
		joined := 0
		for i := range 400 {
			if a := s.ask("room:join", fmt.Sprintf("user:u%d", i)); a.OK {
				joined++
			} else if a.Error.Code != domain.CodeOverloaded {
				t.Fatalf("join %d: %+v, want overloaded", i, a)
			}
		}
		if joined < 200 || joined > 256 {
			t.Errorf("%d joins, want as many as fit into 256 rooms", joined)
		}
	})
}

// Invariant 4: no event after the position at which a right ended, live or on
// replay.
func TestRights_a_lowered_role_takes_effect_at_its_position(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		token := signed("lead", domain.RoleManager, "b1", "b2")
		s := n.connect(t, protocol, domain.NamespaceAll, token, "")
		start := s.session.Pos
		seen := []string{n.sell(t, "b1"), n.sell(t, "b2")}
		role, branches := domain.RoleStaff, []string{"b1"}
		n.commit(t, domain.CommandSetUser, "", domain.SetUser{UserID: "lead", Role: role, Branches: branches})
		n.sell(t, "b2") // unseen
		after := n.sell(t, "b1")
		check := func(s *testSocket, seen ...string) {
			t.Helper()
			s.want(seen...)
			if e := s.next(); e.Type != domain.TypeUserUpdated {
				t.Fatalf("%s at %s, want the change of the user", e.Type, e.Pos)
			}
			s.want(after)
		}
		check(s, seen...)
		if a := s.ask("room:join", "branch:b2"); a.OK {
			t.Error("joined a branch that was taken away")
		}
		if a := s.ask("room:join", "system:alerts"); a.OK {
			t.Error("staff joined the alerts")
		}
		// The same on replay, with the token that says more, but for what he
		// may not see any more.
		again := n.connect(t, protocol, domain.NamespaceAll, token, start)
		if !again.session.Recovered {
			t.Errorf("session %+v, want recovered", again.session)
		}
		check(again, seen[0])
		// Given back, it is there again, from there on.
		branches = []string{"b1", "b2"}
		n.commit(t, domain.CommandChangeUser, "", domain.ChangeUser{UserID: "lead", Branches: &branches})
		back := n.sell(t, "b2")
		for _, each := range []*testSocket{s, again} {
			if e := each.next(); e.Type != domain.TypeUserUpdated {
				t.Fatalf("%s at %s, want the change of the user", e.Type, e.Pos)
			}
			each.want(back)
		}
	})
}

func TestRights_who_is_disabled_is_sent_away_after_what_was_before(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		token := signed("clerk", domain.RoleStaff, "b1")
		s := n.connect(t, protocol, domain.NamespaceAll, token, "")
		before := n.sell(t, "b1")
		disabled := true
		n.commit(t, domain.CommandSetUser, "", domain.SetUser{UserID: "clerk", Role: domain.RoleStaff, Branches: []string{"b1"}})
		n.commit(t, domain.CommandChangeUser, "", domain.ChangeUser{UserID: "clerk", Disabled: &disabled})
		n.sell(t, "b1")
		events := wantUnwelcome(t, s, plainws.StatusRightsEnded)
		if len(events) < 1 || len(events) > 3 || events[0].Pos != before {
			t.Errorf("events %+v, want the sale before and changes of the user only", events)
		}
		for _, e := range events[1:] {
			if e.Type != domain.TypeUserUpdated {
				t.Errorf("%s at %s after the user was disabled", e.Type, e.Pos)
			}
		}
		if _, err := n.tryConnect(t, protocol, domain.NamespaceAll, token, before); err == nil || !strings.HasPrefix(err.Error(), domain.CodeUnauthorized) {
			t.Errorf("connecting again: %v, want %s", err, domain.CodeUnauthorized)
		}
	})
}

func TestRights_an_admin_no_more_leaves_the_office(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		token := signed("chief", domain.RoleAdmin)
		office := n.connect(t, protocol, domain.NamespaceAdmin, token, "")
		floor := n.connect(t, protocol, domain.NamespaceAll, token, "")
		n.commit(t, domain.CommandSetUser, "", domain.SetUser{UserID: "chief", Role: domain.RoleStaff, Branches: []string{"b1"}})
		wantUnwelcome(t, office, plainws.StatusRightsEnded)
		n.sell(t, "b2")
		sold := n.sell(t, "b1")
		if e := floor.next(); e.Type != domain.TypeUserUpdated {
			t.Errorf("%s, want the change of the user", e.Type)
		}
		floor.want(sold)
		if _, err := n.tryConnect(t, protocol, domain.NamespaceAdmin, token, ""); err == nil || !strings.HasPrefix(err.Error(), domain.CodeForbiddenNamespace) {
			t.Errorf("connecting again: %v, want %s", err, domain.CodeForbiddenNamespace)
		}
	})
}

func TestRights_a_new_branch_reaches_admins_at_once(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		s := n.connect(t, protocol, domain.NamespaceAll, signed("boss", domain.RoleAdmin), "")
		opened := n.commit(t, domain.CommandOpenBranch, "b3", domain.OpenBranch{BranchID: "b3", Name: "New"}).Events[0].Pos.String()
		s.want(opened)
		created := n.commit(t, domain.CommandCreateProduct, "b3", domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "Tea", PriceMinor: 1, Currency: "EUR", Stock: new(int64(5))})
		for i := range created.Events {
			s.want(created.Events[i].Pos.String())
		}
		if a := s.ask("room:leave", "branch:b3"); !a.OK || slices.Contains(a.Rooms, "branch:b3") {
			t.Errorf("left: %+v, want it gone", a)
		}
		n.sell(t, "b3")
		s.want(n.sell(t, "b1"))
	})
}

func TestRights_tills_see_no_users(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		till := n.connect(t, protocol, domain.NamespacePOS, signed("till", domain.RoleStaff, "b1"), "")
		n.commit(t, domain.CommandSetUser, "", domain.SetUser{UserID: "till", Role: domain.RoleStaff, Branches: []string{"b1"}, Name: "Till"})
		till.want(n.sell(t, "b1"))
	})
}

func TestRights_another_users_cursor_gives_only_what_is_ones_own(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		first := n.connect(t, protocol, domain.NamespaceAll, signed("u1", domain.RoleStaff, "b1"), "")
		n.sell(t, "b1")
		own := n.sell(t, "b2")
		other := n.connect(t, protocol, domain.NamespaceAll, signed("u2", domain.RoleStaff, "b2"), first.session.Pos)
		if !other.session.Recovered || other.session.UserID != "u2" || slices.Contains(other.session.Rooms, "branch:b1") {
			t.Errorf("session %+v, want u2's", other.session)
		}
		other.want(own)
	})
}

func TestRights_a_connection_ends_with_its_token_unless_it_is_refreshed(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		const brieflyFor = 10 * time.Second // enough to connect and refresh
		brief := n.connect(t, protocol, domain.NamespaceAll, signedFor(brieflyFor, "u1", domain.RoleStaff, "b1"), "")
		fresh := n.connect(t, protocol, domain.NamespaceAll, signedFor(brieflyFor, "u2", domain.RoleStaff, "b1", "b2"), "")
		if a := fresh.ask("auth:refresh", map[string]string{"token": "garbage"}); a.OK || a.Error.Code != domain.CodeUnauthorized {
			t.Errorf("refresh with garbage: %+v, want unauthorized", a)
		}
		if a := fresh.ask("auth:refresh", map[string]string{"token": signed("u2", domain.RoleStaff, "b1")}); !a.OK || slices.Contains(a.Rooms, "branch:b2") {
			t.Errorf("refresh with fewer branches: %+v, want their rooms left", a)
		}
		end, _ := brief.end()
		if protocol == telemetry.ProtocolWebSocket && end.code != plainws.StatusTokenEnded {
			t.Errorf("%v, want %d", end, plainws.StatusTokenEnded)
		}
		n.sell(t, "b2")
		fresh.want(n.sell(t, "b1")) // is still there
		fresh.send("auth:refresh", map[string]string{"token": signed("u3", domain.RoleStaff, "b1")})
		wantUnwelcome(t, fresh, plainws.StatusTokenEnded)
	})
}

func TestRights_an_admin_disconnects_a_client(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		s := n.connect(t, protocol, domain.NamespaceAll, signed("clerk", domain.RoleStaff, "b1"), "")
		request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+n.addr+"/api/connections/"+s.session.SID, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+signed("boss", domain.RoleAdmin))
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode/100 != 2 {
			t.Fatalf("disconnect: %s", answer.Status)
		}
		wantUnwelcome(t, s, plainws.StatusDisconnected)
	})
}

func TestSockets_admins_get_stats(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		s := n.connect(t, protocol, domain.NamespaceAdmin, signed("boss", domain.RoleAdmin), "")
		e := s.next()
		var stats struct {
			Connections     int            `json:"connections"`
			Rooms           *int           `json:"rooms"`
			Namespaces      map[string]int `json:"namespaces"`
			EventsPerSecond *float64       `json:"eventsPerSecond"`
			Lag             *int           `json:"lag"`
		}
		if err := json.Unmarshal(e.Data, &stats); err != nil || e.Type != "stats" {
			t.Fatalf("%s %s, %v, want stats", e.Type, e.Data, err)
		}
		if stats.Connections != 1 || stats.Namespaces["/ws-admin"] != 1 || stats.Rooms == nil || stats.EventsPerSecond == nil || stats.Lag == nil {
			t.Errorf("stats %s, want those of one connection", e.Data)
		}
	})
}

// A client that doesn't wait for answers has its commands decided in its order.
func TestSockets_pipelined_commands_keep_their_order(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		const commands = 200
		s := n.connect(t, protocol, domain.NamespaceAll, signed("clerk", domain.RoleStaff, "b1"), "")
		if a := s.ask("room:leave", "branch:b1"); !a.OK {
			t.Fatalf("leave: %+v", a)
		}
		first := s.asked + 1
		for i := range commands {
			s.send("command", map[string]any{
				"type": domain.CommandCountStock, "branchId": "b1", "commandId": fmt.Sprintf("count-%d", i),
				"body": map[string]any{"productId": "p1", "counted": i},
			})
		}
		positions := make([]string, commands)
		for range commands {
			id, raw := s.answer()
			var a testAnswer
			if err := json.Unmarshal(raw, &a); err != nil || !a.OK {
				t.Fatalf("answer %s, %v", raw, err)
			}
			positions[id-first] = a.Pos
		}
		if !slices.IsSorted(positions) {
			t.Errorf("positions %v, want the order in which they were sent", positions)
		}
	})
}

func TestSockets_connections_of_one_user_are_bounded(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		token := signed("clerk", domain.RoleStaff, "b1")
		for range 20 {
			n.connect(t, protocol, domain.NamespaceAll, token, "")
		}
		if _, err := n.tryConnect(t, protocol, domain.NamespaceAll, token, ""); err == nil || !strings.HasPrefix(err.Error(), domain.CodeRateLimited) {
			t.Errorf("one more: %v, want %s", err, domain.CodeRateLimited)
		}
		n.connect(t, protocol, domain.NamespaceAll, signed("other", domain.RoleStaff, "b1"), "")
	})
}

// joinAs asks for /ws over Socket.IO with what a client would send to be
// recovered, and returns the private id that it gets, and whether the session
// says that it was recovered.
func (n *testNode) joinAs(t *testing.T, user, branch, pid, offset string) (newPID string, recovered bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+n.addr+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	auth, err := json.Marshal(map[string]string{"token": signed(user, domain.RoleStaff, branch), "pid": pid, "offset": offset})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(ctx, websocket.MessageText, append([]byte("40/ws,"), auth...)); err != nil {
		t.Fatal(err)
	}
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if answer, ok := strings.CutPrefix(string(message), "40/ws,"); ok {
			var connected struct{ PID string }
			if err := json.Unmarshal([]byte(answer), &connected); err != nil {
				t.Fatal(err)
			}
			newPID = connected.PID
		}
		if strings.HasPrefix(string(message), `42/ws,["session"`) {
			return newPID, strings.Contains(string(message), `"recovered":true`)
		}
	}
}

func TestRights_another_users_private_id_recovers_nothing(t *testing.T) {
	n := startNode(t, t.TempDir(), "--connect-rate", "1000/1m")
	start := n.app.log.Head().String()
	first, _ := n.joinAs(t, "u1", "b1", "", "")
	n.commit(t, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	if again, recovered := n.joinAs(t, "u1", "b1", first, start); !recovered || again != first {
		t.Errorf("u1 comes back: recovered %v, the same id %v, want both", recovered, again == first)
	}
	for name, pid := range map[string]string{"another_users": first, "garbage": "x", "of_the_right_length": strings.Repeat("A", len(first)), "long": strings.Repeat("A", 10_000)} {
		if again, recovered := n.joinAs(t, "u2", "b2", pid, start); recovered || again == pid {
			t.Errorf("%s: recovered %v, the same id %v, want neither", name, recovered, again == pid)
		}
	}
}

func TestRights_ten_thousand_joins_are_too_many(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		s := n.connect(t, protocol, domain.NamespaceAll, signed("boss", domain.RoleAdmin), "")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := 0; ; i++ { // a slow machine takes more of them for as much time
				message := fmt.Sprintf(`{"op":"room:join","id":%d,"args":["user:u%d"]}`, i+1, i)
				if protocol == telemetry.ProtocolSocketIO {
					message = fmt.Sprintf(`42/ws,%d["room:join","user:u%d"]`, i+1, i)
				}
				if s.conn.Write(ctx, websocket.MessageText, []byte(message)) != nil {
					return
				}
			}
		}()
		if end, _ := s.end(); protocol == telemetry.ProtocolWebSocket && end.code != plainws.StatusTooMany {
			t.Errorf("%v, want %d", end, plainws.StatusTooMany)
		}
		cancel()
		<-sent
		quiet := n.connect(t, protocol, domain.NamespaceAll, signed("clerk", domain.RoleStaff, "b1"), "")
		quiet.want(n.sell(t, "b1"))
		if rooms := n.app.sockets.hub.Stats().Rooms; rooms > 300 {
			t.Errorf("%d rooms, want those of a few connections", rooms)
		}
	})
}
