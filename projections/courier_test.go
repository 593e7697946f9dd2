package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// desk is a shop whose transfers' next steps are left to a courier, which the
// deciders serve as they serve everybody.
type desk struct {
	mu sync.Mutex // guards what follows
	*shop
	given  map[string]int // times that a command was given
	refuse func(domain.Command) error
	lose   func(domain.Command) bool // the answer
}

func newDesk(t testing.TB) *desk {
	d := &desk{shop: newShop(t), given: map[string]int{}}
	d.leaves = true
	return d
}

// commands is what the courier calls.
func (d *desk) commands(_ context.Context, c domain.Command) (*domain.Commit, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.given[c.ID]++
	if d.refuse != nil {
		if err := d.refuse(c); err != nil {
			return nil, err
		}
	}
	commit, err := d.log.FindCommand(context.Background(), c.Identity.UserID, c.ID)
	if errors.Is(err, domain.ErrNotFound) {
		var rejection *domain.Rejection
		if commit, rejection = d.decide(c); rejection != nil {
			return nil, rejection
		}
		err = nil
	}
	if d.lose != nil && d.lose(c) {
		return nil, fmt.Errorf("answer lost: %w", domain.ErrLogUnavailable)
	}
	return commit, err
}

func (d *desk) config(dir string) Config {
	c := config(dir, d.log)
	c.Commands = d.commands
	return c
}

// trade is shop.trade while a courier works.
func (d *desk) trade(r *rand.Rand, n int) {
	for range n {
		d.mu.Lock()
		d.shop.trade(r, 1)
		d.mu.Unlock()
	}
}

// stocked opens branches with plenty of two products.
func (d *desk) stocked(branches ...string) {
	for _, b := range branches {
		d.open(b)
		for _, p := range []string{"p1", "p2"} {
			d.product(b, p, 1_000_000, 0)
		}
	}
}

// delivered waits until nothing is pending and all is folded.
func (r *running) delivered(log domain.Log) { r.deliveredBut(log, 0) }

func (r *running) deliveredBut(log domain.Log, left int64) {
	r.t.Helper()
	for {
		head := log.Head()
		r.wait(head)
		if r.entailed() == left && log.Head() == head {
			return
		}
		next, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		_, err := log.Next(next, head.Seq, 1)
		cancel()
		if err != nil {
			r.t.Fatalf("nothing comes: %v", err)
		}
	}
}

