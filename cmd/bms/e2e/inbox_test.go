package e2e_test

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
)

// phone starts programs/inbox.mjs.
func phone(t *testing.T, n *node, token string) *client {
	t.Helper()
	c := &client{process: start(t, "phone", nil, "node", "programs/inbox.mjs", "http://"+n.addr+"/ws", token)}
	c.next("session")
	return c
}

// notify sends a notification and returns its event, byte for byte.
func (n *node) notify(admin, audience, title string) json.RawMessage {
	n.t.Helper()
	var done struct{ Events []json.RawMessage }
	n.must("POST", "/api/notifications", admin, map[string]any{"audience": audience, "severity": "info", "title": title, "message": "m"}).into(n.t, &done)
	return done.Events[0]
}

// What is sent to a user who is offline outlives kill -9, comes in log order
// after session on any device, and stays away once it is acknowledged on one,
// also across another kill.
func TestNotifications_wait_for_their_user_across_kill_9(t *testing.T) {
	n := serve(t)
	admin, ann := token(t, "root", "admin"), token(t, "ann", "staff", "--branch", "b1")
	n.must("POST", "/api/branches", admin, map[string]any{"branchId": "b1", "name": "Shop"})
	var sent []json.RawMessage
	for i := range 4 {
		sent = append(sent, n.notify(admin, "notifications:ann", fmt.Sprintf("to Ann %d", i)))
		n.notify(admin, "notifications:bob", "to Bob")
		n = n.killAndRestart()
	}
	// A node that knows its unread notifications shows them: one that starts
	// doesn't wait for long until it does.
	connect := func() *client {
		n.read("/api/notifications", ann, admin)
		return phone(t, n, ann)
	}
	expect := func(when string, c *client, want []json.RawMessage) {
		t.Helper()
		var last event
		if err := json.Unmarshal(want[len(want)-1], &last); err != nil {
			t.Fatal(err)
		}
		wantEvents(t, when, c.until(last.Pos), want)
	}
	first := connect()
	expect("the first phone", first, sent)
	second := connect()
	expect("the second phone", second, sent)
	second.close()

	first.signal(syscall.SIGUSR2)
	if s := first.next("ack"); s.Text != `{"ok":true}` {
		t.Errorf("ack %s, want ok", s.Text)
	}
	first.close()
	n = n.killAndRestart()
	later := []json.RawMessage{n.notify(admin, "notifications:ann", "later")}
	third := connect()
	expect("after the acknowledgement and another kill", third, later)
	third.close()
	var unread struct{ Items []json.RawMessage }
	n.read("/api/notifications", ann, admin).into(t, &unread)
	wantEvents(t, "GET /api/notifications", unread.Items, later)
}
