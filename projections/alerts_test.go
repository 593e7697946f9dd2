package projections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bms/domain"
)

// causes lists the positions that must have an alert under RepeatEvery, as the
// interface describes them and not as the domain derives them.
func causes(t *testing.T, log *faultyLog) (want []domain.Position) {
	t.Helper()
	for _, c := range log.All() {
		moved := map[string]bool{} // products whose stock this commit changes
		for i := range c.Events {
			if p, ok := payload(t, &c.Events[i]).(domain.InventoryUpdated); ok {
				moved[p.ProductID] = true
			}
		}
		for i := range c.Events {
			switch p := payload(t, &c.Events[i]).(type) {
			case domain.InventoryUpdated:
				if p.Stock <= p.MinStock {
					want = append(want, c.Events[i].Pos)
				}
			case domain.ProductUpdated:
				if p.Action == domain.ActionUpdated && slices.Contains(p.Changes, "minStock") && !moved[p.ProductID] && p.Product.Stock <= p.Product.MinStock {
					want = append(want, c.Events[i].Pos)
				}
			}
		}
	}
	return want
}

func payload(t *testing.T, e *domain.Event) domain.Payload {
	t.Helper()
	p, err := e.Payload()
	if err != nil {
		t.Fatalf("payload of %s: %v", e.ID, err)
	}
	return p
}

// alerted lists the causes of the alerts in the log, in the order of the
// alerts.
func alerted(t *testing.T, log *faultyLog) (got []domain.Position) {
	t.Helper()
	for _, c := range log.All() {
		for i := range c.Events {
			if p, ok := payload(t, &c.Events[i]).(domain.LowStockAlert); ok {
				got = append(got, p.CausePos)
			}
		}
	}
	return got
}

// once checks that every cause has exactly one alert.
func once(t *testing.T, log *faultyLog) {
	t.Helper()
	got, want := alerted(t, log), causes(t, log)
	slices.SortFunc(got, domain.Position.Compare)
	if !slices.Equal(got, want) {
		t.Fatalf("%d alerts for %d causes\n got %v\nwant %v", len(got), len(want), got, want)
	}
	if len(want) == 0 {
		t.Fatal("there was nothing to alert of: the test shows nothing")
	}
}

func TestEachCauseIsAlertedOnceInOrder(t *testing.T) {
	shop := newShop(t)
	r := run(t, config(t.TempDir(), shop.log))
	shop.trade(rand.New(rand.NewPCG(3, 4)), 1000) // while it runs
	r.settle(shop.log)
	got := alerted(t, shop.log)
	if !slices.IsSortedFunc(got, domain.Position.Compare) {
		t.Errorf("alerts come in the order %v, want that of their causes", got)
	}
	once(t, shop.log)
}

// dead makes a log refuse whatever a killed process would not have appended.
func dead(log *faultyLog) {
	log.mu.Lock()
	defer log.mu.Unlock()
	log.refuse = func(after bool, commits []*domain.Commit) error {
		if !after && strings.HasPrefix(commits[0].Stream, alertsPrefix) {
			return errBroken
		}
		return nil
	}
}

func alive(log *faultyLog) {
	log.mu.Lock()
	defer log.mu.Unlock()
	log.refuse = nil
}

// snapshotFiles copies the files as a killed process leaves them. The database
// comes before its WAL: frames that are added meanwhile do no harm, and nothing
// is checkpointed in so small a file.
func snapshotFiles(t *testing.T, from, to string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(from, "*.db"))
	if err != nil {
		t.Error(err)
	}
	for _, name := range names {
		for _, suffix := range []string{"", "-wal"} {
			raw, err := os.ReadFile(name + suffix)
			if os.IsNotExist(err) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(to, filepath.Base(name)+suffix), raw, 0o600)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAlertsSurviveAKillAtEveryStep(t *testing.T) {
	for _, step := range []string{stepFolded, stepCommitted, stepDerived, stepAppended} {
		for _, nth := range []int{1, 2, 5, 13} {
			t.Run(fmt.Sprintf("%s_%d", step, nth), func(t *testing.T) {
				shop := newShop(t)
				shop.trade(rand.New(rand.NewPCG(5, uint64(nth))), 120)
				dir, left := t.TempDir(), t.TempDir()
				killed, kill := context.WithCancel(context.Background())
				defer kill()
				seen, mu := 0, sync.Mutex{}
				c := config(dir, shop.log)
				c.Log = reader{shop.log, 7} // many small batches
				c.fault = func(projection, at string) {
					mu.Lock()
					defer mu.Unlock()
					if projection != Alerts || at != step {
						return
					}
					if seen++; seen == nth {
						dead(shop.log)
						snapshotFiles(t, dir, left)
						kill()
					}
					if seen >= nth {
						panic("killed by the test")
					}
				}
				r := run(t, c)
				for killed.Err() == nil {
					shop.trade(rand.New(rand.NewPCG(5, uint64(shop.n))), 10)
					if err := r.WaitFor(killed, Alerts, shop.log.Head()); err != nil && killed.Err() == nil {
						t.Fatal(err)
					}
				}
				r.close()
				alive(shop.log)

				r = run(t, config(left, shop.log))
				shop.trade(rand.New(rand.NewPCG(6, uint64(nth))), 120)
				r.settle(shop.log)
				once(t, shop.log)
			})
		}
	}
}

func TestAlertsSurviveAppendsOfUnknownOutcome(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(8, 8)), 400)
	n := 0
	shop.log.refuse = func(after bool, _ []*domain.Commit) error {
		if n++; n%3 == 0 || after && n%5 == 0 {
			return fmt.Errorf("append: %w", domain.ErrLogUnavailable)
		}
		return nil
	}
	c := config(t.TempDir(), shop.log)
	c.Log = reader{shop.log, 50}
	r := run(t, c)
	r.settle(shop.log)
	once(t, shop.log)
}