// entailed is the number of commands that are still to be given.
func (r *running) entailed() (n int64) {
	r.t.Helper()
	if _, err := r.view(context.Background(), Transfers, func(v *snapshot) error {
		_, err := v.one(context.Background(), func(row row) error {
			n = row.int(0)
			return nil
		}, "SELECT count(*) FROM pending")
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// followed checks that all that transfers entail is in the log, once, and
// nothing else of the system's.
func (d *desk) followed() {
	d.t.Helper()
	want, got := map[string]bool{}, map[string]int{}
	for _, c := range d.log.All() {
		for i := range c.Events {
			follow, err := domain.FollowUps(&c.Events[i])
			if err != nil {
				d.t.Fatal(err)
			}
			for _, f := range follow {
				want[f.ID] = true
			}
		}
		if domain.OfSystem(c.CommandType) {
			got[c.CommandID]++
		}
	}
	for id := range want {
		if got[id] != 1 {
			d.t.Errorf("%s is %d times in the log, want once", id, got[id])
		}
	}
	for id := range got {
		if !want[id] {
			d.t.Errorf("%s is in the log and nothing entails it", id)
		}
	}
	if len(want) == 0 {
		d.t.Fatal("nothing was entailed: the test shows nothing")
	}
}

// conserved checks invariant 8 over all branches: what transfers took from the
// shelves is on others, broken, written off, or in transit still.
func (d *desk) conserved(r *running) {
	d.t.Helper()
	moved, inTransit := map[string]int64{}, map[string]int64{}
	for _, c := range d.log.All() {
		for i := range c.Events {
			switch p := payload(d.t.(*testing.T), &c.Events[i]).(type) {
			case domain.InventoryUpdated:
				switch p.Reason {
				case domain.ReasonTransferOut, domain.ReasonTransferIn, domain.ReasonTransferReturn:
					moved[p.ProductID] -= p.Delta
				}
			case domain.TransferReturned:
				for _, l := range p.Lines {
					moved[l.ProductID] -= l.WrittenOff
				}
			}
		}
	}
	for _, b := range []string{"b0", "b1", "b2", "b3"} {
		all, _ := pages(d.t.(*testing.T), func(c string) (Page[Transfer], error) {
			return r.Transfers(context.Background(), TransfersQuery{BranchID: b, Direction: TransfersOut, Cursor: c, Limit: MaxLimit})
		})
		for _, t := range all {
			for _, l := range t.Lines {
				inTransit[l.ProductID] += l.InTransit
			}
		}
	}
	maps.DeleteFunc(moved, func(_ string, n int64) bool { return n == 0 })
	maps.DeleteFunc(inTransit, func(_ string, n int64) bool { return n == 0 })
	if !maps.Equal(moved, inTransit) {
		d.t.Errorf("left shelves and came to none: %v, in transit: %v", moved, inTransit)
	}
}

func TestWhatTransfersEntailIsGivenOnce(t *testing.T) {
	desk := newDesk(t)
	r := run(t, desk.config(t.TempDir()))
	desk.trade(rand.New(rand.NewPCG(31, 1)), 1500) // while it runs
	r.delivered(desk.log)
	desk.followed()
	desk.conserved(r)
	for id, times := range desk.given {
		if times != 1 {
			t.Errorf("%s was given %d times, want once: nothing went wrong", id, times)
		}
	}
}

func TestTransfersSurviveAKillAtEveryStep(t *testing.T) {
	for _, step := range []string{stepFolded, stepCommitted, stepDerived, stepAppended} {
		for _, nth := range []int{1, 2, 5, 13} {
			t.Run(fmt.Sprintf("%s_%d", step, nth), func(t *testing.T) {
				desk := newDesk(t)
				desk.stocked("b0", "b1", "b2")
				desk.trade(rand.New(rand.NewPCG(32, uint64(nth))), 100)
				dir, left := t.TempDir(), t.TempDir()
				killed, kill := context.WithCancel(context.Background())
				defer kill()
				seen, mu := 0, sync.Mutex{}
				c := desk.config(dir)
				c.Log = reader{desk.log, 7} // many small batches
				c.fault = func(projection, at string) {
					mu.Lock()
					defer mu.Unlock()
					if projection != Transfers || at != step {
						return
					}
					if seen++; seen == nth {
						snapshotFiles(t, dir, left)
						kill()
					}
					if seen >= nth {
						panic("killed by the test")
					}
				}
				c.Commands = func(ctx context.Context, cmd domain.Command) (*domain.Commit, error) {
					if killed.Err() != nil {
						return nil, errBroken
					}
					return desk.commands(ctx, cmd)
				}
				r := run(t, c)
				for killed.Err() == nil {
					desk.trade(rand.New(rand.NewPCG(33, uint64(desk.n))), 10)
					if err := r.WaitFor(killed, Transfers, desk.log.Head()); err != nil && killed.Err() == nil {
						t.Fatal(err)
					}
				}
				r.close()

				r = run(t, desk.config(left))
				desk.trade(rand.New(rand.NewPCG(34, uint64(nth))), 120)
				r.delivered(desk.log)
				desk.followed()
				desk.conserved(r)
			})
		}
	}
}

// What can't be given now is given later, in fake time: nothing here waits.
func TestTheCourierTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desk := newDesk(t)
		desk.stocked("b0", "b1", "b2")
		r := rand.New(rand.NewPCG(35, 1))
		desk.refuse = func(domain.Command) error {
			switch r.IntN(4) {
			case 0:
				return fmt.Errorf("append: %w", domain.ErrLogUnavailable)
			case 1:
				return domain.Reject(domain.CodeBusy, "come again")
			case 2:
				panic("broken by the test")
			}
			return nil
		}
		desk.lose = func(domain.Command) bool { return r.IntN(3) == 0 }
		running := run(t, desk.config(t.TempDir()))
		desk.trade(rand.New(rand.NewPCG(35, 2)), 800)
		running.delivered(desk.log)
		desk.followed()
		desk.conserved(running)
		running.close()
	})
}

// One that can't ever be given is tried less and less often, and holds up no
// other.
func TestACommandThatIsAlwaysRefusedHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desk := newDesk(t)
		desk.stocked("b0", "b1", "b2")
		bad := "transfer/" + desk.send("b0", "b2", domain.TransferLine{ProductID: "p1", Quantity: 1}) + "/announce"
		desk.refuse = func(c domain.Command) error {
			if c.ID == bad {
				return domain.Reject(domain.CodeIdempotencyMismatch, "broken by the test")
			}
			return nil
		}
		r := run(t, desk.config(t.TempDir()))
		for range 3 * courierPage {
			desk.mu.Lock()
			desk.send("b0", "b1", domain.TransferLine{ProductID: "p1", Quantity: 1})
			desk.mu.Unlock()
		}
		r.deliveredBut(desk.log, 1)
		time.Sleep(10 * time.Minute) // of a bubble
		desk.mu.Lock()
		if times := desk.given[bad]; times < 10 || times > 100 {
			t.Errorf("the bad one was tried %d times in 10 minutes, want every %v at least", times, maxBackoff)
		}
		desk.refuse = nil
		desk.mu.Unlock()
		r.delivered(desk.log)
		desk.followed()
		r.close()
	})
}

