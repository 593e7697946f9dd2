package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"bms/domain"
)

// stage is a node that is stopped and started again while clients go on.
type stage struct {
	t     *testing.T
	dir   string
	token string
	start time.Time

	mu   sync.Mutex // guards node and next
	node *testNode
	next chan struct{} // closed when another node is there
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, dir: t.TempDir(), start: time.Now(), next: make(chan struct{})}
	s.node = startNode(t, s.dir)
	s.token = signed("bench", domain.RoleAdmin)
	return s
}

// restart stops the node and starts the next one on its data.
func (s *stage) restart() {
	s.node.stop()
	node := startNode(s.t, s.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node = node
	close(s.next)
	s.next = make(chan struct{})
}

func (s *stage) current() (addr string, next chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node.addr, s.next
}

// clock is the time of histories.
func (s *stage) clock() int64 { return time.Since(s.start).Nanoseconds() }

// answered is the answer to a request, and when it was asked first and
// answered.
type answered struct {
	status    int
	body      []byte
	call, end int64
}

// send asks until a node answers: one that stops may have done it and not said
// so, hence there is a key.
func (s *stage) send(ctx context.Context, client *http.Client, method, path, key, body string) (answered, error) {
	a := answered{call: s.clock()}
	for {
		addr, next := s.current()
		status, answer, err := request(ctx, client, method, "http://"+addr+path, s.token, key, body)
		if err == nil && status != http.StatusServiceUnavailable {
			a.status, a.body, a.end = status, answer, s.clock()
			return a, nil
		}
		client.CloseIdleConnections() // or the node waits for those that were never used
		select {
		case <-next:
		case <-ctx.Done():
			return a, fmt.Errorf("%s %s: %d %s, %w, and no other node came", method, path, status, answer, err)
		}
	}
}

func request(ctx context.Context, client *http.Client, method, url, token, key, body string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	response, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, joinClose(err, response.Body)
}

func joinClose(err error, c io.Closer) error {
	if closing := c.Close(); err == nil {
		return closing
	}
	return err
}

// newClient is an HTTP client with connections of its own.
func newClient(tb testing.TB, perHost int) *http.Client {
	transport := &http.Transport{MaxConnsPerHost: perHost, MaxIdleConnsPerHost: perHost}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// must asks for what has to succeed.
func (s *stage) must(client *http.Client, method, path, body string) []byte {
	s.t.Helper()
	a, err := s.send(s.t.Context(), client, method, path, "", body)
	if err != nil || a.status >= 300 {
		s.t.Fatalf("%s %s: %d %s %v", method, path, a.status, a.body, err)
	}
	return a.body
}

// stockShop is a branch under test, and its history.
type stockShop struct {
	id    string
	sales atomic.Int64 // numbered so far

	mu      sync.Mutex // guards history
	history []porcupine.Operation
}

const initialStock = 12

func (s *stage) open(client *http.Client, id string) *stockShop {
	s.t.Helper()
	s.must(client, "POST", "/api/branches", fmt.Sprintf(`{"branchId":%q,"name":"Shop"}`, id))
	for p := range stockProducts {
		s.must(client, "POST", "/api/branches/"+id+"/products", fmt.Sprintf(
			`{"productId":"p%d","sku":"S-%[1]d","name":"Tea","priceMinor":100,"currency":"EUR","stock":%d}`, p, initialStock))
	}
	return &stockShop{id: id}
}

// initialState is a branch as open leaves it: created is version 1, and the
// initial stock another.
func initialState() (s stockState) {
	for p := range s.level {
		s.level[p] = level{initialStock, 2}
	}
	return s
}

// draw makes up a command.
func (shop *stockShop) draw(rng *rand.Rand) (in stockInput, method, path, body string) {
	base := "/api/branches/" + shop.id
	in.product = rng.IntN(stockProducts)
	if rng.IntN(4) == 0 {
		in.expected = 2 + rng.Int64N(20)
	}
	expected := ""
	if in.expected != 0 {
		expected = fmt.Sprintf(`,"expectedVersion":%d`, in.expected)
	}
	switch kind := rng.IntN(10); {
	case kind < 5:
		in = stockInput{kind: "sale", sale: int(shop.sales.Add(1)) - 1}
		if rng.IntN(10) == 0 {
			in.sale = rng.IntN(in.sale + 1) // a number that may be taken
		}
		lines := shop.lines(rng, &in, 4)
		return in, "POST", base + "/transactions", fmt.Sprintf(
			`{"transactionId":"t%d","kind":"sale","status":"completed","lines":[%s]}`, in.sale, lines)
	case kind < 7:
		in = stockInput{kind: "refund", sale: rng.IntN(int(shop.sales.Load()) + 1)}
		lines := shop.lines(rng, &in, 2)
		return in, "POST", fmt.Sprintf("%s/transactions/t%d/status", base, in.sale), fmt.Sprintf(
			`{"status":"partially_refunded","reason":"back","lines":[%s]}`, lines)
	case kind < 9:
		in.kind, in.quantity[in.product] = "adjust", rng.Int64N(12)-5
		if in.quantity[in.product] == 0 {
			in.quantity[in.product] = 1
		}
		return in, "POST", base + "/inventory/adjustments", fmt.Sprintf(
			`{"productId":"p%d","delta":%d,"reason":"found"%s}`, in.product, in.quantity[in.product], expected)
	default:
		in.kind, in.quantity[in.product] = "count", rng.Int64N(initialStock)
		return in, "PUT", fmt.Sprintf("%s/products/p%d/stock", base, in.product), fmt.Sprintf(
			`{"counted":%d%s}`, in.quantity[in.product], expected)
	}
}

// lines draws quantities of one or all products.
func (shop *stockShop) lines(rng *rand.Rand, in *stockInput, most int64) string {
	var lines []string
	only := rng.IntN(2 * stockProducts) // beyond the products: of all
	for p := range stockProducts {
		if only >= stockProducts || only == p {
			in.quantity[p] = 1 + rng.Int64N(most)
			lines = append(lines, fmt.Sprintf(`{"productId":"p%d","quantity":%d}`, p, in.quantity[p]))
		}
	}
	return strings.Join(lines, ",")
}

// read reads an answer for the model.
func (a answered) read() (out stockOutput, err error) {
	var said struct {
		Code    string
		Current int64
		Lines   []struct {
			ProductID string
			Available int64
		}
		Events []struct {
			Type string
			Data struct {
				ProductID      string
				Stock, Version int64
			}
		}
	}
	if err := json.Unmarshal(a.body, &said); err != nil {
		return out, fmt.Errorf("answer %d %s: %w", a.status, a.body, err)
	}
	if out.code = said.Code; out.code == "" && a.status >= 300 {
		return out, fmt.Errorf("answer %d %s has no code", a.status, a.body)
	}
	product := func(id string) (p int) { _, err = fmt.Sscanf(id, "p%d", &p); return p }
	switch out.code {
	case "":
		for _, e := range said.Events {
			if e.Type == domain.TypeInventoryUpdated {
				out.moved[product(e.Data.ProductID)] = level{e.Data.Stock, e.Data.Version}
			}
		}
	case domain.CodeInsufficientStock:
		for _, line := range said.Lines {
			out.available[product(line.ProductID)] = line.Available
		}
	case domain.CodeVersionConflict:
		out.current = said.Current
	case domain.CodeInvalidTransition, domain.CodeUnknownTransaction, domain.CodeOverRefund:
	default:
		return out, fmt.Errorf("answer %d %s", a.status, a.body)
	}
	return out, err
}

// record adds a command to the history. Of several requests with its key all
// that succeeded are one command, done between the first call and the first
// return; those that were refused are judged each for itself.
func (shop *stockShop) record(client int, in stockInput, answers []answered) (done []byte, err error) {
	shop.mu.Lock()
	defer shop.mu.Unlock()
	var whole porcupine.Operation
	for _, a := range answers {
		out, err := a.read()
		if err != nil {
			return nil, err
		}
		op := porcupine.Operation{ClientId: client, Input: in, Call: a.call, Output: out, Return: a.end}
		switch {
		case out.code != "":
			shop.history = append(shop.history, op)
		case done == nil:
			whole, done = op, a.body
		case !bytes.Equal(done, a.body):
			return nil, fmt.Errorf("one key has two answers: %s and %s", done, a.body)
		default:
			whole.Call, whole.Return = min(whole.Call, a.call), min(whole.Return, a.end)
		}
	}
	if done != nil {
		shop.history = append(shop.history, whole)
	}
	return done, nil
}

// sent is a command that was done.
type sent struct {
	method, path, key, body string
	answer                  []byte
}

const (
	linearClients  = 8
	linearCommands = 36 // of each client
)

// Invariants 2, 3 and 8, on a whole node: whatever clients do at the same time,
// also while it is stopped and started again, is as if it had been done one
// after the other; one key has one effect and one answer, to the byte and for
// ever; stock is the sum of its changes.
func TestLinear_concurrent_commands_are_as_if_one_after_the_other(t *testing.T) {
	for seed := range uint64(3) { // of what is asked; what meets is chance
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) { linearRound(t, seed) })
	}
}

