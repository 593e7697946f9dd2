package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"bms/domain"
)

// A storm: so many clients come back at once, each so many events behind. The
// environment makes it smaller or larger: STORM_CLIENTS, STORM_BEHIND. STORM_CPUS
// keeps the clients to some processors ("1"): started under `taskset -c 0`, the
// node then has one of its own, as where clients are on other machines.
const (
	stormClients = 1000
	stormBehind  = 10_000
	stormQuiet   = 2000 // events before
)

// BenchmarkStorm is what a storm takes, and what it does to the delivery of
// live events to a client that is up to date: command→socket latency before and
// meanwhile. What the clients missed is their own branch's, or another's, and
// then one event of theirs. They are in a process of their own.
func BenchmarkStorm(b *testing.B) {
	b.Run("own", func(b *testing.B) { storm(b, "b1") })
	b.Run("others", func(b *testing.B) { storm(b, "b2") })
}

func storm(b *testing.B, missed string) {
	clients, behind := fromEnv(b, "STORM_CLIENTS", stormClients), fromEnv(b, "STORM_BEHIND", stormBehind)
	node := startNode(b, b.TempDir())
	defer node.stop()
	for _, branch := range []string{"b1", "b2"} {
		node.do(b, domain.CommandOpenBranch, branch, domain.OpenBranch{BranchID: branch, Name: "Shop"})
		node.do(b, domain.CommandCreateProduct, branch, domain.CreateProduct{
			ProductID: "p1", SKU: "P1", Name: "Apples", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1 << 40)),
		})
	}
	since := node.app.log.Head().String()
	var sent atomic.Int64
	adjust := func(branch string) error {
		_, err := node.app.bus.Do(b.Context(), domain.Command{
			ID: fmt.Sprint(sent.Add(1)), Type: domain.CommandAdjustStock, BranchID: branch,
			Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: time.Now(),
			Body: domain.AdjustStock{ProductID: "p1", Delta: -1, Reason: "count"},
		})
		return err
	}
	var filling errgroup.Group
	for range 64 {
		filling.Go(func() error {
			for range (behind + 63) / 64 {
				if err := adjust(missed); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := filling.Wait(); err != nil {
		b.Fatal(err)
	}
	theirs := behind
	if missed != "b1" {
		theirs = 1
		if err := adjust("b1"); err != nil {
			b.Fatal(err)
		}
	}

	live, err := dialRaw(node.addr, "live", "")
	if err != nil {
		b.Fatal(err)
	}
	defer live.conn.Close()
	latencies := func(until func() bool) (all []time.Duration) {
		for !until() {
			start := time.Now()
			if err := adjust("b1"); err != nil {
				b.Fatal(err)
			}
			if _, err := live.events(1); err != nil {
				b.Fatal(err)
			}
			all = append(all, time.Since(start))
			time.Sleep(5 * time.Millisecond)
		}
		slices.Sort(all)
		return all
	}
	report := func(all []time.Duration, when string) {
		for _, p := range []int{50, 99} {
			b.ReportMetric(float64(all[len(all)*p/100].Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", when, p))
		}
	}
	calm := 0
	quiet := latencies(func() bool { calm++; return calm > stormQuiet })

	for b.Loop() {
		runtime.GC()
		rss, _, _ := memory(b)
		cpu := cpuTime(b)
		start := time.Now()
		cmd := childCommand("storm", node.addr, since, strconv.Itoa(clients), strconv.Itoa(theirs))
		if cpus := os.Getenv("STORM_CPUS"); cpus != "" {
			cmd = onProcessors(cpus, cmd)
		}
		storm := startCommand(b, cmd)
		ended := make(chan struct{})
		go func() { defer close(ended); storm.wait(b) }()
		done := false
		peak := rss
		during := latencies(func() bool {
			peak = max(peak, resident(b))
			select {
			case <-ended:
				done = true
			default:
			}
			return done
		})
		if b.Failed() {
			return
		}
		missed := float64(clients) * float64(behind)
		report(quiet, "quiet")
		report(during, "storm")
		b.ReportMetric(float64(clients)/time.Since(start).Seconds(), "resumes/s")
		b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1000/missed, "cpu-us/missed")
		b.ReportMetric(float64(peak-rss)/float64(clients)/1000, "peak-KB/client")
	}
}

// onProcessors is a command that keeps to the processors of a list.
func onProcessors(list string, cmd *exec.Cmd) *exec.Cmd {
	bound := exec.Command("taskset", append([]string{"-c", list, cmd.Path}, cmd.Args[1:]...)...)
	bound.Env, bound.Stderr = cmd.Env, cmd.Stderr
	return bound
}

func fromEnv(b *testing.B, name string, def int) int {
	b.Helper()
	v := os.Getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		b.Fatalf("%s is %q, want a number", name, v)
	}
	return n
}

// runStorm is the process of the storm, of args "address since clients events":
// the clients, who go away when they have so many events each.
func runStorm(args []string) error {
	var addr, since string
	var clients, behind int
	if err := arguments(args, &addr, &since, &clients, &behind); err != nil {
		return err
	}
	if err := givePrecedence(); err != nil {
		return err
	}
	var storm errgroup.Group
	for i := range clients {
		storm.Go(func() error {
			c, err := dialRaw(addr, "s"+strconv.Itoa(i), since)
			if err != nil {
				return err
			}
			defer c.conn.Close()
			_, err = c.events(behind)
			return err
		})
	}
	return storm.Wait()
}
