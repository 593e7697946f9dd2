package projections

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bms/domain"
)

// shop decides commands on real states and appends them to a log, as the
// deciders do.
type shop struct {
	t      testing.TB
	log    *faultyLog
	states map[string]domain.State
	now    time.Time
	n      int
	// leaves is true for a shop that leaves what follows from its commands
	// to somebody else.
	leaves bool
}

var boss = domain.Identity{UserID: "boss", Role: domain.RoleAdmin}

func newShop(t testing.TB) *shop {
	return &shop{t: t, log: newFaultyLog(), states: map[string]domain.State{}, now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)}
}

// do carries a command out, and what follows from it; it returns the commit or
// the rejection.
func (s *shop) do(commandType, branch string, body any) (*domain.Commit, *domain.Rejection) {
	s.t.Helper()
	s.n++
	s.now = s.now.Add(997 * time.Millisecond)
	return s.decide(domain.Command{ID: fmt.Sprintf("c%d", s.n), Type: commandType, BranchID: branch, Identity: boss, At: s.now, Body: body})
}

func (s *shop) decide(c domain.Command) (*domain.Commit, *domain.Rejection) {
	s.t.Helper()
	stream, err := domain.StreamOf(c)
	if err != nil {
		s.t.Fatalf("stream of %s: %v", c.Type, err)
	}
	state := s.states[stream]
	if state == nil {
		if state, err = domain.NewState(stream); err != nil {
			s.t.Fatalf("state of %s: %v", stream, err)
		}
		s.states[stream] = state
	}
	d, rejection := state.Decide(c)
	if rejection != nil {
		return nil, rejection
	}
	commit, err := domain.NewCommit(stream, s.log.Version(stream)+1, c, d)
	if err != nil {
		s.t.Fatalf("commit of %s: %v", c.Type, err)
	}
	if err := s.log.Append(context.Background(), commit); err != nil {
		s.t.Fatalf("append %s: %v", c.Type, err)
	}
	for i := range commit.Events {
		if err := state.Evolve(&commit.Events[i]); err != nil {
			s.t.Fatalf("evolve %s: %v", c.Type, err)
		}
	}
	if s.leaves {
		return commit, nil
	}
	for i := range commit.Events {
		follow, err := domain.FollowUps(&commit.Events[i])
		if err != nil {
			s.t.Fatalf("what follows from %s: %v", c.Type, err)
		}
		for _, next := range follow {
			next.At = s.now
			if _, rejection := s.decide(next); rejection != nil {
				s.t.Fatalf("%s: %v", next.Type, rejection)
			}
		}
	}
	return commit, nil
}

// forge appends an event that no command gives; the shop's states don't know of
// it.
func (s *shop) forge(commandType, branch string, p domain.Payload) *domain.Commit {
	s.t.Helper()
	s.n++
	stream := domain.StreamNotifications
	if branch != "" {
		stream = domain.StreamOfBranch(branch)
	}
	c, err := domain.NewCommit(stream, s.log.Version(stream)+1,
		domain.Command{ID: fmt.Sprintf("c%d", s.n), Type: commandType, BranchID: branch, Identity: boss, At: s.now},
		domain.Decision{Events: []domain.Fact{{BranchID: branch, Payload: p}}})
	if err != nil {
		s.t.Fatalf("forge %s: %v", p.EventType(), err)
	}
	if err := s.log.Append(context.Background(), c); err != nil {
		s.t.Fatalf("append %s: %v", p.EventType(), err)
	}
	return c
}

// must is do for a command that is right.
func (s *shop) must(commandType, branch string, body any) *domain.Commit {
	s.t.Helper()
	c, rejection := s.do(commandType, branch, body)
	if rejection != nil {
		s.t.Fatalf("%s: %v", commandType, rejection)
	}
	return c
}

// try is do for a command that may be rejected.
func (s *shop) try(commandType, branch string, body any) {
	s.t.Helper()
	_, _ = s.do(commandType, branch, body)
}

func (s *shop) open(branch string) {
	s.t.Helper()
	s.must(domain.CommandOpenBranch, branch, domain.OpenBranch{BranchID: branch, Name: "Branch " + branch})
}

func (s *shop) product(branch, id string, stock, minStock int64) *domain.Commit {
	s.t.Helper()
	return s.must(domain.CommandCreateProduct, branch, domain.CreateProduct{
		ProductID: id, SKU: "SKU-" + id, Name: "Product " + id, PriceMinor: 250, Currency: "EUR", Stock: new(stock), MinStock: minStock, NegativeStock: domain.NegativeAllow,
	})
}

