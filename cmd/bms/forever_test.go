package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bms/domain"
)

// fakeClock is a node's clock that tests put forward.
type fakeClock struct{ nanos atomic.Int64 }

func newFakeClock() *fakeClock {
	c := &fakeClock{}
	c.nanos.Store(time.Now().UnixNano())
	return c
}

func (c *fakeClock) now() time.Time { return time.Unix(0, c.nanos.Load()) }

func (c *fakeClock) forward(d time.Duration) { c.nanos.Add(int64(d)) }

// startNodeAt is startNode with a clock.
func startNodeAt(t *testing.T, dataDir string, clock *fakeClock) *testNode {
	t.Helper()
	flags, cfg := serveFlags()
	if err := flags.Parse([]string{"--addr", "127.0.0.1:0", "--data", dataDir, "--jwt-secret", testSecret}); err != nil {
		t.Fatal(err)
	}
	app := patientApp(cfg, slog.New(slog.DiscardHandler))
	app.now = clock.now
	return runNode(t, app)
}

// token is an admin's, for an hour by the clock.
func (c *fakeClock) token() string {
	now := c.now()
	return signedUntil(now, now.Add(time.Hour), "boss", domain.RoleAdmin)
}

// Invariant 3, by a clock that is put forward: a key is not remembered for a
// time but is in the log.
func TestForever_one_key_has_one_effect_and_one_answer(t *testing.T) {
	dir, clock, client := t.TempDir(), newFakeClock(), newClient(t, 100)
	n := startNodeAt(t, dir, clock)
	ask := func(method, path, key, body string) (int, string) {
		t.Helper()
		status, answer, err := request(t.Context(), client, method, "http://"+n.addr+path, clock.token(), key, body)
		if err != nil {
			t.Fatal(err)
		}
		return status, string(answer)
	}
	must := func(want int, method, path, key, body string) string {
		t.Helper()
		status, answer := ask(method, path, key, body)
		if status != want {
			t.Fatalf("%s %s: %d %s, want %d", method, path, status, answer, want)
		}
		return answer
	}
	const sales, product = "/api/branches/b1/transactions", "/api/branches/b1/products/tea"
	must(201, "POST", "/api/branches", "", `{"branchId":"b1","name":"Tea house"}`)
	must(201, "POST", "/api/branches/b1/products", "", `{"productId":"tea","sku":"T","name":"Tea","priceMinor":250,"currency":"EUR","stock":10}`)

	sale := func(quantity int) string {
		return fmt.Sprintf(`{"kind":"sale","status":"completed","lines":[{"productId":"tea","quantity":%d}]}`, quantity)
	}
	answers := make([]string, 100)
	token := clock.token()
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			status, answer, err := request(t.Context(), client, "POST", "http://"+n.addr+sales, token, "key", sale(3))
			if err != nil || status != 201 {
				t.Errorf("%d %s %v, want 201", status, answer, err)
			}
			answers[i] = string(answer)
		})
	}
	all.Wait()
	first := answers[0]
	for _, answer := range answers {
		if answer != first {
			t.Fatalf("one key has two answers:\n%s\n%s", answer, first)
		}
	}
	// What is refused leaves no trace: its key is free.
	if refused := must(409, "POST", sales, "later", sale(50)); !strings.Contains(refused, domain.CodeInsufficientStock) {
		t.Fatalf("refused with %s", refused)
	}

	later := ""
	for _, passed := range []struct {
		name    string
		forward time.Duration
		restart bool
	}{
		{"at_once", 0, false},
		{"after_a_day", 24*time.Hour + time.Minute, false},
		{"after_three_days", 48*time.Hour + time.Minute, false},
		{"after_a_restart", 0, true},
		{"after_a_month_and_a_restart", 30 * 24 * time.Hour, true},
	} {
		t.Run(passed.name, func(t *testing.T) {
			if passed.restart {
				n.stop()
			}
			clock.forward(passed.forward)
			if passed.restart {
				n = startNodeAt(t, dir, clock)
			}
			if got := must(201, "POST", sales, "key", sale(3)); got != first {
				t.Errorf("answer %s\nfirst  %s", got, first)
			}
			socket := listenTo(t, n, clock.token()).ask(t, "command", `{"type":"transaction.create","branchId":"b1","commandId":"key","body":`+sale(3)+`}`)
			if want := `{"ok":true,` + first[1:]; socket != want {
				t.Errorf("ack   %s\nfirst %s", socket, want)
			}
			if other := must(422, "POST", sales, "key", sale(4)); !strings.Contains(other, domain.CodeIdempotencyMismatch) {
				t.Errorf("another body: %s", other)
			}
			if later == "" {
				must(200, "PUT", product+"/stock", "", `{"counted":57}`)
				later = must(201, "POST", sales, "later", sale(50))
			}
			if got := must(201, "POST", sales, "later", sale(50)); got != later {
				t.Errorf("answer %s\nfirst  %s", got, later)
			}
			if got := must(200, "GET", product, "", ""); !strings.Contains(got, `"stock":7,`) {
				t.Errorf("product %s, want a stock of 7", got)
			}
		})
	}
}
