package projections

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"bms/domain"
)

// touchy is a fold that can't take certain commits, by error or panic.
type touchy struct {
	mu    sync.Mutex
	bad   map[uint64]string // by sequence: "error" or "panic"
	tries map[uint64]int
	// published, if not nil, is called when something was folded.
	published func()
}

func newTouchy() *touchy { return &touchy{bad: map[uint64]string{}, tries: map[uint64]int{}} }

func (y *touchy) spoil(c *domain.Commit, how string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.bad[c.Position.Seq] = how
}

func (y *touchy) mend() {
	y.mu.Lock()
	defer y.mu.Unlock()
	clear(y.bad)
}

func (y *touchy) whenPublished(do func()) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.published = do
}

// around makes a definition whose fold is touchy.
func (y *touchy) around(d definition) definition {
	start := d.start
	d.start = func(f *file) (fold, error) {
		fold, err := start(f)
		return touchyFold{fold, y}, err
	}
	return d
}

type touchyFold struct {
	fold
	*touchy
}

func (f touchyFold) published() {
	f.fold.published()
	f.mu.Lock()
	published := f.touchy.published
	f.mu.Unlock()
	if published != nil {
		published()
	}
}

func (f touchyFold) commit(c *domain.Commit) error {
	f.mu.Lock()
	how := f.bad[c.Position.Seq]
	f.tries[c.Position.Seq]++
	f.mu.Unlock()
	switch how {
	case "error":
		return errBroken
	case "panic":
		panic("broken by the test")
	}
	return f.fold.commit(c)
}

// only is a Set of one projection, which follows the log until the test ends.
func only(t *testing.T, c Config, d definition) *running {
	t.Helper()
	return runSet(t, openOnly(t, c, d))
}

func openOnly(t *testing.T, c Config, d definition) *Set {
	t.Helper()
	if err := c.defaults(); err != nil {
		t.Fatal(err)
	}
	s := &Set{config: c, byName: map[string]*runner{}, users: newDirectory(), noter: make(chan noteTask, 1)}
	r := newRunner(d, c)
	r.noter = s.noter
	s.runners, s.byName[d.name] = append(s.runners, r), r
	s.alerter = newAlerter(c, r)
	if d.name == Alerts {
		r.folded, r.releasing = s.alerter.wake, s.alerter.rewinding
	}
	if err := errors.Join(r.notes.load(c.Log), r.open()); err != nil {
		t.Fatal(err)
	}
	return s
}