func (s *shop) adjust(branch, id string, delta int64) *domain.Commit {
	s.t.Helper()
	return s.must(domain.CommandAdjustStock, branch, domain.AdjustStock{ProductID: id, Delta: delta, Reason: "damaged", Ref: "r1"})
}

func (s *shop) sell(branch, tx, id string, quantity int64) *domain.Commit {
	s.t.Helper()
	return s.must(domain.CommandCreateTransaction, branch, domain.CreateTransaction{
		TransactionID: tx, Kind: domain.KindSale, Status: domain.StatusCompleted, Lines: []domain.TransactionLine{{ProductID: id, Quantity: quantity}},
	})
}

// trade does n random commands of every kind on a few branches; some are
// rejected.
func (s *shop) trade(r *rand.Rand, n int) {
	s.t.Helper()
	pick := func(choices ...string) string { return choices[r.IntN(len(choices))] }
	for range n {
		branch := fmt.Sprintf("b%d", r.IntN(3))
		product := fmt.Sprintf("p%d", r.IntN(12))
		tx := fmt.Sprintf("t%d", r.IntN(1+s.n))
		name := fmt.Sprintf("Näme %d", r.IntN(100))
		quantity := 1 + r.Int64N(20)
		minStock := r.Int64N(30)
		switch r.IntN(20) {
		case 0:
			s.try(domain.CommandOpenBranch, branch, domain.OpenBranch{BranchID: branch, Name: name})
		case 1:
			if r.IntN(4) == 0 {
				status := pick(domain.BranchOpen, domain.BranchOpen, domain.BranchClosed)
				s.try(domain.CommandChangeBranch, branch, domain.ChangeBranch{Name: &name, Status: &status})
			}
		case 2, 3:
			s.try(domain.CommandCreateProduct, branch, domain.CreateProduct{
				ProductID: product, SKU: "S" + product, Name: name, PriceMinor: quantity * 100, Currency: pick("EUR", "EUR", "EUR", "CHF"),
				Stock: new(quantity * 3), MinStock: minStock, NegativeStock: pick(domain.NegativeDeny, domain.NegativeAllow),
			})
		case 4:
			stock := quantity
			change := domain.ChangeProduct{ProductID: product, MinStock: &minStock}
			if r.IntN(2) == 0 {
				change.Name = &name
			}
			if r.IntN(3) == 0 {
				change.Stock = &stock
			}
			s.try(domain.CommandChangeProduct, branch, change)
		case 5:
			if r.IntN(6) == 0 {
				s.try(domain.CommandDeleteProduct, branch, domain.DeleteProduct{ProductID: product})
			}
		case 6:
			s.try(domain.CommandCountStock, branch, domain.CountStock{ProductID: product, Counted: quantity * 4})
		case 7, 8:
			s.try(domain.CommandAdjustStock, branch, domain.AdjustStock{ProductID: product, Delta: quantity - 8, Reason: "correction"})
		case 9, 10, 11, 12:
			lines := []domain.TransactionLine{{ProductID: product, Quantity: quantity}}
			for range r.IntN(3) {
				lines = append(lines, domain.TransactionLine{ProductID: fmt.Sprintf("p%d", r.IntN(12)), Quantity: 1 + r.Int64N(4)})
			}
			create := domain.CreateTransaction{
				TransactionID: fmt.Sprintf("t%d", s.n), Kind: pick(domain.KindSale, domain.KindSale, domain.KindPurchase),
				Status: pick(domain.StatusCompleted, domain.StatusCompleted, domain.StatusPending), Lines: lines,
			}
			if r.IntN(3) == 0 {
				create.OccurredAt = s.now.Add(-time.Duration(r.IntN(100)) * time.Hour).Format(domain.TimestampFormat)
			}
			s.try(domain.CommandCreateTransaction, branch, create)
		case 13, 14:
			set := domain.SetTransactionStatus{
				TransactionID: tx, Reason: "so",
				Status: pick(domain.StatusCompleted, domain.StatusVoided, domain.StatusFailed, domain.StatusPartiallyRefunded, domain.StatusRefunded),
			}
			if r.IntN(2) == 0 {
				set.Lines = []domain.RefundRequestLine{{ProductID: product, Quantity: 1}}
			}
			s.try(domain.CommandSetTransactionStatus, branch, set)
		case 15, 16:
			s.try(domain.CommandDispatchTransfer, branch, domain.DispatchTransfer{
				ToBranchID: pick("b0", "b1", "b2", "b3"), Lines: []domain.TransferLine{{ProductID: product, Quantity: quantity}},
			})
		case 17:
			state, ok := s.states[domain.StreamOfBranch(branch)].(*domain.Branch)
			if !ok || len(state.Transfers) == 0 {
				continue
			}
			id := slices.Sorted(maps.Keys(state.Transfers))[r.IntN(len(state.Transfers))]
			if r.IntN(3) == 0 {
				s.try(domain.CommandCancelTransfer, branch, domain.CancelTransfer{TransferID: id})
			} else {
				s.try(domain.CommandReceiveTransfer, branch, domain.ReceiveTransfer{TransferID: id})
			}
		case 18:
			from := int64(s.n)
			s.try(domain.CommandSubmitSync, branch, domain.SubmitSync{DeviceID: pick("d1", "d2"), FromSeq: from, Operations: []domain.SyncOperation{
				{Seq: from, Lines: []domain.TransactionLine{{ProductID: product, Quantity: quantity}}, OccurredAt: s.now.Add(-30 * time.Hour).Format(domain.TimestampFormat)},
				{Seq: from + 1, Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: 1}}, OccurredAt: s.now.Add(-29 * time.Hour).Format(domain.TimestampFormat)},
			}})
		case 19:
			user := fmt.Sprintf("u%d", r.IntN(5))
			s.try(domain.CommandSetUser, "", domain.SetUser{
				UserID: user, Role: pick(domain.RoleStaff, domain.RoleManager), Branches: []string{branch}, Disabled: r.IntN(4) == 0, Name: name,
			})
		}
	}
}

