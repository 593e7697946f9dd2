package actors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

// weather makes a log's operations slow, fail and lie at random, one append in
// so many by each of six faults.
type weather struct {
	calm   int
	mu     sync.Mutex // guards random
	random *rand.Rand
	late   sync.WaitGroup
}

func (w *weather) roll(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

func (w *weather) pass(most time.Duration) {
	<-time.After(time.Duration(w.roll(int(most))))
}

func (w *weather) over(log *faultyLog, begins func([]*domain.Commit)) {
	log.onAppend(func(ctx context.Context, commits []*domain.Commit, next func() error) error {
		begins(commits)
		w.pass(3 * time.Millisecond)
		switch w.roll(w.calm) {
		case 0:
			return domain.ErrLogUnavailable
		case 1:
			return errors.Join(next(), domain.ErrLogUnavailable)
		case 2:
			<-ctx.Done()
			return ctx.Err()
		case 3: // reaches the log when nobody waits any more
			w.late.Go(func() {
				<-ctx.Done()
				w.pass([]time.Duration{2, 50}[w.roll(2)] * time.Millisecond)
				_ = log.Memory.Append(context.Background(), commits...)
			})
			<-ctx.Done()
			return ctx.Err()
		case 4: // a prefix only
			_ = log.Memory.Append(ctx, commits[:w.roll(len(commits)+1)]...)
			return domain.ErrVersionConflict
		case 5:
			panic("driver")
		default:
			return next()
		}
	})
	log.onRead(func(ctx context.Context, _ string) error {
		w.pass(time.Millisecond)
		if w.roll(30) == 0 {
			return domain.ErrLogUnavailable
		}
		return nil
	})
	log.onFind(func(context.Context, string) error {
		w.pass(time.Millisecond)
		if w.roll(100) == 0 {
			return domain.ErrLogUnavailable
		}
		return nil
	})
}

// Invariants 1, 2, 3, 7 and 8 under faults: one owner or two, a log that is
// slow, fails and lies, poisoned commands, clients who repeat themselves, and
// streams that are put away all the time. TEST_SEEDS runs as many as it says.
func Test_no_interleaving_breaks_an_invariant(t *testing.T) {
	n := uint64(300)
	if s := os.Getenv("TEST_SEEDS"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range n {
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { interleave(t, seed) })
		})
	}
}

// owner is Deciders with a way of their own to a log that others use as well.
type owner struct {
	*Deciders
	alone bool // nobody else writes

	mu    sync.Mutex // guards begun
	begun map[commandKey][]*domain.Commit
}

// begins notes what the owner has handed to the log.
func (o *owner) begins(commits []*domain.Commit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range commits {
		key := commandKey{c.UserID, c.CommandID}
		o.begun[key] = append(o.begun[key], c)
	}
}

// handed is what was handed to the log for a command so far.
func (o *owner) handed(cmd domain.Command) (commits []*domain.Commit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.begun[commandKey{cmd.Identity.UserID, cmd.ID}] {
		if c.Fingerprint == cmd.Fingerprint {
			commits = append(commits, c)
		}
	}
	return commits
}

// asked is a command that was sent to an owner, and how it was answered.
type asked struct {
	by      *owner
	cmd     domain.Command
	answers chan decided // has room for a second one
	code    string
	// handed are the commits that the owner had handed to the log for the same
	// command when the answer came.
	handed []*domain.Commit
	// from and to are the stream's version when it was sent and when it was
	// answered.
	from, to uint64
}

func interleave(t *testing.T, seed uint64) {
	w := &weather{calm: []int{20, 20, 10}[seed%3], random: rand.New(rand.NewPCG(seed, 7))}
	memory := newFaultyLog()
	stocked(t, startDeciders(t, memory, nil), 3)
	owners := make([]*owner, 1+seed%2)
	for i := range owners {
		o := &owner{alone: len(owners) == 1, begun: map[commandKey][]*domain.Commit{}}
		log := &faultyLog{Memory: memory.Memory}
		w.over(log, o.begins)
		kept := &keptBehind{log: memory.Memory, random: rand.New(rand.NewPCG(seed, uint64(100+i))), failing: true}
		o.Deciders = startDeciders(t, log, func(c *DecidersConfig) {
			c.AppendTimeout, c.IdleAfter, c.QueuePerStream = 20*time.Millisecond, 2*time.Millisecond, 25
			if seed%4 >= 2 {
				c.Load, c.LoadRows = kept.load, kept.loadRows
			}
		})
		if o.maxRows = 3; seed%4 < 2 {
			poison(o.Deciders)
		}
		owners[i] = o
	}

	var (
		clients sync.WaitGroup
		mu      sync.Mutex // guards all
		all     []*asked
	)
	for c := range 8 {
		random := rand.New(rand.NewPCG(seed, uint64(c)))
		clients.Go(func() {
			for range 12 {
				cmd := anyCommand(random)
				for again := true; again; {
					a := runCommand(t, memory.Memory, owners[random.IntN(len(owners))], cmd, w)
					again = cmd.Keyed && a.code == domain.CodeLogUnavailable
					mu.Lock()
					all = append(all, a)
					mu.Unlock()
				}
			}
		})
	}
	clients.Wait()
	w.late.Wait()
	<-time.After(time.Second)
	synctest.Wait()
	for _, o := range owners {
		if queued, streams := o.Queued(), o.Streams(); queued != 0 || streams != 0 {
			t.Errorf("queued %d and %d actors when all is answered and idle, want 0 and 0", queued, streams)
		}
	}

	ids := map[commandKey]int{}
	for _, c := range memory.All() {
		if c.CommandID != "" {
			ids[commandKey{c.UserID, c.CommandID}]++
		}
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%v took effect %d times, want once", id, n)
		}
	}
	stocks := stocksOf(t, memory, "b1")
	for v, stock := range stocks {
		if stock < 0 {
			t.Errorf("stock %d at version %d, want at least 0", stock, v)
		}
	}
	for _, a := range all {
		a.check(t, memory.All(), stocks)
	}
}

