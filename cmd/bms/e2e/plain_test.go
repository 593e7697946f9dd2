package e2e_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// plain starts programs/plain.mjs.
func plain(t *testing.T, n *node, namespace, token string) *client {
	t.Helper()
	return &client{process: start(t, "plain", nil, "node", "programs/plain.mjs", "ws://"+n.addr+namespace, token)}
}

// ask has a plain client send a message, and returns the answer.
func (c *client) ask(message string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.in, message+"\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.next("ack").Text
}

// Invariants 1 and 4 for a client that keeps its cursor itself.
func TestPlain_clients_see_everything_across_kill_9(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	openShops(n, admin)
	before := len(n.log(admin))
	clients := map[string]*client{
		"staff":  plain(t, n, "/ws", token(t, "staff", "staff", "--branch", "b1")),
		"till":   plain(t, n, "/ws-pos", token(t, "till", "staff", "--branch", "b1")),
		"office": plain(t, n, "/ws-admin", token(t, "office", "admin")),
	}
	for name, c := range clients {
		if s := c.next("open"); s.Transport != "bms.v1.json" {
			t.Errorf("%s: subprotocol %q, want bms.v1.json", name, s.Transport)
		}
		if s := c.next("session").Session; s.UserID != name || s.Recovered || s.Pos == "" {
			t.Errorf("%s: session %+v, want a new one", name, s)
		}
	}
	trade(n, admin, "b1")
	n = n.killAndRestart()
	trade(n, admin, "b2")
	for name, c := range clients {
		if s := c.next("session").Session; !s.Recovered {
			t.Errorf("%s: session %+v, want it recovered", name, s)
		}
	}
	clients["office"].awaitAlerts(4)
	last := map[string]string{"b1": lastly(n, admin, "b1"), "b2": lastly(n, admin, "b2")}
	for _, c := range clients {
		c.until(last["b1"])
	}
	got := clients["office"].until(last["b2"])
	log := n.log(admin)[before:]
	var events []string
	for _, raw := range got {
		if line := compact(t, raw); !strings.HasPrefix(line, `{"type":"stats"`) {
			events = append(events, line)
		}
	}
	all := visible(t, log, "b1", "b2")
	if len(events) != len(all) {
		t.Fatalf("office: %d events, want %d", len(events), len(all))
	}
	for i, raw := range all {
		if want := compact(t, raw); events[i] != want {
			t.Errorf("office: event %d is\n%s\nwant\n%s", i, events[i], want)
		}
	}
	for _, name := range []string{"staff", "till"} {
		wantEvents(t, name, clients[name].until(last["b1"]), visible(t, log, "b1"))
	}
}

func TestPlain_clients_ask_and_command(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	openShops(n, admin)
	c := plain(t, n, "/ws", token(t, "staff", "staff", "--branch", "b1"))
	pos := c.next("session").Session.Pos
	if got, want := c.ask(`{"op":"ping","id":1}`), fmt.Sprintf(`{"type":"ack","id":1,"data":{"ok":true,"pos":%q}}`, pos); got != want {
		t.Errorf("ping: %s, want %s", got, want)
	}
	sale := `{"op":"command","id":"%s","args":[{"type":"transaction.create","branchId":"b1","commandId":"sale-1","body":{"kind":"sale","status":"completed","lines":[{"productId":"apples","quantity":2}]}}]}`
	first := c.ask(fmt.Sprintf(sale, "a"))
	if !strings.HasPrefix(first, `{"type":"ack","id":"a","data":{"ok":true,"commandId":"sale-1",`) {
		t.Errorf("sale: %s", first)
	}
	if again := c.ask(fmt.Sprintf(sale, "b")); again != strings.Replace(first, `"id":"a"`, `"id":"b"`, 1) {
		t.Errorf("the same sale again: %s, want the first answer", again)
	}
	if got := c.ask(`{"op":"room:join","id":3,"args":["branch:b2"]}`); !strings.Contains(got, `"ok":false`) || !strings.Contains(got, `"code":"branch_forbidden"`) {
		t.Errorf("join of another branch: %s", got)
	}
}

func TestPlain_clients_who_are_unwelcome_stay_away(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	c := plain(t, n, "/ws", token(t, "staff", "staff", "--branch", "b1"))
	sid := c.next("session").Session.SID
	n.must("DELETE", "/api/connections/"+sid, admin, nil)
	if s := c.next("close"); s.Message != "4409" {
		t.Errorf("closed with %s, want 4409", s.Message)
	}
	if code := c.exit(); code != 0 {
		t.Errorf("exits %d, want 0: it must not come back", code)
	}
	c = plain(t, n, "/ws-admin", token(t, "staff", "staff", "--branch", "b1"))
	if s := c.next("refused"); s.Message != "403" || s.Data.Code != "forbidden_namespace" {
		t.Errorf("refused with %s %s, want 403 forbidden_namespace", s.Message, s.Data.Code)
	}
	if code := c.exit(); code != 0 {
		t.Errorf("exits %d, want 0: it must not come back", code)
	}
}
