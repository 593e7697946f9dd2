package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

// keptBehind is what is kept beside a log: it trails it, and never goes back.
type keptBehind struct {
	mu      sync.Mutex // guards what follows but log and warned
	log     *eventlogtest.Memory
	random  *rand.Rand
	at      uint64
	asked   int // rows
	gone    bool
	prompt  bool  // it goes on to the end at once
	failing bool  // now and then
	broken  error // always, if not nil
	reads   int   // whole loads
	warned  warnings
}

// locked is for what the test itself sees and sets of it.
func (k *keptBehind) locked(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// warnings counts what is logged of streams that are read from their beginning.
type warnings struct {
	slog.Handler
	n atomic.Int64
}

func (w *warnings) Enabled(context.Context, slog.Level) bool { return true }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "from its beginning") {
		w.n.Add(1)
	}
	return nil
}

// advance goes on by some commits, perhaps to the end.
func (k *keptBehind) advance(ctx context.Context, stream string) *domain.Branch {
	end := k.log.Version(stream)
	switch {
	case k.prompt:
		k.at = end
	case k.at < end:
		k.at += k.random.Uint64N(end - k.at + 1)
	}
	if k.gone {
		return domain.NewBranch("b1")
	}
	return stateAt(ctx, k.log, stream, int(k.at)).(*domain.Branch)
}

func (k *keptBehind) load(ctx context.Context, stream string) (domain.State, uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	b := k.advance(ctx, stream)
	clear(b.Transactions)
	clear(b.Transfers)
	clear(b.Devices)
	if k.gone {
		return b, 0, nil
	}
	return b, k.at, nil
}

func (k *keptBehind) loadRows(ctx context.Context, stream string, rows []domain.Row) ([][]byte, uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken != nil {
		return nil, 0, k.broken
	}
	if k.failing {
		switch k.random.IntN(10) {
		case 0:
			return nil, 0, context.DeadlineExceeded
		case 1:
			return nil, 0, errors.New("too many open files")
		case 2:
			panic("a row")
		}
	}
	b := k.advance(ctx, stream)
	states := make([][]byte, len(rows))
	k.asked += len(rows)
	for i, r := range rows {
		var err error
		if states[i], err = b.MarshalRow(r); err != nil {
			return nil, 0, err
		}
	}
	if k.gone {
		return states, 0, nil
	}
	return states, k.at, nil
}

// startLazy starts deciders that keep next to no rows in memory.
func startLazy(t *testing.T, log *faultyLog, random *rand.Rand) (*Deciders, *keptBehind) {
	kept := &keptBehind{log: log.Memory, random: rand.New(rand.NewPCG(random.Uint64(), 13))}
	d := startDeciders(t, log, func(c *DecidersConfig) {
		c.Load, c.LoadRows = kept.load, kept.loadRows
		c.Logger = slog.New(&kept.warned)
	})
	d.maxRows = 3
	return d, kept
}

// saleCommand is about one of a few transactions, transfers and devices.
func saleCommand(random *rand.Rand, i int, dispatched []string) domain.Command {
	id := fmt.Sprintf("t%d", random.IntN(20))
	lines := []domain.TransactionLine{{ProductID: "p1", Quantity: 1 + random.Int64N(3)}}
	var cmd domain.Command
	switch random.IntN(7) {
	case 0, 1:
		status := []string{domain.StatusCompleted, domain.StatusPending}[random.IntN(2)]
		cmd = commandBy(boss, domain.CommandCreateTransaction, "b1", domain.CreateTransaction{TransactionID: id, Kind: domain.KindSale, Status: status, Lines: lines})
	case 2, 3:
		body := domain.SetTransactionStatus{TransactionID: id, Status: []string{domain.StatusCompleted, domain.StatusVoided, domain.StatusRefunded}[random.IntN(3)], Reason: "x"}
		if random.IntN(2) == 0 {
			body.Status, body.Lines = domain.StatusPartiallyRefunded, []domain.RefundRequestLine{{ProductID: "p1", Quantity: 1}}
		}
		cmd = commandBy(boss, domain.CommandSetTransactionStatus, "b1", body)
	case 4:
		from := random.Int64N(30)
		cmd = commandBy(boss, domain.CommandSubmitSync, "b1", domain.SubmitSync{DeviceID: fmt.Sprintf("d%d", random.IntN(3)), FromSeq: from, Operations: []domain.SyncOperation{
			{Seq: from, Lines: lines}, {Seq: from + 1 + random.Int64N(3), TransactionID: id, Lines: lines},
		}})
	case 5:
		cmd = commandBy(boss, domain.CommandDispatchTransfer, "b1", domain.DispatchTransfer{ToBranchID: "b2", Lines: []domain.TransferLine{{ProductID: "p1", Quantity: 1}}})
	default:
		cmd = adjust(5)
		if len(dispatched) > 0 {
			cmd = commandBy(domain.SystemIdentity(), domain.CommandReturnTransfer, "b1", domain.ReturnTransfer{
				TransferID: dispatched[random.IntN(len(dispatched))], Lines: []domain.TransferLine{{ProductID: "p1", Quantity: 1}},
			})
		}
	}
	cmd.ID, cmd.Keyed = fmt.Sprint("c", i), random.IntN(2) == 0
	return cmd
}

