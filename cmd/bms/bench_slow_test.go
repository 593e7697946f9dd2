package main

import (
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"bms/domain"
)

// slowClients are the clients of BenchmarkSlowReaders, of whom a tenth stop
// reading. SLOW_FOR says for how many seconds.
const (
	slowClients = 500
	slowFor     = 5
)

// BenchmarkSlowReaders is what clients that stop reading do to the others and
// to the node's memory: a room of 500, full load, a tenth of them stuck and
// then going on. Latency is command→socket of one that reads, without and with
// the stuck ones; at the end every client must have got every event.
func BenchmarkSlowReaders(b *testing.B) {
	seconds := fromEnv(b, "SLOW_FOR", slowFor)
	for b.Loop() {
		for _, stuck := range []int{0, slowClients / 10} {
			slowReaders(b, stuck, time.Duration(seconds)*time.Second)
		}
	}
}

func slowReaders(b *testing.B, stuck int, load time.Duration) {
	node := startNode(b, b.TempDir())
	defer node.stop()
	node.do(b, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	node.do(b, domain.CommandCreateProduct, "b1", domain.CreateProduct{
		ProductID: "p1", SKU: "P1", Name: "Apples", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1 << 40)),
	})
	clients := startChild(b, "slow-readers", node.addr, strconv.Itoa(slowClients-1), strconv.Itoa(stuck))
	clients.expect(b, "connected")
	live, err := dialRaw(node.addr, "live", "")
	if err != nil {
		b.Fatal(err)
	}
	defer live.conn.Close()

	var sent atomic.Int64
	adjust := func() error {
		_, err := node.app.bus.Do(b.Context(), domain.Command{
			ID: fmt.Sprint(sent.Add(1)), Type: domain.CommandAdjustStock, BranchID: "b1",
			Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: time.Now(),
			Body: domain.AdjustStock{ProductID: "p1", Delta: -1, Reason: "count"},
		})
		return err
	}
	rss, _, _ := memory(b)
	end := time.Now().Add(load)
	var senders errgroup.Group
	for range 4 {
		senders.Go(func() error {
			for time.Now().Before(end) {
				if err := adjust(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	// One that reads: how old is what it gets?
	var ages []time.Duration
	peak := rss
	received := 0
	for time.Now().Before(end) {
		start := time.Now()
		if err := adjust(); err != nil {
			b.Fatal(err)
		}
		mine := int(sent.Load()) // no later than this one's number
		if _, err := live.events(max(1, mine-received)); err != nil {
			b.Fatal(err)
		}
		received += max(1, mine-received)
		ages = append(ages, time.Since(start))
		peak = max(peak, resident(b))
	}
	if err := senders.Wait(); err != nil {
		b.Fatal(err)
	}
	clients.say(sent.Load())
	clients.expect(b, "all have all")
	clients.wait(b)
	slices.Sort(ages)
	name := fmt.Sprintf("%d-stuck", stuck)
	b.ReportMetric(float64(ages[len(ages)/2].Microseconds())/1000, name+"-p50-ms")
	b.ReportMetric(float64(ages[len(ages)*99/100].Microseconds())/1000, name+"-p99-ms")
	b.ReportMetric(float64(peak-rss)/1e6, name+"-grows-MB")
	b.ReportMetric(float64(sent.Load()), name+"-events")
}

// runSlowClients is the process of the clients, of args "address clients
// stuck": it connects them, of whom some don't read until a number comes on
// stdin: that of the events that each of them is to have got then.
func runSlowClients(args []string) error {
	var addr string
	var count, stuck int
	if err := arguments(args, &addr, &count, &stuck); err != nil {
		return err
	}
	if err := givePrecedence(); err != nil {
		return err
	}
	clients := make([]*rawClient, count)
	got := make([]atomic.Int64, count)
	var connecting errgroup.Group
	connecting.SetLimit(16)
	for i := range clients {
		connecting.Go(func() (err error) {
			clients[i], err = dialRaw(addr, "u"+strconv.Itoa(i), "")
			return err
		})
	}
	if err := connecting.Wait(); err != nil {
		return err
	}
	read := func(i int) {
		for {
			if _, err := clients[i].events(1); err != nil {
				return
			}
			got[i].Add(1)
		}
	}
	for i := stuck; i < count; i++ {
		go read(i)
	}
	fmt.Println("connected")
	var total int64
	if _, err := fmt.Scanln(&total); err != nil {
		return err
	}
	for i := range stuck {
		go read(i)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		missing, more := 0, 0
		for i := range got {
			switch n := got[i].Load(); {
			case n < total:
				missing++
			case n > total:
				more++
			}
		}
		if more > 0 || missing > 0 && time.Now().After(deadline) {
			return fmt.Errorf("%d clients have too few of %d events, %d too many", missing, total, more)
		}
		if missing == 0 {
			fmt.Println("all have all")
			return nil
		}
	}
}