// running is a Set that follows a log.
type running struct {
	*Set
	t    testing.TB
	stop func() // ends Run; called once
	// rebuilt has one place; it tells that some rebuild has ended.
	rebuilt chan struct{}
}

func config(dir string, log domain.Log) Config {
	return Config{Dir: dir, Log: log, Append: log}
}

// run opens a Set and runs it until the test ends.
func run(t testing.TB, c Config) *running {
	t.Helper()
	s, err := Open(context.Background(), c)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return runSet(t, s)
}

// runSet runs a Set until the test ends.
func runSet(t testing.TB, s *Set) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Set: s, t: t, rebuilt: make(chan struct{}, 1)}
	for _, runner := range s.runners {
		told := runner.config.Observe.Rebuilt
		runner.config.Observe.Rebuilt = func(projection string, b Rebuild) {
			if told != nil {
				told(projection, b)
			}
			select {
			case r.rebuilt <- struct{}{}:
			default:
			}
		}
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(func() { r.close() })
	return r
}

// finish waits until a projection has no rebuild under way, and returns the
// last.
func (r *running) finish(projection string) Rebuild {
	r.t.Helper()
	for {
		if s := r.status(projection); s.Rebuild == nil && s.LastRebuild != nil {
			return *s.LastRebuild
		}
		select {
		case <-r.rebuilt:
		case <-r.t.Context().Done():
			r.t.Fatal("the rebuild doesn't end")
		}
	}
}

func (r *running) close() {
	r.t.Helper()
	r.stop()
	if err := r.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

// wait waits until every projection is at p.
func (r *running) wait(p domain.Position) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for _, name := range r.Names() {
		if err := r.WaitFor(ctx, name, p); err != nil {
			r.t.Fatalf("wait: %v", err)
		}
	}
}

// settle waits until every cause in the log has its alert and all is folded.
func (r *running) settle(log domain.Log) {
	r.t.Helper()
	for {
		head := log.Head()
		r.wait(head)
		if open := r.pending(); open == 0 && log.Head() == head {
			return
		}
		next, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		_, err := log.Next(next, head.Seq, 1)
		cancel()
		if err != nil {
			r.t.Fatalf("no alert comes: %v", err)
		}
	}
}

// pending is the number of causes whose alert is still to come.
func (r *running) pending() int64 {
	r.t.Helper()
	n := int64(0)
	if _, err := r.view(context.Background(), Alerts, func(v *snapshot) error {
		_, err := v.one(context.Background(), func(row row) error {
			n = row.int(0)
			return nil
		}, "SELECT count(*) FROM pending")
		return err
	}); err != nil {
		r.t.Fatalf("count pending: %v", err)
	}
	return n
}

// status is that of one projection.
func (r *running) status(projection string) Status {
	r.t.Helper()
	for _, s := range r.Status() {
		if s.Name == projection {
			return s
		}
	}
	r.t.Fatalf("no status of %s", projection)
	return Status{}
}

func (r *running) digests() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	for _, name := range r.Names() {
		d, _, err := r.Digest(context.Background(), name)
		if err != nil {
			r.t.Fatalf("digest of %s: %v", name, err)
		}
		all[name] = d
	}
	return all
}

var errBroken = errors.New("broken by the test")