// Invariants 2 and 6: what a decider has in memory makes no difference.
func Test_a_state_in_part_decides_as_the_whole_does(t *testing.T) {
	outcomes, asked := map[string]int{}, 0
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 11))
			whole, part := newFaultyLog(), newFaultyLog()
			reference := startDeciders(t, whole, nil)
			lazy, kept := startLazy(t, part, random)
			setUp := []domain.Command{openBranch("b1"), createProduct("b1", 40)}
			var dispatched []string
			i := 0
			next := func() domain.Command {
				if i++; i <= len(setUp) {
					return setUp[i-1]
				}
				return saleCommand(random, i, dispatched)
			}
			for i < 150 {
				var commands []domain.Command
				release := part.hold()
				for range 1 + random.IntN(8)*min(i, 1) {
					commands = append(commands, next())
				}
				var answers []<-chan decided
				for _, cmd := range commands {
					answers = append(answers, submit(lazy, cmd))
					if random.IntN(3) == 0 {
						synctest.Wait()
					}
				}
				release()
				for n, cmd := range commands {
					got := <-answers[n]
					want, err := do(reference, cmd)
					if code(got.err) != code(err) {
						t.Fatalf("seed %d, command %s %s %+v: %v, want %v", seed, cmd.ID, cmd.Type, cmd.Body, got.err, err)
					}
					outcomes[cmd.Type+" "+code(err)]++
					if err != nil {
						continue
					}
					if gotJSON, wantJSON := contentOf(t, got.commit), contentOf(t, want); gotJSON != wantJSON {
						t.Fatalf("seed %d, command %s %s: committed\n%s, want\n%s", seed, cmd.ID, cmd.Type, gotJSON, wantJSON)
					}
					if cmd.Type == domain.CommandDispatchTransfer {
						var result domain.DispatchResult
						if err := json.Unmarshal(want.Result, &result); err != nil {
							t.Fatal(err)
						}
						dispatched = append(dispatched, result.TransferID)
					}
				}
				kept.mu.Lock()
				switch random.IntN(12) {
				case 0: // it wakes up again
					kept.mu.Unlock()
					lazy, kept = startLazy(t, part, random)
					kept.mu.Lock()
				case 1: // what is kept is lost
					kept.gone = true
				case 2:
					kept.gone = false
				case 3: // or folded anew
					kept.at = 1 + random.Uint64N(kept.at+1)/2
				}
				kept.mu.Unlock()
				if n := kept.warned.n.Load(); n > 0 {
					t.Fatalf("seed %d: the stream was read from its beginning %d times", seed, n)
				}
			}
			stockOf(t, part, "b1")
			kept.locked(func() { asked += kept.asked })
		})
	}
	for _, want := range []string{
		"transaction.create accepted", "transaction.create invalid_transition", "transaction.set-status accepted", "transaction.set-status invalid_transition",
		"sync.submit accepted", "transfer.dispatch accepted", "transfer.return accepted",
	} {
		if outcomes[want] == 0 {
			t.Errorf("outcomes %v: none is %q", outcomes, want)
		}
	}
	if asked == 0 {
		t.Error("no row was asked for")
	}
}