func linearRound(t *testing.T, seed uint64) {
	s := newStage(t)
	client := newClient(t, 4*linearClients)
	shops := []*stockShop{s.open(client, "b1"), s.open(client, "b2")}

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	half := make(chan struct{})
	var drawn atomic.Int64
	var mu sync.Mutex // guards done
	var done []sent
	var all sync.WaitGroup
	for c := range linearClients {
		rng := rand.New(rand.NewPCG(seed, uint64(c)))
		all.Go(func() {
			for i := range linearCommands {
				if drawn.Add(1) == linearClients*linearCommands/2 {
					close(half)
				}
				shop := shops[rng.IntN(len(shops))]
				in, method, path, body := shop.draw(rng)
				one := sent{method: method, path: path, key: fmt.Sprintf("%d-%d", c, i), body: body}
				answers, err := s.sendTogether(ctx, client, one, 1+rng.IntN(4)/2) // half of them twice or thrice
				if err == nil {
					one.answer, err = shop.record(c, in, answers)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if one.answer != nil {
					mu.Lock()
					done = append(done, one)
					mu.Unlock()
				}
			}
		})
	}
	select {
	case <-half:
		s.restart()
	case <-ctx.Done():
	}
	all.Wait()
	if t.Failed() {
		return
	}
	client.CloseIdleConnections()
	s.restart()
	for _, one := range done {
		a, err := s.send(ctx, client, one.method, one.path, one.key, one.body)
		if err != nil || !bytes.Equal(a.body, one.answer) {
			t.Fatalf("%s again: %d %s %v\nbefore the restart %s", one.key, a.status, a.body, err, one.answer)
		}
	}
	for _, shop := range shops {
		s.checkShop(client, shop)
	}
	client.CloseIdleConnections()
}

// sendTogether sends a command several times at once.
func (s *stage) sendTogether(ctx context.Context, client *http.Client, one sent, times int) ([]answered, error) {
	answers := make([]answered, times)
	errs := make([]error, times)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i], errs[i] = s.send(ctx, client, one.method, one.path, one.key, one.body) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// checkShop compares what a branch has come to, in the read model and by the
// log, and checks its history.
func (s *stage) checkShop(client *http.Client, shop *stockShop) {
	s.t.Helper()
	sum, _ := s.replay(client, shop.id)
	var page struct {
		Items []struct {
			ProductID      string
			Stock, Version int64
		}
	}
	call := s.clock()
	if err := json.Unmarshal(s.must(client, "GET", "/api/branches/"+shop.id+"/inventory", ""), &page); err != nil {
		s.t.Fatal(err)
	}
	out := stockOutput{}
	for p, item := range page.Items {
		out.moved[p] = level{item.Stock, item.Version}
		if item.Stock != sum[p] {
			s.t.Errorf("stock of %s in %s is %d, its deltas sum up to %d", item.ProductID, shop.id, item.Stock, sum[p])
		}
	}
	history := append(shop.history, porcupine.Operation{ClientId: linearClients, Input: stockInput{kind: "read"}, Call: call, Output: out, Return: s.clock()})
	if got := porcupine.CheckOperationsTimeout(stockModel(initialState()), history, 2*time.Minute); got != porcupine.Ok {
		s.t.Errorf("history of %s is %s, want Ok:\n%s", shop.id, got, describe(history))
	}
	codes := map[string]int{}
	for _, op := range history {
		codes[op.Output.(stockOutput).code]++
	}
	s.t.Logf("%s: %d operations by code %v", shop.id, len(history), codes)
}

// replay sums the deltas of a branch's products up, and counts its sales.
func (s *stage) replay(client *http.Client, branchID string) (sum [stockProducts]int64, sales int) {
	s.t.Helper()
	for after := ""; ; {
		var page struct {
			Items []struct {
				Type string
				Data struct {
					ProductID    string
					Delta, Stock int64
				}
			}
			NextCursor string
		}
		path := "/api/events?limit=500&branch=" + branchID
		if after != "" {
			path += "&after=" + after
		}
		if err := json.Unmarshal(s.must(client, "GET", path, ""), &page); err != nil {
			s.t.Fatal(err)
		}
		for _, e := range page.Items {
			switch e.Type {
			case domain.TypeTransactionCreated:
				sales++
			case domain.TypeInventoryUpdated:
				p := int(e.Data.ProductID[1] - '0')
				sum[p] += e.Data.Delta
				if sum[p] != e.Data.Stock || sum[p] < 0 {
					s.t.Errorf("%s in %s: an event says %d, the deltas so far %d", e.Data.ProductID, branchID, e.Data.Stock, sum[p])
				}
			}
		}
		if after = page.NextCursor; after == "" {
			return sum, sales
		}
	}
}

// Invariants 2 and 8, over HTTP.
func TestLinear_a_thousand_parallel_sales_of_the_last_ten(t *testing.T) {
	s := newStage(t)
	client := newClient(t, 100)
	s.open(client, "b1")
	s.must(client, "PUT", "/api/branches/b1/products/p0/stock", `{"counted":10}`)
	outcomes := make(chan string, 1000)
	for i := range cap(outcomes) {
		go func() {
			a, err := s.send(t.Context(), client, "POST", "/api/branches/b1/transactions", fmt.Sprintf("sale-%d", i),
				`{"kind":"sale","status":"completed","lines":[{"productId":"p0","quantity":1}]}`)
			if err != nil {
				outcomes <- err.Error()
				return
			}
			out, err := a.read()
			if err != nil {
				outcomes <- err.Error()
				return
			}
			outcomes <- out.code
		}()
	}
	count := map[string]int{}
	for range cap(outcomes) {
		count[<-outcomes]++
	}
	if count[""] != 10 || count[domain.CodeInsufficientStock] != 990 {
		t.Errorf("outcomes %v, want 10 sales and 990 short", count)
	}
	if sum, sales := s.replay(client, "b1"); sum[0] != 0 || sales != 10 {
		t.Errorf("stock %d after %d sales in the log, want 0 after 10", sum[0], sales)
	}
}
