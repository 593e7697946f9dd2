package e2e_test

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// sign makes a token of any kind, also of those that `bms token` refuses.
func sign(t *testing.T, key string, expires time.Duration, claims jwt.MapClaims) string {
	t.Helper()
	claims["exp"] = time.Now().Add(expires).Unix()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestClients_with_a_bad_token_are_told_why(t *testing.T) {
	n := serve(t)
	for name, c := range map[string]struct {
		namespace, token, code string
	}{
		"garbage":              {"/ws", "not a token", "unauthorized"},
		"none":                 {"/ws", "", "unauthorized"},
		"of_another_key":       {"/ws", sign(t, "another secret of 32 bytes and more", time.Hour, jwt.MapClaims{"sub": "u1", "role": "admin"}), "unauthorized"},
		"expired":              {"/ws", sign(t, secret, -time.Minute, jwt.MapClaims{"sub": "u1", "role": "admin"}), "token_expired"},
		"staff_in_the_office":  {"/ws-admin", token(t, "clerk", "staff", "--branch", "b1"), "forbidden_namespace"},
		"nobody_s_at_the_till": {"/ws-pos", sign(t, secret, time.Hour, jwt.MapClaims{"sub": "nobody", "role": "staff"}), "forbidden_namespace"},
	} {
		for transport, options := range transports {
			t.Run(name+"/"+transport, func(t *testing.T) {
				d := dashboard(t, name, "http://"+n.addr+c.namespace, c.token, options)
				if s := d.next("connect_error"); s.Data.Code != c.code || s.Message == "" {
					t.Errorf("connect_error %q with code %q, want a message and %q", s.Message, s.Data.Code, c.code)
				}
			})
		}
		if c.namespace != "/ws" {
			continue
		}
		t.Run(name+"/http", func(t *testing.T) {
			if p := n.refused(401, "GET", "/api/branches", c.token, nil); p.Code != c.code {
				t.Errorf("code %q, want %q", p.Code, c.code)
			}
		})
	}
}

// A connection ends when its token does, and the client is told why when it
// comes back with the same one.
func TestClients_are_sent_away_when_their_token_expires(t *testing.T) {
	n := serve(t)
	// Long enough for Node to start and connect.
	const life = 20 * time.Second
	dashboards := map[string]*client{}
	for transport, options := range transports {
		user := "brief-" + transport
		dashboards[transport] = dashboard(t, user, "http://"+n.addr+"/ws", sign(t, secret, life, jwt.MapClaims{"sub": user, "role": "admin"}), options)
	}
	for transport, d := range dashboards {
		d.next("session")
		d.next("disconnect")
		if s := d.next("connect_error"); s.Data.Code != "token_expired" {
			t.Errorf("%s: connect_error %q with code %q, want token_expired", transport, s.Message, s.Data.Code)
		}
	}
}

func TestClients_that_connect_too_often_are_told_when_to_come_back(t *testing.T) {
	n := serve(t, "--connect-rate", "2/1h")
	tok := token(t, "eager", "admin")
	for range 2 {
		dashboard(t, "eager", "http://"+n.addr+"/ws", tok, `{}`).next("session")
	}
	s := dashboard(t, "eager", "http://"+n.addr+"/ws", tok, `{}`).next("connect_error")
	if s.Data.Code != "rate_limited" || s.Data.RetryAfter < 1 || s.Data.RetryAfter > 3600 {
		t.Errorf("connect_error %q with code %q and retryAfter %v, want rate_limited and up to an hour", s.Message, s.Data.Code, s.Data.RetryAfter)
	}
	// Another user is not held back, and the counts are what is connected.
	dashboard(t, "other", "http://"+n.addr+"/ws-admin", token(t, "other", "admin"), `{}`).next("session")
	var status struct {
		WebSocket map[string]any `json:"websocket"`
	}
	n.must("GET", "/ws-status", "", nil).into(t, &status)
	if status.WebSocket["enabled"] != true || status.WebSocket["connections"] != 3.0 {
		t.Errorf("ws-status %v, want 3 connections", status.WebSocket)
	}
	spaces, _ := status.WebSocket["namespaces"].(map[string]any)
	if spaces["/ws"] != 2.0 || spaces["/ws-admin"] != 1.0 || spaces["/ws-pos"] != 0.0 {
		t.Errorf("namespaces %v, want 2 in /ws, 1 in /ws-admin, 0 in /ws-pos", spaces)
	}
}

func TestCommands_that_are_refused_leave_no_trace(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	staff := token(t, "u1", "staff", "--branch", "b1")
	openShops(n, admin)
	before := len(n.log(admin))

	short := n.refused(409, "POST", "/api/branches/b1/transactions", staff, map[string]any{
		"kind": "sale", "status": "completed",
		"lines": []map[string]any{{"productId": "apples", "quantity": 21}, {"productId": "bread", "quantity": 100}},
	})
	if short.Code != "insufficient_stock" || len(short.Lines) != 2 {
		t.Fatalf("sale of too much: %+v, want insufficient_stock with both lines", short)
	}
	for i, want := range []struct {
		product string
		asked   int64
	}{{"apples", 21}, {"bread", 100}} {
		if l := short.Lines[i]; l.ProductID != want.product || l.Available != 20 || l.Asked != want.asked {
			t.Errorf("short line %d is %+v, want %s with 20 available and %d asked", i, l, want.product, want.asked)
		}
	}
	adjustment := map[string]any{"productId": "apples", "delta": -1, "reason": "damaged"}
	if p := n.refused(403, "POST", "/api/branches/b2/inventory/adjustments", staff, adjustment); p.Code != "branch_forbidden" {
		t.Errorf("foreign branch: code %q, want branch_forbidden", p.Code)
	}
	if p := n.refused(403, "POST", "/api/branches", staff, map[string]any{"branchId": "b3", "name": "Mine"}); p.Code != "role_forbidden" {
		t.Errorf("branch by staff: code %q, want role_forbidden", p.Code)
	}
	invalid := n.refused(400, "POST", "/api/branches/b1/inventory/adjustments", staff, map[string]any{"productId": 7, "Delta": 1, "reason": "x"})
	if invalid.Code != "validation" || len(invalid.Errors) < 2 {
		t.Errorf("body not of the schema: %+v, want validation naming the fields", invalid)
	}
	if after := len(n.log(admin)); after != before {
		t.Errorf("the log has %d events after the refusals, want %d", after, before)
	}
}

// Invariant 3: a command id takes effect at most once, across a crash.
func TestIdempotency_key_gives_the_same_answer_after_kill_9(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	openShops(n, admin)
	sell := func(quantity int) answer {
		return n.call("POST", "/api/branches/b1/transactions", admin, map[string]any{
			"kind": "sale", "status": "completed", "lines": []map[string]any{{"productId": "apples", "quantity": quantity}},
		}, "Idempotency-Key", "sale-1")
	}
	first := sell(3)
	if first.status > 299 {
		t.Fatalf("sale: %d %s", first.status, first.raw)
	}
	n = n.killAndRestart()
	again := sell(3)
	if again.status != first.status || string(again.raw) != string(first.raw) {
		t.Errorf("the same key again: %d %s\nwant %d %s", again.status, again.raw, first.status, first.raw)
	}
	if other := sell(4); other.status != 422 {
		t.Errorf("the same key with another body: %d %s, want 422", other.status, other.raw)
	}
	var stock struct {
		Stock int64 `json:"stock"`
	}
	n.read("/api/branches/b1/products/apples", admin, admin).into(t, &stock)
	if stock.Stock != 17 {
		t.Errorf("stock %d, want 17", stock.Stock)
	}
}