func contentOf(t *testing.T, c *domain.Commit) string {
	t.Helper()
	raw, err := json.Marshal(struct {
		Version uint64
		Result  json.RawMessage
		Events  []domain.Event
	}{c.Version, c.Result, slices.Clone(c.Events)})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Two owners with parts of a state, and appends that fail: nothing is decided on
// a row that is not there or not the last (invariants 2, 3 and 8).
func Test_states_in_part_survive_faults_and_other_owners(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 12))
			log := newFaultyLog()
			one, keptOne := startLazy(t, log, random)
			two, keptTwo := startLazy(t, log, random)
			stocked(t, one, 40)
			for _, kept := range []*keptBehind{keptOne, keptTwo} {
				kept.mu.Lock()
				kept.failing = seed%2 == 0
				kept.mu.Unlock()
			}
			faults := rand.New(rand.NewPCG(seed, 14))
			var mu sync.Mutex // guards faults
			log.onAppend(func(_ context.Context, _ []*domain.Commit, next func() error) error {
				mu.Lock()
				fault := faults.IntN(6)
				mu.Unlock()
				switch fault {
				case 0:
					return domain.ErrLogUnavailable
				case 1:
					return errors.Join(next(), domain.ErrLogUnavailable)
				}
				return next()
			})
			for i := range 150 {
				d := one
				if random.IntN(2) == 0 {
					d = two
				}
				cmd := saleCommand(random, i, nil)
				_, err := do(d, cmd)
				if code(err) == "fault" && !strings.Contains(err.Error(), "panic: a row") {
					t.Fatalf("seed %d: %s: %v", seed, cmd.Type, err)
				}
			}
			stockOf(t, log, "b1") // folds without an error
		})
	}
}

// lazyAfter starts deciders on a log that has something in it, so that what is
// kept is what they begin with.
func lazyAfter(t *testing.T, log *faultyLog, first ...domain.Command) (*Deciders, *keptBehind) {
	t.Helper()
	setUp := startDeciders(t, log, nil)
	stocked(t, setUp, 1<<40)
	for _, cmd := range first {
		mustDo(t, setUp, cmd)
	}
	d, kept := startLazy(t, log, rand.New(rand.NewPCG(1, 18)))
	kept.prompt = true
	mustDo(t, d, adjust(1))
	return d, kept
}

// A client who knows which id will be made can use it before (invariants 2, 6).
func Test_an_id_that_is_made_may_be_taken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		again := keyed(sell(1), "k")
		taken := again.Body.(domain.CreateTransaction)
		taken.TransactionID = domain.EventID(again.At, again.Identity.UserID, "k\x00transaction", 0)
		d, _ := lazyAfter(t, log, commandBy(cashier, domain.CommandCreateTransaction, "b1", taken))
		_, err := do(d, again)
		wantCode(t, err, domain.CodeInvalidTransition)
		stockOf(t, log, "b1") // folds without an error
	})
}

func syncBatch(who domain.Identity, device string, operations int) domain.Command {
	body := domain.SubmitSync{DeviceID: device}
	for i := range operations {
		body.Operations = append(body.Operations, domain.SyncOperation{
			Seq: int64(i), TransactionID: fmt.Sprintf("%s-%d", device, i), Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: 1}},
		})
	}
	return commandBy(who, domain.CommandSubmitSync, "b1", body)
}

func Test_no_rows_are_loaded_for_what_is_rejected_anyway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, kept := lazyAfter(t, newFaultyLog())
		stranger := domain.Identity{UserID: "eve", Role: domain.RoleStaff, Branches: []string{"b2"}}
		_, err := do(d, keyed(syncBatch(stranger, "till-1", 10), "k"))
		wantCode(t, err, domain.CodeBranchForbidden)
		_, err = do(d, syncBatch(cashier, "till-1", domain.MaxSyncOperations+1))
		wantCode(t, err, domain.CodeBatchTooLarge)
		kept.locked(func() {
			if kept.asked != 0 {
				t.Errorf("%d rows were asked for, want none", kept.asked)
			}
		})
	})
}

// What waits keeps its rows, however many there are.
func Test_rows_of_what_waits_are_loaded_once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d, kept := lazyAfter(t, log)
		const batches, operations = 40, 20
		release := log.hold()
		var answers []<-chan decided
		for i := range batches {
			answers = append(answers, submit(d, syncBatch(cashier, fmt.Sprint("till-", i), operations)))
		}
		synctest.Wait()
		release()
		for _, answer := range answers {
			if got := <-answer; got.err != nil {
				t.Fatal(got.err)
			}
		}
		kept.locked(func() {
			if most := batches * (operations + 1); kept.asked > most {
				t.Errorf("%d rows were asked for, want %d at most", kept.asked, most)
			}
		})
	})
}

