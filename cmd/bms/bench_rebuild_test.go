package main

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"bms/domain"
	"bms/projections"
)

// BenchmarkRebuild rebuilds all projections while clients give commands, 100 a
// second, and reports how long an answer takes them, with and without the
// rebuild beside.
func BenchmarkRebuild(b *testing.B) {
	for name, events := range map[string]int{"100k": 100_000, "1M": logLengths["1M"]} {
		b.Run(name, func(b *testing.B) { rebuildBeside(b, events) })
	}
}

func rebuildBeside(b *testing.B, events int) {
	dir := b.TempDir()
	fillLog(b, dir, events)
	node := startNode(b, dir)
	set := node.app.projections
	for _, name := range set.Names() {
		if err := set.WaitFor(b.Context(), name, node.app.log.Head()); err != nil {
			b.Fatal(err)
		}
	}
	node.do(b, domain.CommandOpenBranch, "till", domain.OpenBranch{BranchID: "till", Name: "Till"})
	stock := int64(1 << 40)
	node.do(b, domain.CommandCreateProduct, "till", domain.CreateProduct{ProductID: "p1", SKU: "p1", Name: "P", PriceMinor: 1, Currency: "EUR", Stock: new(stock)})
	quiet := tradeBeside(b, node, 5*time.Second, nil)
	var took, cpu time.Duration
	var folded uint64
	var busy []time.Duration
	var most uint64
	for b.Loop() {
		done := make(chan struct{})
		began, used := time.Now(), cpuTime(b)
		for _, name := range set.Names() {
			if err := set.Rebuild(name); err != nil {
				b.Fatal(err)
			}
		}
		go func() {
			defer close(done)
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for running := true; running; <-tick.C {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.Sys-m.HeapReleased)
				running = slices.ContainsFunc(set.Status(), func(s projections.Status) bool { return s.Rebuild != nil })
			}
		}()
		busy = append(busy, tradeBeside(b, node, time.Hour, done)...)
		took += time.Since(began)
		cpu += cpuTime(b) - used
		for _, s := range set.Status() {
			if s.LastRebuild == nil || s.LastRebuild.State != projections.RebuildDone {
				b.Fatalf("%s: %+v", s.Name, s.LastRebuild)
			}
			b.Logf("%s: %d events, %.0f/s", s.Name, s.LastRebuild.Events, float64(s.LastRebuild.Events)/s.LastRebuild.Seconds)
			folded += s.LastRebuild.Events
		}
	}
	b.ReportMetric(float64(folded)/took.Seconds(), "folded-events/s")
	b.ReportMetric(float64(events)*float64(b.N)/took.Seconds(), "log-events/s")
	b.ReportMetric(float64(cpu.Microseconds())/float64(folded), "cpu-µs/folded-event")
	b.ReportMetric(p99(quiet), "quiet-p99-ms")
	b.ReportMetric(p99(busy), "rebuilding-p99-ms")
	b.ReportMetric(float64(most)/(1<<20), "MB")
}

func p99(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)*99/100]) / float64(time.Millisecond)
}

// tradeBeside gives commands, one each 10 ms, for a while or until done is closed, and
// returns how long each took.
func tradeBeside(b *testing.B, node *testNode, d time.Duration, done <-chan struct{}) (all []time.Duration) {
	b.Helper()
	over := time.After(d)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	defer wg.Wait()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-done:
			return all
		case <-over:
			return all
		}
		wg.Go(func() {
			began := time.Now()
			_, err := node.app.bus.Do(context.WithoutCancel(b.Context()), domain.Command{
				ID: strconv.FormatInt(began.UnixNano(), 36) + strconv.Itoa(n), Type: domain.CommandAdjustStock, BranchID: "till",
				Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: began, Body: domain.AdjustStock{ProductID: "p1", Delta: -1, Reason: "sold"},
			})
			if err != nil {
				b.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, time.Since(began))
		})
	}
}