// More commands than a page has that are always refused, before all others, hold
// up no other either.
func TestPagesOfRefusedCommandsHoldUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desk := newDesk(t)
		desk.stocked("b0", "b1", "b2")
		refused := map[string]bool{}
		for range 2*courierPage + 10 {
			refused["transfer/"+desk.send("b0", "b2", domain.TransferLine{ProductID: "p1", Quantity: 1})+"/announce"] = true
		}
		desk.refuse = func(c domain.Command) error {
			if refused[c.ID] {
				return domain.Reject(domain.CodeIdempotencyMismatch, "broken by the test")
			}
			return nil
		}
		for range 10 {
			desk.send("b0", "b1", domain.TransferLine{ProductID: "p1", Quantity: 1})
		}
		r := run(t, desk.config(t.TempDir()))
		r.deliveredBut(desk.log, int64(len(refused)))
		desk.mu.Lock()
		desk.refuse = nil
		desk.mu.Unlock()
		r.delivered(desk.log)
		desk.followed()
		r.close()
	})
}

func TestTwoNodesGiveWhatTransfersEntailOnce(t *testing.T) {
	desk := newDesk(t)
	desk.stocked("b0", "b1", "b2")
	first, second := run(t, desk.config(t.TempDir())), run(t, desk.config(t.TempDir()))
	for range 20 {
		desk.trade(rand.New(rand.NewPCG(36, uint64(desk.n))), 40)
	}
	first.delivered(desk.log)
	second.delivered(desk.log)
	desk.followed()
	desk.conserved(first)
	if got, want := second.digests(), first.digests(); got[Transfers] != want[Transfers] {
		t.Errorf("digests of the transfers are %s and %s on two nodes, want the same", got[Transfers], want[Transfers])
	}
}

func TestARebuildGivesNoCommand(t *testing.T) {
	desk := newDesk(t)
	desk.stocked("b0", "b1", "b2")
	desk.trade(rand.New(rand.NewPCG(37, 1)), 400)
	r := run(t, desk.config(t.TempDir()))
	r.delivered(desk.log)
	r.close()
	desk.refuse = func(c domain.Command) error {
		t.Errorf("a rebuild gives %s, want nothing", c.ID)
		return nil
	}
	var set *Set
	rounds := 0
	c := desk.config(t.TempDir())
	c.Log = reader{desk.log, 7} // causes are seen long before what settles them
	c.fault = func(projection, at string) {
		if projection == Transfers && at == stepCommitted {
			rounds++
			if err := set.courier.round(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	set, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		set.byName[Transfers].run(ctx) // and no courier but the one above
	}()
	if err := set.WaitFor(ctx, Transfers, desk.log.Head()); err != nil {
		t.Error(err)
	}
	cancel()
	<-ran
	if err := set.Close(); err != nil {
		t.Error(err)
	}
	if rounds < 5 {
		t.Errorf("%d rounds, want some", rounds)
	}
}

// Without a way to give commands they stay pending, and are given by who has
// one.
func TestWithoutCommandsWhatIsEntailedStaysPending(t *testing.T) {
	desk := newDesk(t)
	desk.stocked("b0", "b1")
	id := desk.send("b0", "b1", domain.TransferLine{ProductID: "p1", Quantity: 1})
	dir := t.TempDir()
	r := run(t, config(dir, desk.log))
	r.wait(desk.log.Head())
	if n := r.entailed(); n != 1 {
		t.Errorf("%d commands are pending, want 1", n)
	}
	r.close()
	r = run(t, desk.config(dir))
	r.delivered(desk.log)
	if transfer, _, err := r.Transfer(t.Context(), "b1", id); err != nil || transfer.Status != domain.TransferStateInTransit {
		t.Errorf("transfer %+v, %v; want it in transit", transfer, err)
	}
}

// The trace of a command goes on in what it entails.
func TestTheTraceGoesOn(t *testing.T) {
	desk := newDesk(t)
	desk.stocked("b0", "b1")
	trace := map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	if _, r := desk.decide(domain.Command{
		ID: "traced", Type: domain.CommandDispatchTransfer, BranchID: "b0", Identity: boss, At: desk.now, Metadata: trace,
		Body: domain.DispatchTransfer{ToBranchID: "b1", Lines: []domain.TransferLine{{ProductID: "p1", Quantity: 1}}},
	}); r != nil {
		t.Fatal(r)
	}
	c := desk.config(t.TempDir())
	c.Logger = slog.New(slog.DiscardHandler)
	r := run(t, c)
	r.delivered(desk.log)
	all := desk.log.All()
	i := slices.IndexFunc(all, func(c *domain.Commit) bool { return c.CommandType == domain.CommandAnnounceTransfer })
	if i < 0 || !maps.Equal(all[i].Metadata, trace) {
		t.Errorf("what is entailed has not the trace %v", trace)
	}
}
