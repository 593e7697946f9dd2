package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"bms/actors"
	"bms/domain"
	"bms/transport/commandbus"
	"bms/transport/eventlog"
	"bms/transport/leaktest"
)

// writePath is everything between an edge and the disk, as the node wires it.
type writePath struct {
	log      *eventlog.Log
	deciders *actors.Deciders
	bus      *commandbus.Bus
	close    func()
}

// startWritePath starts it on a data folder. close may be called early and any
// number of times.
func startWritePath(tb testing.TB, dir string) *writePath {
	tb.Helper()
	log, err := eventlog.Open(tb.Context(), eventlog.Config{Dir: dir})
	if err != nil {
		tb.Fatal(err)
	}
	w := &writePath{log: log, deciders: newDeciders(tb, log)}
	w.bus, err = commandbus.New(commandbus.Config{Submit: w.deciders.Submit, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- w.bus.Run(context.Background()) }()
	w.close = sync.OnceFunc(func() {
		ctx := context.Background()
		if err := errors.Join(w.bus.Close(ctx), <-ran, w.deciders.Close(ctx), w.log.Close()); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	tb.Cleanup(w.close)
	return w
}

func newDeciders(tb testing.TB, log domain.Log) *actors.Deciders {
	tb.Helper()
	system, err := actors.NewSystem(slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	d, err := actors.NewDeciders(actors.DecidersConfig{System: system, Log: log, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func adminCommand(id, commandType, branchID string, body any) domain.Command {
	return domain.Command{
		ID: id, Keyed: true, Type: commandType, BranchID: branchID, Identity: domain.Identity{UserID: "boss", Role: domain.RoleAdmin},
		At: time.Now(), Fingerprint: fmt.Sprintf("%s %s %+v", commandType, branchID, body), Body: body,
	}
}

func saleCommand(id, branchID string) domain.Command {
	return adminCommand(id, domain.CommandCreateTransaction, branchID, domain.CreateTransaction{
		Kind: domain.KindSale, Status: domain.StatusCompleted, Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: 1}},
	})
}

func (w *writePath) must(tb testing.TB, cmd domain.Command) *domain.Commit {
	tb.Helper()
	commit, err := w.bus.Do(tb.Context(), cmd)
	if err != nil {
		tb.Fatalf("%s: %v", cmd.Type, err)
	}
	return commit
}

// shop opens a branch with so much of a product p1.
func (w *writePath) shop(tb testing.TB, branchID string, stock int64) {
	tb.Helper()
	w.must(tb, adminCommand("open-"+branchID, domain.CommandOpenBranch, branchID, domain.OpenBranch{BranchID: branchID, Name: branchID}))
	w.must(tb, adminCommand("create-"+branchID, domain.CommandCreateProduct, branchID, domain.CreateProduct{
		ProductID: "p1", SKU: "s1", Name: "Tea", PriceMinor: 100, Currency: "EUR", Stock: new(stock),
	}))
}

// stock folds a branch out of the log.
func (w *writePath) stock(tb testing.TB, branchID string) int64 {
	tb.Helper()
	branch := domain.NewBranch(branchID)
	for version := uint64(0); ; {
		commits, err := w.log.ReadStream(tb.Context(), domain.StreamOfBranch(branchID), version, 1000)
		if err != nil {
			tb.Fatal(err)
		}
		if len(commits) == 0 {
			return branch.Products["p1"].Stock
		}
		for _, c := range commits {
			version = c.Version
			for i := range c.Events {
				if err := branch.Evolve(&c.Events[i]); err != nil {
					tb.Fatal(err)
				}
			}
		}
	}
}

func rejectCode(err error) string {
	var no *domain.Rejection
	switch {
	case err == nil:
		return ""
	case errors.As(err, &no):
		return no.Code
	default:
		return err.Error()
	}
}

// Invariant 3, over the bus and across a restart: equal to the byte.
func TestWritePath_one_id_has_one_effect_and_one_answer_for_ever(t *testing.T) {
	defer leaktest.Check(t)()
	dir := t.TempDir()
	w := startWritePath(t, dir)
	w.shop(t, "b1", 10)
	sale := saleCommand("key", "b1")
	answers := make([][]byte, 100)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			commit, err := w.bus.Do(t.Context(), sale)
			if err != nil {
				t.Error(err)
				return
			}
			answers[i] = domain.AppendAnswer(nil, commit)
		})
	}
	all.Wait()
	w.close()

	w = startWritePath(t, dir)
	commit, err := w.bus.Do(t.Context(), sale)
	if err != nil {
		t.Fatal(err)
	}
	want := domain.AppendAnswer(nil, commit)
	for i, got := range answers {
		if !bytes.Equal(got, want) {
			t.Errorf("answer %d %s, after the restart %s", i, got, want)
		}
	}
	other := saleCommand("key", "b1")
	other.Fingerprint = "another body"
	if _, err := w.bus.Do(t.Context(), other); rejectCode(err) != domain.CodeIdempotencyMismatch {
		t.Errorf("another body: %v, want idempotency_mismatch", err)
	}
	if got := w.stock(t, "b1"); got != 9 {
		t.Errorf("stock %d, want 9", got)
	}
	w.close()
}

// Invariants 2 and 8.
func TestWritePath_a_thousand_parallel_sales_of_the_last_ten(t *testing.T) {
	defer leaktest.Check(t)()
	w := startWritePath(t, t.TempDir())
	w.shop(t, "b1", 10)
	outcomes := make(chan string, 1000)
	for i := range 1000 {
		go func() {
			_, err := w.bus.Do(t.Context(), saleCommand("sale-"+strconv.Itoa(i), "b1"))
			outcomes <- rejectCode(err)
		}()
	}
	count := map[string]int{}
	for range 1000 {
		count[<-outcomes]++
	}
	if count[""] != 10 || count[domain.CodeInsufficientStock] != 990 {
		t.Errorf("outcomes %v, want 10 sales and 990 short", count)
	}
	if got, head := w.stock(t, "b1"), w.log.Head().Seq; got != 0 || head != 12 {
		t.Errorf("stock %d and %d commits, want 0 and 12: a rejection leaves no trace", got, head)
	}
	w.close()
}

// Two processes can't have one log open; two owners of one branch in a cluster
// look like this to it.
func TestWritePath_two_owners_of_a_branch_are_fenced_by_the_log(t *testing.T) {
	defer leaktest.Check(t)()
	w := startWritePath(t, t.TempDir())
	w.shop(t, "b1", 50)
	second := newDeciders(t, w.log)
	outcomes := make(chan string, 200)
	for i := range 200 {
		owner := w.deciders
		if i%2 == 0 {
			owner = second
		}
		go owner.Submit(saleCommand("sale-"+strconv.Itoa(i), "b1"), func(_ *domain.Commit, err error) { outcomes <- rejectCode(err) })
	}
	count := map[string]int{}
	for range 200 {
		count[<-outcomes]++
	}
	sold := int64(count[""])
	if got := w.stock(t, "b1"); got != 50-sold || sold == 0 || count[""]+count[domain.CodeInsufficientStock]+count[domain.CodeBusy] != 200 {
		t.Errorf("stock %d after outcomes %v, want %d", got, count, 50-sold)
	}
	if err := second.Close(context.Background()); err != nil {
		t.Error(err)
	}
	w.close()
}

func TestWritePath_a_log_that_is_closed_is_log_unavailable(t *testing.T) {
	defer leaktest.Check(t)()
	w := startWritePath(t, t.TempDir())
	w.shop(t, "b1", 10)
	if err := w.log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, branch := range []string{"b1", "b2"} { // loaded, and not
		for _, keyed := range []bool{true, false} {
			cmd := saleCommand("late-"+branch, branch)
			cmd.Keyed = keyed
			if _, err := w.bus.Do(t.Context(), cmd); rejectCode(err) != domain.CodeLogUnavailable {
				t.Errorf("%v, want log_unavailable", err)
			}
		}
	}
	w.close()
}

func TestWritePath_a_branch_of_many_commits_is_loaded_and_goes_on(t *testing.T) {
	defer leaktest.Check(t)()
	dir := t.TempDir()
	w := startWritePath(t, dir)
	w.shop(t, "b1", 2000)
	var all sync.WaitGroup
	for c := range 40 {
		all.Go(func() {
			for i := range 40 {
				if _, err := w.bus.Do(t.Context(), saleCommand(fmt.Sprintf("sale-%d-%d", c, i), "b1")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	w.close()
	w = startWritePath(t, dir)
	if commit := w.must(t, saleCommand("last", "b1")); commit.Version != 1603 {
		t.Errorf("version %d, want 1603", commit.Version)
	}
	if got := w.stock(t, "b1"); got != 399 {
		t.Errorf("stock %d, want 399", got)
	}
	w.close()
}

// BenchmarkWritePath is a sale from the bus to the disk and back, durable.
func BenchmarkWritePath(b *testing.B) {
	for _, clients := range []int{1, 64} {
		for _, branches := range []int{1, 64} {
			b.Run(fmt.Sprintf("clients=%d/branches=%d", clients, branches), func(b *testing.B) {
				benchWritePath(b, clients, branches)
			})
		}
	}
}

func benchWritePath(b *testing.B, clients, branches int) {
	w := startWritePath(b, b.TempDir())
	for i := range branches {
		w.shop(b, "b"+strconv.Itoa(i), 1<<40)
	}
	took := make([][]time.Duration, clients)
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	b.ResetTimer()
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for i := c; i < b.N; i += clients {
				cmd := saleCommand("sale-"+strconv.Itoa(i), "b"+strconv.Itoa(c%branches))
				start := time.Now()
				if _, err := w.bus.Do(ctx, cmd); err != nil {
					b.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(start))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	every := slices.Concat(took...)
	slices.Sort(every)
	b.ReportMetric(float64(len(every))/b.Elapsed().Seconds(), "commands/s")
	b.ReportMetric(float64(every[len(every)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(every[len(every)*99/100].Microseconds()), "p99-µs")
	w.close()
}