func TestTwoNodesAlertOnce(t *testing.T) {
	shop := newShop(t)
	first, second := run(t, config(t.TempDir(), shop.log)), run(t, config(t.TempDir(), shop.log))
	for range 20 {
		shop.trade(rand.New(rand.NewPCG(9, uint64(shop.n))), 40)
	}
	first.settle(shop.log)
	second.settle(shop.log)
	once(t, shop.log)
	if got, want := second.digests(), first.digests(); got[Alerts] != want[Alerts] {
		t.Errorf("digests of the alerts are %s and %s on two nodes, want the same", got[Alerts], want[Alerts])
	}
}

func TestARebuildEmitsNothing(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(10, 10)), 400)
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	r.close()
	before := len(shop.log.All())
	shop.log.refuse = func(_ bool, commits []*domain.Commit) error {
		t.Errorf("a rebuild appends %d commits, want none", len(commits))
		return nil
	}
	again := run(t, config(t.TempDir(), shop.log))
	again.settle(shop.log)
	again.close()
	if got := len(shop.log.All()); got != before {
		t.Fatalf("the log has %d commits after a rebuild, want %d", got, before)
	}
}

func TestOpenAlerts(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	shop.product("b1", "p2", 3, 5) // low from the beginning
	r := run(t, config(t.TempDir(), shop.log))
	open := func() map[string]string {
		t.Helper()
		r.settle(shop.log)
		page, err := r.OpenAlerts(context.Background(), AlertsQuery{BranchID: "b1"})
		if err != nil {
			t.Fatal(err)
		}
		levels := map[string]string{}
		for _, a := range page.Items {
			levels[a.ProductID] = a.Level
			if c := shop.log.All()[a.Pos.Seq-1]; a.Pos != c.Position || c.Events[0].Type != domain.TypeLowStockAlert {
				t.Errorf("alert of %s says it is at %s, where there is none", a.ProductID, a.Pos)
			}
		}
		return levels
	}
	expect := func(when string, want map[string]string) {
		t.Helper()
		if got := open(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: open alerts are %v, want %v", when, got, want)
		}
	}
	expect("created low", map[string]string{"p2": "low"})
	shop.adjust("b1", "p1", -10)
	expect("sold out", map[string]string{"p1": "out", "p2": "low"})
	shop.adjust("b1", "p1", -1)
	expect("below zero", map[string]string{"p1": "negative", "p2": "low"})
	shop.adjust("b1", "p1", 100)
	expect("refilled", map[string]string{"p2": "low"})
	shop.must(domain.CommandDeleteProduct, "b1", domain.DeleteProduct{ProductID: "p2"})
	expect("deleted", map[string]string{})
	minStock := int64(99)
	shop.must(domain.CommandChangeProduct, "b1", domain.ChangeProduct{ProductID: "p1", MinStock: &minStock})
	expect("minimum raised", map[string]string{"p1": "low"})
	once(t, shop.log)
}

func TestModesOfAlerts(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	dir := t.TempDir()
	with := func(mode string, deltas ...int64) {
		t.Helper()
		c := config(dir, shop.log)
		c.AlertsRepeat = mode
		rebuilt := make(chan Rebuild, 1)
		c.Observe.Rebuilt = func(_ string, b Rebuild) { rebuilt <- b }
		r := run(t, c)
		defer r.close()
		if r.status(Alerts).Rebuild != nil { // another mode's file serves until it is done
			if b := <-rebuilt; b.State != RebuildDone {
				t.Fatalf("the new mode's file is %+v, want it done", b)
			}
		}
		for _, delta := range deltas {
			shop.adjust("b1", "p1", delta)
		}
		// Settled means here: live, and nothing to append.
		r.wait(shop.log.Head())
		for len(r.alerter.news) > 0 || r.due() > 0 {
			r.wait(shop.log.Head())
		}
		r.wait(shop.log.Head())
	}
	expect := func(when string, want int) {
		t.Helper()
		if got := len(alerted(t, shop.log)); got != want {
			t.Errorf("%s: %d alerts, want %d", when, got, want)
		}
	}
	with(RepeatEscalation, -5, -1, -1) // 5, 4, 3: falls to it, no worse, no worse
	expect("escalation", 1)
	with(RepeatEscalation, -1, -2) // 2, 0: out
	expect("escalation", 2)
	with(RepeatEscalation, 1, 1) // 1, 2
	with(RepeatEvery)            // what was settled stays so
	expect("changed to every", 2)
	with(RepeatEvery, -1, -1)
	expect("every", 4)
	with(RepeatEscalation)
	expect("changed back", 4)
	if files, _ := filepath.Glob(filepath.Join(dir, "alerts-*.db")); len(files) != 1 {
		t.Errorf("files of the alerts are %v, want only that of the last mode", files)
	}
}

