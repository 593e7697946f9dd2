package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// transports are the ways in which a stock client connects.
var transports = map[string]string{
	"default":   `{}`,
	"websocket": `{"transports":["websocket"]}`,
	"polling":   `{"transports":["polling"]}`,
}

// openShops opens the branches b1 and b2, each with apples and bread.
func openShops(n *node, admin string) {
	for _, b := range []string{"b1", "b2"} {
		n.must("POST", "/api/branches", admin, map[string]any{"branchId": b, "name": "Shop " + b})
		for _, p := range []string{"apples", "bread"} {
			n.must("POST", "/api/branches/"+b+"/products", admin, map[string]any{
				"productId": p, "sku": "SKU-" + p, "name": p, "priceMinor": 199, "currency": "EUR", "stock": 20, "minStock": 5,
			})
		}
	}
}

// trade does a bit of everything in a branch and returns how many low-stock
// alerts that makes.
func trade(n *node, admin, b string) (alerts int) {
	at := "/api/branches/" + b
	n.must("POST", at+"/inventory/adjustments", admin, map[string]any{"productId": "apples", "delta": -3, "reason": "damaged"})
	n.must("PUT", at+"/products/bread/stock", admin, map[string]any{"counted": 19})
	n.must("PATCH", at+"/products/bread", admin, map[string]any{"name": "Rye bread", "priceMinor": 299})
	n.must("POST", at+"/transactions", admin, map[string]any{
		"transactionId": "t1-" + b, "kind": "sale", "status": "completed",
		"lines": []map[string]any{{"productId": "apples", "quantity": 13}, {"productId": "bread", "quantity": 2}},
	}) // leaves 4 apples: an alert
	n.must("POST", at+"/transactions/t1-"+b+"/status", admin, map[string]any{"status": "refunded", "reason": "returned"})
	n.must("POST", at+"/products", admin, map[string]any{
		"productId": "tea-" + b, "sku": "SKU-tea", "name": "Tea", "priceMinor": 250, "currency": "EUR", "stock": 2, "minStock": 3,
	}) // an alert
	n.must("DELETE", at+"/products/tea-"+b, admin, nil)
	n.must("PATCH", "/api/branches/"+b, admin, map[string]any{"name": "Shop " + b + ", renamed"})
	return 2
}

// lastly makes one more event in a branch and returns its position: who has
// that has all before it.
func lastly(n *node, admin, b string) string {
	var done struct {
		Pos string `json:"pos"`
	}
	n.must("POST", "/api/branches/"+b+"/inventory/adjustments", admin, map[string]any{"productId": "apples", "delta": 1, "reason": "found"}).into(n.t, &done)
	return done.Pos
}

// awaitAlerts waits until a client has seen so many low-stock alerts.
func (c *client) awaitAlerts(count int) {
	c.t.Helper()
	seen := 0
	c.await(fmt.Sprintf("%d low-stock alerts", count), 0, func(line string) bool {
		if c.parse(line).On == "low-stock:alert" {
			seen++
		}
		return seen == count
	})
}

// visible filters the log as the contract says who sees what; the events of
// these tests are all of a branch.
func visible(t *testing.T, log []json.RawMessage, branches ...string) []json.RawMessage {
	t.Helper()
	var seen []json.RawMessage
	for _, raw := range log {
		var e event
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(branches, e.branch()) {
			seen = append(seen, raw)
		}
	}
	return seen
}

// wantEvents compares what a client printed with what it should have seen:
// the same events, in the same order, each once, equal as JSON.
func wantEvents(t *testing.T, who string, got, want []json.RawMessage) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = compact(t, got[i])
		}
		if i < len(want) {
			w = compact(t, want[i])
		}
		if g != w {
			t.Fatalf("%s: event %d of %d is\n%s\nwant (of %d)\n%s", who, i, len(got), g, len(want), w)
		}
	}
}

// compact makes equal JSON equal as text: JavaScript keeps the order of keys.
func compact(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return b.String()
}