func anyCommand(random *rand.Rand) (cmd domain.Command) {
	switch random.IntN(16) {
	case 0:
		cmd = adjustWith(poisonDecide)
	case 1, 2:
		cmd = adjust(random.Int64N(4))
	case 3:
		cmd = sell(30)
	default:
		cmd = sell(1 + random.Int64N(2))
		if sale := cmd.Body.(domain.CreateTransaction); random.IntN(3) == 0 {
			sale.TransactionID = fmt.Sprint("t", random.IntN(10))
			cmd = commandBy(cashier, cmd.Type, "b1", sale)
		}
	}
	if random.IntN(3) == 0 {
		cmd = keyed(cmd, fmt.Sprintf("key-%d", random.IntN(6)))
	}
	return cmd
}

// runCommand sends a command and checks the answer against the log.
func runCommand(t *testing.T, log *eventlogtest.Memory, o *owner, cmd domain.Command, w *weather) *asked {
	w.pass(2 * time.Millisecond)
	done, _ := log.FindCommand(context.Background(), cmd.Identity.UserID, cmd.ID)
	a := &asked{by: o, cmd: cmd, answers: make(chan decided, 2), from: log.Version("branch/b1")}
	o.Submit(cmd, func(commit *domain.Commit, err error) {
		a.handed, a.to = o.handed(cmd), log.Version("branch/b1")
		a.answers <- decided{commit, err}
	})
	answer := <-a.answers
	a.code = code(answer.err)
	if done != nil {
		want := "accepted"
		if done.Fingerprint != cmd.Fingerprint {
			want = domain.CodeIdempotencyMismatch
		}
		switch a.code {
		case want, domain.CodeLogUnavailable, domain.CodeBusy:
		case "fault": // with an equal one that was poisoned and on its way
		default:
			t.Errorf("%s (%v) for an id that had taken effect, want %s", a.code, answer.err, want)
		}
	}
	kept, err := log.FindCommand(context.Background(), cmd.Identity.UserID, cmd.ID)
	switch a.code {
	case "accepted":
		if err != nil || kept != answer.commit {
			t.Errorf("answered with %v, in the log is %v (%v)", answer.commit, kept, err)
		}
		if answer.commit.Fingerprint != cmd.Fingerprint {
			t.Errorf("answered with %q, want %q", answer.commit.Fingerprint, cmd.Fingerprint)
		}
	case domain.CodeIdempotencyMismatch:
		if err != nil || kept.Fingerprint == cmd.Fingerprint {
			t.Errorf("mismatch (%v), in the log is %v (%v)", answer.err, kept, err)
		}
	case domain.CodeInsufficientStock, domain.CodeInvalidQuantity, domain.CodeInvalidTransition, domain.CodeBusy, domain.CodeLogUnavailable: // see check
	case "fault":
		if !strings.Contains(answer.err.Error(), "panic") { // of a poisoned command or of the driver
			t.Errorf("fault %v", answer.err)
		}
	default:
		t.Errorf("answer %v", answer.err)
	}
	return a
}

// check compares an answer with the log as it became. A "no" says that nothing
// which was handed to the log for the command before is there or comes; by an
// owner who is alone, also that it was right at one of the versions that the
// stream had meanwhile. A "busy" says the same of a command that is not repeated.
func (a *asked) check(t *testing.T, log []*domain.Commit, stocks []int64) {
	t.Helper()
	if len(a.answers) != 0 {
		t.Errorf("%s was answered twice, first %s, then %+v", a.cmd.ID, a.code, <-a.answers)
	}
	switch {
	case a.code == domain.CodeInsufficientStock, a.code == domain.CodeInvalidQuantity, a.code == domain.CodeInvalidTransition:
	case a.code == domain.CodeBusy && !a.cmd.Keyed:
	default:
		return
	}
	for _, c := range a.handed {
		if slices.Contains(log, c) {
			t.Errorf("%s was answered %s, and is in the log at version %d: handed to it before the answer", a.cmd.ID, a.code, c.Version)
		}
	}
	if a.code == domain.CodeInvalidTransition && !slices.ContainsFunc(log, func(c *domain.Commit) bool {
		sold := domain.Row{Kind: domain.RowTransaction, ID: a.cmd.Body.(domain.CreateTransaction).TransactionID}
		return c.Version <= a.to && slices.ContainsFunc(c.Events, func(e domain.Event) bool { return domain.Touched(&e) == sold })
	}) {
		t.Errorf("%s was told that its sale was there, which it was not at version %d", a.cmd.ID, a.to)
	}
	if sale, ok := a.cmd.Body.(domain.CreateTransaction); ok && a.by.alone && a.code == domain.CodeInsufficientStock {
		short := func(stock int64) bool { return stock < sale.Lines[0].Quantity }
		if !slices.ContainsFunc(stocks[a.from:a.to+1], short) {
			t.Errorf("%s was short of stock, which was %v at versions %d to %d", a.cmd.ID, stocks[a.from:a.to+1], a.from, a.to)
		}
	}
}
