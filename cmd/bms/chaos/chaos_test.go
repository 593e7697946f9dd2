package chaos_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"bms/cmd/bms/bench"
)

// shortRun is how long faults are made where nobody says otherwise.
const shortRun = 15 * time.Second

// fromEnvironment reads how long and from which seed.
func fromEnvironment(t *testing.T) (duration time.Duration, seed uint64) {
	t.Helper()
	duration, seed = shortRun, rand.Uint64N(1_000_000)
	var err error
	if s := os.Getenv("CHAOS_DURATION"); s != "" {
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatalf("CHAOS_DURATION: %v", err)
		}
	}
	if s := os.Getenv("CHAOS_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("run it again: CHAOS_SEED=%d CHAOS_DURATION=%v go test ./cmd/bms/chaos -run %s", seed, duration, t.Name())
		}
	})
	return duration, seed
}

// Invariants 1, 3, 4, 8 and 9, under everything at once.
func TestChaos_loses_nothing_and_doubles_nothing(t *testing.T) {
	duration, seed := fromEnvironment(t)
	disk, canFill := newDisk(t)
	n := newNode(t, bms, disk.data(), "--ping-interval", "1s", "--ping-timeout", "2s", "--connect-rate", "1000/1m")
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	p, err := newProxy(func() string { return n.addr })
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	c := &chaos{random: rand.New(rand.NewPCG(seed, 0)), node: n, proxy: p, disk: disk, done: map[string]int{}}
	raging, calm := context.WithCancel(t.Context())
	loading, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	var raged sync.WaitGroup
	var faultErr error
	settle := func() error {
		calm()
		raged.Wait()
		return faultErr
	}
	defer func() { _ = settle() }()
	c.load, err = bench.New(bench.Config{
		URL: p.url(), Secret: []byte(secret), Sockets: 60, Transport: bench.Mixed, Clients: 12, Rate: 400, Branches: 3, Products: 10,
		Duration: duration, Grace: 3 * patience, Check: true, Seed: seed,
		Began: func() {
			raged.Go(func() {
				if faultErr = c.run(raging, faults(canFill)); faultErr != nil {
					giveUp()
				}
			})
		},
		Settle: settle,
	})
	if err != nil {
		t.Fatal(err)
	}
	report, err := c.load.Run(loading)
	if err != nil {
		t.Fatalf("%v\n%s", err, c.told())
	}
	t.Logf("seed %d: %s\n%v", seed, c.told(), report)
	if !report.OK() {
		t.Errorf("broken, see above")
	}
	if err := n.terminate(); err != nil {
		t.Error(err)
	}
	logged, err := n.logged()
	if err != nil {
		t.Error(err)
	} else if logged != report.Verdict.Logged {
		t.Errorf("bms log prints %d events, the API gave %d", logged, report.Verdict.Logged)
	}
}