// Invariants 1 and 4: everything a client sees is in the log, and it sees
// exactly the events of its branch and role, in log order, once.
func TestClients_see_exactly_the_events_of_their_branch_in_log_order(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	clients := map[string]*client{}
	branches := map[string][]string{}
	join := func(name, namespace, scheme, options, token string, of ...string) {
		clients[name] = dashboard(t, name, scheme+"://"+n.addr+namespace, token, options)
		branches[name] = of
	}
	for transport, options := range transports {
		for _, b := range []string{"b1", "b2"} {
			user := "staff-" + b + "-" + transport
			join(user, "/ws", "http", options, token(t, user, "staff", "--branch", b), b)
		}
		user := "admin-" + transport
		join(user, "/ws", "http", options, token(t, user, "admin"), "b1", "b2")
	}
	join("manager", "/ws", "ws", `{}`, token(t, "manager", "manager", "--branch", "b1,b2"), "b1", "b2")
	join("till", "/ws-pos", "http", `{}`, token(t, "till", "staff", "--branch", "b2"), "b2")
	join("office", "/ws-admin", "http", `{}`, token(t, "office", "admin"), "b1", "b2")
	for name, c := range clients {
		if s := c.next("connect"); s.Recovered {
			t.Errorf("%s: recovered at the first connect", name)
		}
		if s := c.next("session").Session; s.Recovered || s.Pos == "" || s.SID == "" || len(s.Rooms) == 0 {
			t.Errorf("%s: session %+v, want sid, rooms and pos, and recovered false", name, s)
		}
	}

	openShops(n, admin)
	alerts := trade(n, admin, "b1") + trade(n, admin, "b2")
	clients["admin-default"].awaitAlerts(alerts)
	last := map[string]string{"b1": lastly(n, admin, "b1"), "b2": lastly(n, admin, "b2")}

	log := n.log(admin)
	for name, c := range clients {
		of := branches[name]
		wantEvents(t, name, c.until(last[of[len(of)-1]]), visible(t, log, of...))
	}
	for _, c := range clients {
		c.close()
	}
}

// Invariant 4 across a crash: nothing is lost, nothing comes twice.
func TestClients_get_what_they_missed_after_kill_9_and_restart(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	openShops(n, admin)
	clients := map[string]*client{}
	for transport, options := range transports {
		user := "staff-" + transport
		clients[user] = dashboard(t, user, "http://"+n.addr+"/ws", token(t, user, "staff", "--branch", "b1"), options)
	}
	// The events before they came are not theirs: the log from here on is.
	for _, c := range clients {
		c.next("session")
	}
	before := len(n.log(admin))
	if alerts := trade(n, admin, "b1"); alerts > 0 {
		for _, c := range clients {
			c.awaitAlerts(alerts)
		}
	}

	// While the clients hold still, the node dies, comes back, and goes on.
	for _, c := range clients {
		c.signal(syscall.SIGSTOP)
	}
	n = n.killAndRestart()
	missed := lastly(n, admin, "b1")
	lastly(n, admin, "b2") // not for them
	for _, c := range clients {
		c.signal(syscall.SIGCONT)
	}
	for name, c := range clients {
		c.next("disconnect")
		if s := c.next("connect"); !s.Recovered {
			t.Errorf("%s: socket.recovered is false after the restart", name)
		}
		c.until(missed)
	}
	live := lastly(n, admin, "b1")
	log := visible(t, n.log(admin)[before:], "b1")
	for name, c := range clients {
		wantEvents(t, name, c.until(live), log)
		c.close()
	}
}

// A React 18 page: StrictMode connects, cleans up and connects again, events
// render once, unmounting disconnects.
func TestReact_page_renders_each_event_once_and_cleans_up(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	openShops(n, admin)
	c := reactTill(t, "http://"+n.addr+"/ws", token(t, "till", "staff", "--branch", "b1"))
	c.next("mount")
	c.next("unmount")
	c.next("mount")
	c.next("connect")

	before := len(n.log(admin))
	n.must("POST", "/api/branches/b1/inventory/adjustments", admin, map[string]any{"productId": "apples", "delta": -3, "reason": "damaged"})
	last := lastly(n, admin, "b1")
	c.nextThat("render of 18 apples", func(s shown) bool { return strings.Contains(s.Text, "SKU-apples: 18") })
	wantEvents(t, "the page", c.until(last), visible(t, n.log(admin)[before:], "b1"))

	n = n.killAndRestart()
	if s := c.next("connect"); !s.Recovered {
		t.Error("the page: socket.recovered is false after the restart")
	}
	c.until(lastly(n, admin, "b1"))
	c.nextThat("render of 19 apples", func(s shown) bool { return strings.Contains(s.Text, "SKU-apples: 19") })
	c.signal(syscall.SIGTERM)
	c.next("unmount")
	c.next("closed")
	c.exit()
}
