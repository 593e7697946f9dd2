package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"bms/cmd/bms/bench"
)

// steps are those of a command's and an event's way at which the node kills
// itself with -9, and how many times it may pass there before: what every
// command passes often, what only an alert passes seldom.
var steps = map[string]int{
	"accepted":   100, // by the bus, not yet with the actor
	"appending":  50,  // decided, not yet with the log
	"committing": 50,  // in the log's transaction, before its commit
	"appended":   50,  // durable, not yet answered
	"answered":   50,  // and sent, while the feed has not seen it
	"followed":   50,  // with the feed, in no tail
	"fed":        50,  // in the tails, behind no head
	"delivered":  200, // pulled by a transport, not yet with its socket
	"writing":    200, // half of a write with the socket
	"folded":     100, // in a projection's transaction, before its commit
	"committed":  100, // after it
	"derived":    5,   // an alert, not yet with the log
	"alerted":    5,   // durable, not yet in the fold of the alerts
}

// killsPerStep is how many times a node dies at a step in one test.
const killsPerStep = 5

// Invariants 1, 3, 4 and 8: wherever between accept and delivery a node dies,
// nothing is lost, doubled or made up.
func TestFailPoints_every_step_may_be_the_last(t *testing.T) {
	_, seed := fromEnvironment(t)
	for step, most := range steps {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			report, kills := dieAt(t, step, most, rand.New(rand.NewPCG(seed, uint64(len(step)))))
			t.Logf("%d kills; %v", kills, report.Verdict)
			if !report.OK() {
				t.Errorf("broken, see above; seed %d\n%v", seed, report)
			}
			if kills < killsPerStep {
				t.Errorf("the node died %d times at this step, want %d", kills, killsPerStep)
			}
		})
	}
}

// dieAt puts a node under load that dies at a step again and again.
func dieAt(t *testing.T, step string, most int, random *rand.Rand) (*bench.Report, int) {
	t.Helper()
	n := newNode(t, bmsFailing, t.TempDir(), "--ping-interval", "1s", "--ping-timeout", "2s", "--connect-rate", "1000/1m")
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	loading, enough := context.WithCancel(t.Context())
	defer enough()
	var dying sync.WaitGroup
	var kills int
	var dyingErr error
	load, err := bench.New(bench.Config{
		URL: "http://" + n.addr, Secret: []byte(secret), Sockets: 12, Transport: bench.Mixed, Clients: 8, Rate: 300, Branches: 2, Products: 10,
		// Until it has died often enough: without load it reaches no step.
		Duration: 10 * patience, Grace: 3 * patience, Check: true, Seed: random.Uint64(),
		Began: func() {
			dying.Go(func() {
				defer enough()
				kills, dyingErr = n.dieAgain(loading, step, most, random)
			})
		},
		Settle: func() error { dying.Wait(); return dyingErr },
	})
	if err != nil {
		t.Fatal(err)
	}
	report, err := load.Run(loading)
	enough()
	dying.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return report, kills
}

// dieAgain has the node run with the fail point until it has died there often
// enough, or the context ends, and leaves it running without.
func (n *node) dieAgain(ctx context.Context, step string, most int, random *rand.Rand) (kills int, err error) {
	n.kill() // the one without a fail point
	for kills < killsPerStep && ctx.Err() == nil {
		n.env = []string{fmt.Sprintf("FAILPOINT=%s:%d", step, 1+random.IntN(most))}
		err := n.start()
		if err == nil {
			select {
			case <-n.exited:
			case <-ctx.Done():
				n.kill()
				continue
			}
		} else if !errors.Is(err, errEnded) {
			return kills, err
		}
		if status := n.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
			return kills, fmt.Errorf("the node ended by itself: %v", n.cmd.ProcessState)
		}
		kills++
	}
	n.env = nil
	if err := n.start(); err != nil {
		return kills, err
	}
	// Some commands more, on what was found.
	select {
	case <-time.After(200 * time.Millisecond):
	case <-ctx.Done():
	}
	return kills, nil
}