// As after a restore, or when the file was damaged.
func TestAFileWithoutAPastAlertsOfNothingLongPast(t *testing.T) {
	for name, tt := range map[string]struct {
		later  time.Duration // the last hundred causes, than the first
		unread bool          // the log can't be read when the file is made
		want   int
	}{
		"all_of_today": {0, false, 201 + 1},
		"half_of_it":   {2 * time.Hour, false, 100 + 1},
		"unreadable":   {2 * time.Hour, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			shop := newShop(t)
			shop.open("b1")
			shop.product("b1", "p1", 1000, 2000) // the first cause
			for _, wait := range []time.Duration{0, tt.later} {
				shop.now = shop.now.Add(wait)
				for range 100 {
					shop.adjust("b1", "p1", -1)
				}
			}
			shop.adjust("b1", "p1", 5000) // none
			c := config(t.TempDir(), shop.log)
			if tt.unread {
				shop.log.onRead = func() error { return domain.ErrLogUnavailable }
			}
			s, err := Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			shop.log.onRead = nil
			r := runSet(t, s)
			shop.product("b1", "p2", 0, 5) // a new one
			r.settle(shop.log)
			if got := len(alerted(t, shop.log)); got != tt.want {
				t.Errorf("%d alerts, want %d", got, tt.want)
			}
		})
	}
}

// A half-built file that serves for want of another takes over what was settled,
// too, if the other one can't serve, but can be read.
func TestAHalfBuiltFileThatMustServeAlertsOfNothingInThePast(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	c := config(t.TempDir(), shop.log)
	c.AlertsRepeat = RepeatEscalation
	r := run(t, c)
	for range 3 {
		shop.adjust("b1", "p1", -3) // 7, 4: low, 1: no worse
	}
	r.settle(shop.log)
	old := r.path(Alerts)
	r.close()
	want := len(alerted(t, shop.log))

	other, err := connect(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(other.exec("UPDATE position SET beside = 1"), other.close()); err != nil {
		t.Fatal(err)
	}
	c.AlertsRepeat = RepeatEvery
	d := alertsDefinition(RepeatEvery)
	half, err := openFile(filepath.Join(c.Dir, d.fileName(1)), d.schema, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := half.shut(); err != nil {
		t.Fatal(err)
	}
	r = run(t, c)
	r.wait(shop.log.Head())
	for len(r.alerter.news) > 0 || r.due() > 0 {
		r.wait(shop.log.Head())
	}
	r.close()
	if got := len(alerted(t, shop.log)); got != want || want == 0 {
		t.Errorf("%d alerts, want %d as before", got, want)
	}
}

func TestAFileThatHasInheritedBeginsNotAnew(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 1, 5)
	shop.now = shop.now.Add(2 * settledAfter)
	shop.adjust("b1", "p1", 100)
	d := alertsDefinition(RepeatEvery)
	f, err := openFile(filepath.Join(t.TempDir(), d.fileName(1)), d.schema, false)
	if err != nil {
		t.Fatal(err)
	}
	settled := func() (upTo, kept int64) {
		t.Helper()
		if _, err := f.writer.one(t.Context(), func(r row) error {
			upTo, kept = r.int(0), r.int(1)
			return nil
		}, "SELECT upto, coalesce((SELECT max(pos) FROM local_kept), 0) FROM local_settled"); err != nil {
			t.Fatal(err)
		}
		return upTo, kept
	}
	if err := settleThePast(t.Context(), f, shop.log); err != nil {
		t.Fatal(err)
	}
	if upTo, _ := settled(); upTo == 0 {
		t.Error("nothing is settled in a file without a past")
	}
	want := domain.Position{Seq: 1}
	if err := settleUpTo(f, want, []int64{7}); err != nil {
		t.Fatal(err)
	}
	if err := settleThePast(t.Context(), f, shop.log); err != nil {
		t.Fatal(err)
	}
	if upTo, kept := settled(); upTo != key(want) || kept != 7 {
		t.Errorf("settled up to %d but for %d, want %d, 7", upTo, kept, key(want))
	}
	if err := f.shut(); err != nil {
		t.Fatal(err)
	}
}

// due is the number of pending causes that are to be alerted.
func (r *running) due() int64 {
	r.t.Helper()
	n := int64(0)
	if _, err := r.view(context.Background(), Alerts, func(v *snapshot) error {
		_, err := v.one(context.Background(), func(row row) error {
			n = row.int(0)
			return nil
		}, "SELECT count(*) FROM pending WHERE "+unsettled)
		return err
	}); err != nil {
		r.t.Fatalf("count what is due: %v", err)
	}
	return n
}