// Rows that can't be had for a while cost whoever needs them an answer, and
// nobody the state.
func Test_rows_that_cannot_be_had_keep_nobody_else_up(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, kept := lazyAfter(t, newFaultyLog())
		reads := 0
		kept.locked(func() { kept.broken, reads = errors.New("too many open files"), kept.reads })
		for i := range 20 {
			_, err := do(d, keyed(sell(1), fmt.Sprint("s", i)))
			wantCode(t, err, domain.CodeLogUnavailable)
			mustDo(t, d, keyed(adjust(1), fmt.Sprint("k", i)))
			mustDo(t, d, sell(1))
		}
		kept.locked(func() { kept.broken = nil })
		mustDo(t, d, keyed(sell(1), "s0"))
		kept.locked(func() {
			if kept.reads != reads {
				t.Errorf("the state was loaded %d times more, want none", kept.reads-reads)
			}
		})
	})
}

// A branch that is sold from all day, and that is asked for nothing it had
// before, lets go of its sales (invariant 9).
func Test_what_is_kept_leaves_memory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d, kept := startLazy(t, log, rand.New(rand.NewPCG(1, 15)))
		kept.prompt = true
		var branch *domain.Branch
		d.newState = func(stream string) (domain.State, error) {
			state, err := domain.NewState(stream)
			branch, _ = state.(*domain.Branch)
			return state, err
		}
		stocked(t, d, 1<<40)
		most := 0
		for i := range 500 {
			cmd := commandBy(boss, domain.CommandCreateTransaction, "b1", domain.CreateTransaction{
				Kind: domain.KindSale, Status: domain.StatusCompleted, Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: 1}},
			})
			cmd.ID = fmt.Sprint("s", i)
			mustDo(t, d, cmd)
			synctest.Wait()
			most = max(most, len(branch.Transactions))
		}
		if most < 1 || most > 4*d.maxRows {
			t.Errorf("%d sales in memory at most, want 1 to %d", most, 4*d.maxRows)
		}
	})
}

// A row that another owner has changed says that the rest has changed, too
// (invariant 2).
func Test_a_row_of_another_owner_is_no_row_of_this_state(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, random := newFaultyLog(), rand.New(rand.NewPCG(1, 16))
		stocked(t, startDeciders(t, log, nil), 1)
		one, kept := startLazy(t, log, random)
		two, _ := startLazy(t, log, random)
		kept.prompt = true
		mustDo(t, one, adjust(1))
		mustDo(t, two, adjust(10))
		lines := []domain.TransactionLine{{ProductID: "p1", Quantity: 5}}
		mustDo(t, two, commandBy(boss, domain.CommandCreateTransaction, "b1", domain.CreateTransaction{
			TransactionID: "t1", Kind: domain.KindSale, Status: domain.StatusPending, Lines: lines,
		}))
		_, err := do(one, commandBy(boss, domain.CommandSetTransactionStatus, "b1", domain.SetTransactionStatus{
			TransactionID: "t1", Status: domain.StatusCompleted, Reason: "paid",
		}))
		wantCode(t, err, "accepted")
	})
}

func Test_a_row_in_memory_is_newer_than_what_is_kept(t *testing.T) {
	row := domain.Row{Kind: domain.RowTransaction, ID: "t1"}
	for name, c := range map[string]struct {
		version uint64 // that the part begins at
		here    bool
		want    string
	}{
		"one that is here":        {version: 5, here: true, want: domain.StatusRefunded},
		"one that is not":         {version: 5, want: domain.StatusPending},
		"where all rows are here": {version: 0, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			branch := domain.NewBranch("b1")
			p := newPart(branch, c.version, 10)
			if c.here {
				branch.Transactions["t1"] = &domain.TransactionState{Status: domain.StatusRefunded}
				p.rows[row] = rowAt{changed: 6}
			}
			if err := p.put([]domain.Row{row}, [][]byte{[]byte(`{"status":"pending"}`)}, 5); err != nil {
				t.Fatal(err)
			}
			got := ""
			if tx := branch.Transactions["t1"]; tx != nil {
				got = tx.Status
			}
			if got != c.want {
				t.Errorf("its status is %q, want %q", got, c.want)
			}
		})
	}
}
