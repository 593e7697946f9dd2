package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

const (
	transferRounds  = 5
	transferCarts   = 8
	transfersByCart = 40
	transferStock   = 100_000
)

// errand is a request that is repeated under its key until it is answered.
type errand struct {
	key, path, body string
	answer          []byte // nil without one
}

func (e *errand) ask(client *http.Client, addr, token string) error {
	req, err := http.NewRequest("POST", "http://"+addr+e.path, strings.NewReader(e.body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Idempotency-Key", e.key)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode > 299 {
		return fmt.Errorf("%s %s: %s %s", e.key, e.path, res.Status, bytes.TrimSpace(answer))
	}
	e.answer = answer
	return nil
}

// carts do errands, each one's in order and all carts at once, until none is
// left; after a number of answers the node is killed with -9, and they go on
// at the next one. between is called while no node is there.
func carts(n *node, token string, all [][]*errand, killAfter int, between func()) *node {
	n.t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: len(all)}}
	defer client.CloseIdleConnections()
	var count atomic.Int64
	enough, done := make(chan struct{}), make(chan struct{})
	var moving sync.WaitGroup
	for _, errands := range all {
		moving.Go(func() {
			for _, e := range errands {
				if e.answer != nil {
					continue
				}
				if err := e.ask(client, n.addr, token); err != nil {
					select {
					case <-enough: // killed: whether it took effect is not known
					default:
						n.t.Error(err)
					}
					return
				}
				if count.Add(1) == int64(killAfter) {
					close(enough)
				}
			}
		})
	}
	go func() { moving.Wait(); close(done) }()
	select {
	case <-enough:
	case <-done:
		return n
	}
	n.signal(syscall.SIGKILL)
	n.exit()
	<-done
	between()
	return serveOn(n.t, n.data, n.addr)
}

// types counts the events in a data folder, internal ones included.
func types(t *testing.T, data string) map[string]int {
	t.Helper()
	p := start(t, "bms log", nil, bms, "log", "--data", data)
	if code := p.exit(); code != 0 {
		t.Fatalf("bms log exits %d", code)
	}
	count := map[string]int{}
	for _, line := range p.out {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("bms log prints %q: %v", line, err)
		}
		count[e.Type]++
	}
	return count
}

// Invariant 8 across kill -9: a transfer is in one branch, in the other, or
// between them, whenever the node dies. What was answered is where the answer
// says, what one branch has sent the other one gets, what is cancelled comes
// back, and every unit is somewhere.
func TestTransfers_survive_kill_9_at_any_moment(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	branches := []string{"b1", "b2"}
	for _, b := range branches {
		n.must("POST", "/api/branches", admin, map[string]any{"branchId": b, "name": "Shop"})
		n.must("POST", "/api/branches/"+b+"/products", admin, map[string]any{
			"productId": "apples", "sku": "A", "name": "Apples", "priceMinor": 100, "currency": "EUR", "stock": transferStock,
		})
	}

	out := make([][]*errand, transferCarts)
	for cart := range out {
		from, to := branches[cart%2], branches[1-cart%2]
		for i := range transfersByCart {
			out[cart] = append(out[cart], &errand{
				key:  fmt.Sprintf("out-%d-%d", cart, i),
				path: "/api/branches/" + from + "/transfers",
				body: fmt.Sprintf(`{"toBranchId":%q,"lines":[{"productId":"apples","quantity":%d}]}`, to, 1+i%3),
			})
		}
	}
	between := 0
	underway := func(cause, settled string) func() {
		return func() {
			count := types(t, n.data)
			between += count[cause] - count[settled]
		}
	}
	for range transferRounds {
		n = carts(n, admin, out, transfersByCart, underway("transfer:dispatched", "transfer:announced"))
	}
	n = carts(n, admin, out, 1<<30, nil)

	// Every other transfer is taken in, the rest is taken back.
	in := make([][]*errand, transferCarts)
	ids, cancelled := map[string]bool{}, 0
	for cart := range out {
		from, to := branches[cart%2], branches[1-cart%2]
		for i, e := range out[cart] {
			var done struct {
				Result struct{ TransferID string }
			}
			if err := json.Unmarshal(e.answer, &done); err != nil {
				t.Fatalf("answer %s: %v", e.answer, err)
			}
			id := done.Result.TransferID
			ids[id] = true
			path := "/api/branches/" + to + "/transfers/" + id + "/receive"
			if i%2 == 1 {
				path = "/api/branches/" + from + "/transfers/" + id + "/cancel"
				cancelled++
			}
			in[cart] = append(in[cart], &errand{key: "in-" + id, path: path, body: "{}"})
		}
	}
	if want := transferCarts * transfersByCart; len(ids) != want {
		t.Fatalf("%d transfers, want %d", len(ids), want)
	}
	for range transferRounds {
		n = carts(n, admin, in, transfersByCart, underway("transfer:withdrawn", "transfer:returned"))
	}
	n = carts(n, admin, in, 1<<30, nil)
	t.Logf("%d transfers were between two branches at %d kills", between, 2*transferRounds)

	follower := start(t, "bms log --follow", nil, bms, "log", "--data", n.data, "--follow")
	back := 0
	follower.await("return of all that was cancelled", 0, func(line string) bool {
		if strings.Contains(line, `"type":"transfer:returned"`) {
			back++
		}
		return back == cancelled
	})
	total := int64(0)
	for _, b := range branches {
		var product struct {
			Stock int64 `json:"stock"`
		}
		n.read("/api/branches/"+b+"/products/apples", admin, admin).into(t, &product)
		total += product.Stock
	}
	if want := int64(len(branches) * transferStock); total != want {
		t.Errorf("stock %d in all branches, want %d as at the beginning", total, want)
	}
	for _, status := range []string{"received", "cancelled"} {
		query := url.Values{"status": {status}, "limit": {"100"}, "direction": {"out"}}
		for _, b := range branches {
			for cursor := "-"; cursor != ""; {
				var page struct {
					Items []struct {
						TransferID string
						Lines      []struct{ InTransit int64 }
					}
					NextCursor string
				}
				n.read("/api/branches/"+b+"/transfers?"+query.Encode(), admin, admin).into(t, &page)
				for _, transfer := range page.Items {
					if !ids[transfer.TransferID] || transfer.Lines[0].InTransit != 0 {
						t.Errorf("%s: transfer %+v, want one of ours, and nothing of it in transit", status, transfer)
					}
					delete(ids, transfer.TransferID)
				}
				cursor = page.NextCursor
				query.Set("cursor", cursor)
				if cursor == "" {
					query.Del("cursor")
				}
			}
		}
	}
	for id := range ids {
		t.Errorf("transfer %s is neither received nor cancelled", id)
	}
}
