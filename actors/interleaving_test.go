package actors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// weather makes a log's operations slow, fail and lie at random.
type weather struct {
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

func (w *weather) over(log *faultyLog) {
	log.onAppend(func(ctx context.Context, commits []*domain.Commit, next func() error) error {
		w.pass(3 * time.Millisecond)
		switch w.roll(20) {
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
				w.pass(50 * time.Millisecond)
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

// Invariants 1, 2, 3, 7 and 8 under faults: two owners, a log that is slow,
// fails and lies, poisoned commands, clients who repeat themselves, and streams
// that are put away all the time.
func Test_no_interleaving_breaks_an_invariant(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { interleave(t, seed) })
		})
	}
}

func interleave(t *testing.T, seed uint64) {
	w := &weather{random: rand.New(rand.NewPCG(seed, 7))}
	log := newFaultyLog()
	stocked(t, startDeciders(t, log, nil), 20)
	w.over(log)
	owners := make([]*Deciders, 2)
	for i := range owners {
		owners[i] = startDeciders(t, log, func(c *DecidersConfig) {
			c.AppendTimeout, c.IdleAfter, c.QueuePerStream = 20*time.Millisecond, 2*time.Millisecond, 25
		})
		poison(owners[i])
	}

	var (
		clients sync.WaitGroup
		asked   sync.Mutex // guards all
		all     []<-chan decided
	)
	for c := range 8 {
		random := rand.New(rand.NewPCG(seed, uint64(c)))
		clients.Go(func() {
			for range 12 {
				answers := runClient(t, log, owners, random, w)
				asked.Lock()
				all = append(all, answers)
				asked.Unlock()
			}
		})
	}
	clients.Wait()
	w.late.Wait()
	<-time.After(time.Second)
	synctest.Wait()
	for _, answers := range all {
		if len(answers) != 0 {
			t.Errorf("answered twice, the second time with %+v", <-answers)
		}
	}
	for _, d := range owners {
		if queued, streams := d.Queued(), d.Streams(); queued != 0 || streams != 0 {
			t.Errorf("queued %d and %d actors when all is answered and idle, want 0 and 0", queued, streams)
		}
	}

	ids := map[commandKey]int{}
	for _, c := range log.All() {
		ids[commandKey{c.UserID, c.CommandID}]++
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%v took effect %d times, want once", id, n)
		}
	}
	if got := stockOf(t, log.Memory, "b1"); got < 0 {
		t.Errorf("stock %d, want at least 0", got)
	}
}

// runClient sends one command and checks the answer against the log.
func runClient(t *testing.T, log *faultyLog, owners []*Deciders, random *rand.Rand, w *weather) <-chan decided {
	w.pass(2 * time.Millisecond)
	var cmd domain.Command
	switch random.IntN(8) {
	case 0:
		cmd = adjustWith(poisonDecide)
	case 1:
		cmd = adjust(random.Int64N(4))
	case 2:
		cmd = sell(30)
	default:
		cmd = sell(1 + random.Int64N(2))
	}
	if random.IntN(3) == 0 {
		cmd = keyed(cmd, fmt.Sprintf("key-%d", random.IntN(6)))
	}
	done, _ := log.Memory.FindCommand(context.Background(), cmd.Identity.UserID, cmd.ID)
	answers := submit(owners[random.IntN(len(owners))], cmd)
	a := <-answers
	if done != nil {
		want := "accepted"
		if done.Fingerprint != cmd.Fingerprint {
			want = domain.CodeIdempotencyMismatch
		}
		switch got := code(a.err); got {
		case want, domain.CodeLogUnavailable, domain.CodeBusy:
		case "fault": // with an equal one that was poisoned and on its way
		default:
			t.Errorf("%s (%v) for an id that had taken effect, want %s", got, a.err, want)
		}
	}
	kept, err := log.Memory.FindCommand(context.Background(), cmd.Identity.UserID, cmd.ID)
	switch got := code(a.err); got {
	case "accepted":
		if err != nil || kept != a.commit {
			t.Errorf("answered with %v, in the log is %v (%v)", a.commit, kept, err)
		}
		if a.commit.Fingerprint != cmd.Fingerprint {
			t.Errorf("answered with %q, want %q", a.commit.Fingerprint, cmd.Fingerprint)
		}
	case domain.CodeIdempotencyMismatch:
		if err != nil || kept.Fingerprint == cmd.Fingerprint {
			t.Errorf("mismatch (%v), in the log is %v (%v)", a.err, kept, err)
		}
	case domain.CodeInsufficientStock, domain.CodeInvalidQuantity, domain.CodeBusy:
		if err == nil && !cmd.Keyed {
			t.Errorf("rejected (%v) but in the log as %v", a.err, kept)
		}
	case domain.CodeLogUnavailable: // may be in the log
	case "fault":
		if !strings.Contains(a.err.Error(), "panic") { // of a poisoned command or of the driver
			t.Errorf("fault %v", a.err)
		}
	default:
		t.Errorf("answer %v", a.err)
	}
	return answers
}
