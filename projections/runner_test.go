package projections

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"bms/domain"
)

func TestAnUnknownEventStopsOnlyWhoNeedsIt(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	before := shop.log.Head()
	newer := shop.sell("b1", "t1", "p1", 1)
	log := shop.log.Reread()
	for i := range log.All()[newer.Position.Seq-1].Events {
		log.All()[newer.Position.Seq-1].Events[i].Version = 99
	}
	unheard := &domain.Commit{Stream: "moon/1", Version: 1, CommandID: "x", Events: []domain.Event{{Type: "moon:landed", Version: 1, Data: []byte(`{}`)}}}
	if err := log.Append(context.Background(), unheard); err != nil {
		t.Fatal(err)
	}
	r := run(t, config(t.TempDir(), log))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	stops := map[string]bool{Branches: true, Inventory: true, Transactions: true, Stats: true, Alerts: true, Users: false, Transfers: false, Notifications: false}
	for name, want := range stops {
		err := r.WaitFor(ctx, name, log.Head())
		if got := errors.Is(err, ErrUnavailable) && errors.Is(err, domain.ErrUnknownEvent); got != want {
			t.Errorf("wait for %s: %v, stopped %t, want %t", name, err, got, want)
		}
	}
	for _, s := range r.Status() {
		want := StateLive
		if stops[s.Name] {
			want = StateFailed
		}
		if s.State != want || (s.LastError != "") != stops[s.Name] {
			t.Errorf("%s is %s with error %q, want %s", s.Name, s.State, s.LastError, want)
		}
	}
	p, pos, err := r.Product(ctx, "b1", "p1")
	if err != nil || p.Stock != 10 || pos != (domain.Position{}) && pos.After(before) {
		t.Errorf("product is %+v at %s, error %v; want the state before %s", p, pos, err, before)
	}
}

// Invariant 7.
func TestAPanicInAFoldStopsThatProjectionForAMoment(t *testing.T) {
	for _, step := range []string{stepFolded, stepCommitted} {
		t.Run(step, func(t *testing.T) {
			shop := newShop(t)
			shop.trade(rand.New(rand.NewPCG(11, 11)), 200)
			var panics, failures atomic.Int64
			c := config(t.TempDir(), shop.log)
			c.Log = reader{shop.log, 40}
			c.fault = func(projection, at string) {
				if projection == Stats && at == step && panics.Add(1) <= 4 {
					panic("broken by the test")
				}
			}
			c.Observe.Failed = func(projection string, err error) {
				if projection != Stats {
					t.Errorf("%s failed: %v", projection, err)
				}
				failures.Add(1)
			}
			r := run(t, c)
			r.settle(shop.log)
			if got, want := failures.Load(), min(panics.Load(), 4); got != want || want == 0 {
				t.Errorf("%d failures were observed, want %d", got, want)
			}
			fresh := run(t, config(t.TempDir(), shop.log))
			fresh.settle(shop.log)
			compare(t, r.digests(), fresh.digests())
			for _, s := range r.Status() {
				if s.State != StateLive || s.LastError != "" {
					t.Errorf("%s is %s with error %q, want live", s.Name, s.State, s.LastError)
				}
			}
		})
	}
}

// alone runs one projection until the test ends.
func alone(t *testing.T, d definition, c Config) *runner {
	r := newRunner(d, c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// A full disk stops a fold; when there is room again it goes on by itself.
func TestAFoldGoesOnAfterTheDiskWasFull(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	for range 2000 {
		shop.adjust("b1", "p1", 1)
	}
	c := config(t.TempDir(), shop.log)
	if err := c.defaults(); err != nil {
		t.Fatal(err)
	}
	d := inventoryDefinition()
	start := d.start
	d.start = func(f *file) (fold, error) {
		fold, err := start(f)
		if err == nil {
			_, err = f.writer.one(context.Background(), func(row) error { return nil }, "PRAGMA max_page_count = 20")
		}
		return &cramped{fold, f, 3}, err
	}
	var failures atomic.Int64
	c.Observe.Failed = func(string, error) { failures.Add(1) }
	r := alone(t, d, c)
	if err := r.progress.wait(t.Context(), shop.log.Head()); err != nil {
		t.Fatal(err)
	}
	if failures.Load() == 0 {
		t.Error("nothing failed: the test shows nothing")
	}
	changes := int64(0)
	if _, err := r.view(t.Context(), func(v *snapshot) error {
		_, err := v.one(t.Context(), func(r row) error {
			changes = r.int(0)
			return nil
		}, "SELECT count(*) FROM ledger")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if changes != 2001 {
		t.Errorf("the ledger has %d changes, want 2001", changes)
	}
}

// cramped makes room on the disk after some batches were given up.
type cramped struct {
	fold
	file *file
	left int
}

func (c *cramped) forget() error {
	if c.left--; c.left == 0 {
		if _, err := c.file.writer.one(context.Background(), func(row) error { return nil }, "PRAGMA max_page_count = 1000000"); err != nil {
			return err
		}
	}
	return c.fold.forget()
}