// parked are the sequences of what is set aside, "!" after those that failed.
func (r *running) parked(projection string) string {
	r.t.Helper()
	page, err := r.Parked(context.Background(), projection, "", 0)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []string
	for _, p := range page.Items {
		s := fmt.Sprint(p.Pos.Seq)
		if p.Error != "" {
			s += "!"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

func TestACommitThatCantBeFoldedIsParkedAndItsKeyWaits(t *testing.T) {
	for _, how := range []string{"error", "panic"} {
		t.Run(how, func(t *testing.T) {
			shop, bad := newShop(t), newTouchy()
			shop.open("b1")
			shop.product("b1", "p1", 10, 0)
			shop.product("b1", "p2", 10, 0)
			shop.adjust("b1", "p2", 1)
			first := shop.adjust("b1", "p1", 1) // 5
			bad.spoil(first, how)
			shop.adjust("b1", "p2", 1)
			waits := shop.adjust("b1", "p1", 2) // 7
			both := shop.must(domain.CommandCreateTransaction, "b1", domain.CreateTransaction{
				TransactionID: "t1", Kind: domain.KindSale, Status: domain.StatusCompleted,
				Lines: []domain.TransactionLine{{ProductID: "p2", Quantity: 1}, {ProductID: "p1", Quantity: 1}},
			}) // 8: concerns p2, too, which then waits with it
			shop.adjust("b1", "p2", 5) // 9
			shop.product("b1", "p3", 3, 0)
			dir := t.TempDir()
			r := only(t, config(dir, shop.log), bad.around(inventoryDefinition()))
			r.wait(shop.log.Head())
			if got, want := r.parked(Inventory), "5! 7 8 9"; got != want {
				t.Fatalf("parked are %q, want %q", got, want)
			}
			if got := bad.tries[first.Position.Seq]; got < maxTries || got > maxTries+2 {
				t.Errorf("it was tried %d times, want %d or a few more in a batch", got, maxTries)
			}
			stock := func(product string) int64 {
				t.Helper()
				p, _, err := r.Product(t.Context(), "b1", product)
				if err != nil {
					t.Fatal(err)
				}
				return p.Stock
			}
			if stock("p1") != 10 || stock("p2") != 12 || stock("p3") != 3 {
				t.Errorf("stocks are %d, %d, %d; want 10, as before the bad one, 12 and 3", stock("p1"), stock("p2"), stock("p3"))
			}
			if s := r.status(Inventory); s.State != StateParked || s.Parked != 6 || s.LagEvents != 0 { // a sale of two has three
				t.Errorf("it is %s with %d parked and %d behind, want parked, 6, 0", s.State, s.Parked, s.LagEvents)
			}

			// It is still so after a restart, and what comes later waits too.
			r.close()
			r = only(t, config(dir, shop.log), bad.around(inventoryDefinition()))
			r.wait(shop.adjust("b1", "p1", 1).Position)
			if got, want := r.parked(Inventory), "5! 7 8 9 11"; got != want {
				t.Fatalf("parked after a restart are %q, want %q", got, want)
			}
			for pos, want := range map[domain.Position]error{
				waits.Position: ErrParkedBehind, both.Position: ErrParkedBehind, first.Position: ErrStillFailing, {Epoch: first.Position.Epoch, Seq: 3}: ErrNotParked,
			} {
				if err := r.RetryParked(t.Context(), Inventory, pos); !errors.Is(err, want) {
					t.Errorf("retry %s: %v, want %v", pos, err, want)
				}
			}
			if err := r.SkipParked(t.Context(), Inventory, waits.Position); !errors.Is(err, ErrParkedBehind) {
				t.Errorf("skip one that waits: %v, want ErrParkedBehind", err)
			}

			// Mended, all are folded in their order, to what they should be.
			bad.mend()
			if err := r.RetryParked(t.Context(), Inventory, first.Position); err != nil {
				t.Fatal(err)
			}
			if got := r.parked(Inventory); got != "" {
				t.Errorf("parked are %q, want none", got)
			}
			if s := r.status(Inventory); s.State != StateLive || s.Parked != 0 {
				t.Errorf("it is %s with %d parked, want live", s.State, s.Parked)
			}
			fresh := only(t, config(t.TempDir(), shop.log), inventoryDefinition())
			fresh.wait(shop.log.Head())
			compare(t, r.digests(), fresh.digests())
		})
	}
}

func TestASkippedCommitIsLeftOutAndTheNextInLineIsTried(t *testing.T) {
	shop, bad := newShop(t), newTouchy()
	shop.open("b1")
	shop.sell0(t, "t1")
	first := shop.must(domain.CommandSetTransactionStatus, "b1", domain.SetTransactionStatus{TransactionID: "t1", Status: domain.StatusPartiallyRefunded, Reason: "so", Lines: []domain.RefundRequestLine{{ProductID: "p1", Quantity: 1}}})
	bad.spoil(first, "error")
	second := shop.must(domain.CommandSetTransactionStatus, "b1", domain.SetTransactionStatus{TransactionID: "t1", Status: domain.StatusPartiallyRefunded, Reason: "so", Lines: []domain.RefundRequestLine{{ProductID: "p1", Quantity: 1}}})
	third := shop.must(domain.CommandSetTransactionStatus, "b1", domain.SetTransactionStatus{TransactionID: "t1", Status: domain.StatusRefunded, Reason: "so"})
	bad.spoil(third, "panic")
	r := only(t, config(t.TempDir(), shop.log), bad.around(transactionsDefinition()))
	r.wait(shop.log.Head())
	if err := r.SkipParked(t.Context(), Transactions, first.Position); err != nil {
		t.Fatal(err)
	}
	if got, want := r.parked(Transactions), fmt.Sprintf("%d!", third.Position.Seq); got != want {
		t.Errorf("parked are %q, want %q: the second folded, the third not", got, want)
	}
	tx, _, err := r.Transaction(t.Context(), "b1", "t1")
	if err != nil || len(tx.Changes) != 1 || tx.Changes[0].Pos.Seq != second.Position.Seq {
		t.Errorf("the transaction is %+v, error %v; want the second change alone", tx, err)
	}
}

// sell0 makes a product and a sale of three of it.
func (s *shop) sell0(t *testing.T, tx string) {
	t.Helper()
	s.product("b1", "p1", 10, 0)
	s.sell("b1", tx, "p1", 3)
}

// What a program can't know is never parked, let alone skipped.
func TestANewerEventIsNotParked(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	c := shop.product("b1", "p1", 10, 5)
	log := shop.log.Reread()
	log.All()[c.Position.Seq-1].Events[0].Version = 99
	r := only(t, config(t.TempDir(), log), inventoryDefinition())
	err := r.WaitFor(t.Context(), Inventory, log.Head())
	if !errors.Is(err, domain.ErrUnknownEvent) {
		t.Fatalf("wait: %v, want ErrUnknownEvent", err)
	}
	if got := r.parked(Inventory); got != "" || r.status(Inventory).State != StateFailed {
		t.Errorf("parked are %q and it is %s, want none and failed", got, r.status(Inventory).State)
	}
	if err := r.SkipParked(t.Context(), Inventory, c.Position); !errors.Is(err, ErrNotParked) {
		t.Errorf("skip: %v, want ErrNotParked", err)
	}
	if err := r.Rebuild(Inventory); err != nil {
		t.Fatal(err)
	}
	if last := r.finish(Inventory); last.State != RebuildFailed || !strings.Contains(last.Error, "unknown event") {
		t.Errorf("the rebuild is %+v, want it failed over the unknown event", last)
	}
	if files, _ := os.ReadDir(r.config.Dir); len(files) > 4 {
		t.Errorf("%d files are left, want that of the projection only", len(files))
	}
}

// Killed while it parks, a projection parks the same commit after the restart.
func TestAKillWhileParkingLosesNothing(t *testing.T) {
	shop, bad := newShop(t), newTouchy()
	shop.open("b1")
	shop.product("b1", "p1", 10, 0)
	bad.spoil(shop.adjust("b1", "p1", 1), "error")
	shop.adjust("b1", "p1", 1)
	dir, left := t.TempDir(), t.TempDir()
	killed, kill := context.WithCancel(t.Context())
	c := config(dir, shop.log)
	c.fault = func(_, step string) {
		if step == stepParking && killed.Err() == nil {
			snapshotFiles(t, dir, left)
			kill()
		}
	}
	r := only(t, c, bad.around(inventoryDefinition()))
	<-killed.Done()
	r.wait(shop.log.Head())
	for _, dir := range []string{dir, left} {
		r.close()
		r = only(t, config(dir, shop.log), bad.around(inventoryDefinition()))
		r.wait(shop.log.Head())
		if got, want := r.parked(Inventory), "3! 4"; got != want {
			t.Errorf("parked are %q, want %q", got, want)
		}
	}
}

// An alert whose cause was parked comes once the cause is folded, once, also if
// the alerts process is at work while those that waited are folded one by one.
func TestAParkedCauseIsAlertedOnce(t *testing.T) {
	shop, bad := newShop(t), newTouchy()
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	shop.open("b2")
	shop.product("b2", "p1", 10, 5)
	first := shop.adjust("b1", "p1", -6)
	bad.spoil(first, "panic")
	var r *running
	c := config(t.TempDir(), shop.log)
	c.fault = func(_, step string) {
		if step == stepAppended { // it looks for more when this is folded
			_ = r.WaitFor(t.Context(), Alerts, shop.log.Head())
		}
	}
	r = only(t, c, bad.around(alertsDefinition(RepeatEvery)))
	shop.adjust("b2", "p1", -7)
	shop.adjust("b1", "p1", -1)
	r.settle(shop.log)
	if got := len(alerted(t, shop.log)); got != 1 {
		t.Fatalf("%d alerts while b1 is parked, want that of b2", got)
	}
	bad.mend()
	bad.whenPublished(func() {
		for range 100_000 {
			r.alerter.wake()
			runtime.Gosched()
		}
	})
	if err := r.RetryParked(t.Context(), Alerts, first.Position); err != nil {
		t.Fatal(err)
	}
	bad.whenPublished(nil)
	r.settle(shop.log)
	once(t, shop.log)
}
