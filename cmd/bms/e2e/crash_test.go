package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

const (
	crashRounds = 4
	crashTills  = 8
	crashSales  = 100 // answered before each kill
	crashStock  = 1_000_000
)

// till sells one unit at a time, each under a key of its own. After a crash it
// repeats the sale that it had no answer to.
type till struct {
	name, token string
	next        int // the sale that is to be answered next
}

func (r *till) key() string { return fmt.Sprintf("%s-%d", r.name, r.next) }

func (r *till) request(addr string) (*http.Request, error) {
	body := `{"transactionId":"` + r.key() + `","kind":"sale","status":"completed","lines":[{"productId":"apples","quantity":1}]}`
	req, err := http.NewRequest("POST", "http://"+addr+"/api/branches/b1/transactions", strings.NewReader(body))
	if err == nil {
		req.Header.Set("Authorization", "Bearer "+r.token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", r.key())
	}
	return req, err
}

// sell sells, at most so many times, until the node is gone.
func (r *till) sell(t *testing.T, client *http.Client, addr string, times int, sold func()) {
	for range times {
		req, err := r.request(addr)
		if err != nil {
			t.Error(err)
			return
		}
		res, err := client.Do(req)
		if err != nil {
			return // killed: whether it took effect is not known
		}
		answer, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return
		}
		if res.StatusCode > 299 {
			t.Errorf("sale %s: %s %s", r.key(), res.Status, bytes.TrimSpace(answer))
			return
		}
		r.next++
		sold()
	}
}

// sellUntilKilled lets all tills sell and kills the node in the middle of it.
func sellUntilKilled(t *testing.T, n *node, tills []*till) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crashTills}}
	defer client.CloseIdleConnections()
	var count atomic.Int64
	enough, stopped := make(chan struct{}), make(chan struct{})
	var selling sync.WaitGroup
	for _, r := range tills {
		selling.Go(func() {
			r.sell(t, client, n.addr, 100*crashSales, func() {
				if count.Add(1) == crashSales {
					close(enough)
				}
			})
		})
	}
	go func() { selling.Wait(); close(stopped) }()
	select {
	case <-enough:
	case <-stopped:
		t.Fatal("the tills stopped before the node was killed")
	}
	n.signal(syscall.SIGKILL)
	n.exit()
	<-stopped
}

// Invariants 1, 3, 4 and 8 across kill -9 under load: every answered sale is in
// the log once, stock is what was not sold, every change has alerted once, and
// a client that was there throughout has seen all of it, once and in order.
func TestKill_9_under_load_loses_nothing_and_doubles_nothing(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	n.must("POST", "/api/branches", admin, map[string]any{"branchId": "b1", "name": "Shop"})
	n.must("POST", "/api/branches/b1/products", admin, map[string]any{
		"productId": "apples", "sku": "A", "name": "Apples", "priceMinor": 100, "currency": "EUR",
		"stock": crashStock, "minStock": crashStock - 1, // the first sale alerts, and every one after it
	})
	watcher := dashboard(t, "watcher", "http://"+n.addr+"/ws", token(t, "watcher", "admin"), `{}`)
	watcher.next("session")
	before := len(n.log(admin))

	tills := make([]*till, crashTills)
	for i := range tills {
		name := fmt.Sprintf("till%d", i)
		tills[i] = &till{name: name, token: token(t, name, "staff", "--branch", "b1")}
	}
	for range crashRounds {
		sellUntilKilled(t, n, tills)
		n = serveOn(t, n.data, n.addr)
		if s := watcher.next("connect"); !s.Recovered {
			t.Error("socket.recovered is false")
		}
	}
	answered := map[string]bool{}
	for _, r := range tills {
		r.sell(t, http.DefaultClient, n.addr, 1, func() {}) // what has no answer yet
		for i := range r.next {
			answered[fmt.Sprintf("%s-%d", r.name, i)] = true
		}
	}
	watcher.awaitAlerts(len(answered))

	log := n.log(admin)[before:]
	sales, alerts := map[string]int{}, map[string]int{}
	var last event
	for _, raw := range log {
		if err := json.Unmarshal(raw, &last); err != nil {
			t.Fatal(err)
		}
		switch last.Type {
		case "transaction:created":
			sales[last.Data["transactionId"].(string)]++
		case "inventory:updated":
			alerts[last.Pos]++
		case "low-stock:alert":
			alerts[last.Data["causePos"].(string)]--
		}
	}
	for key, times := range sales {
		if times != 1 || !answered[key] {
			t.Errorf("sale %s is %d times in the log, answered %v", key, times, answered[key])
		}
	}
	for key := range answered {
		if sales[key] == 0 {
			t.Errorf("sale %s was answered and is not in the log", key)
		}
	}
	for pos, missing := range alerts {
		if missing != 0 {
			t.Errorf("the change at %s lacks %d alerts", pos, missing)
		}
	}
	wantEvents(t, "watcher", watcher.until(last.Pos), log)
	var product struct {
		Stock int `json:"stock"`
	}
	n.read("/api/branches/b1/products/apples", admin, admin).into(t, &product)
	if want := crashStock - len(sales); product.Stock != want {
		t.Errorf("stock %d after %d sales, want %d", product.Stock, len(sales), want)
	}
}
