package main

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"bms/domain"
	"bms/transport/telemetry"
)

// fanOutClients are the sockets in one room of BenchmarkFanOut.
const fanOutClients = 1000

// BenchmarkFanOut is what a delivery costs a node in CPU, all that the node
// does included, from command to socket: one room of 1,000 Socket.IO clients
// over WebSocket, in a process of their own. One event at a time is the dear
// case, a system call each; at saturation (64 commands under way) what gathers
// during a write goes out with the next.
func BenchmarkFanOut(b *testing.B) {
	node := startNode(b, b.TempDir())
	node.do(b, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	node.do(b, domain.CommandCreateProduct, "b1", domain.CreateProduct{
		ProductID: "p1", SKU: "P1", Name: "Apples", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1 << 40)),
	})
	clients := connectClients(b, telemetry.ProtocolSocketIO, node.addr, fanOutClients)
	defer clients.hangUp(b)
	got := 0 // events, by each client
	for name, atOnce := range map[string]int{"one_at_a_time": 1, "saturated": 64} {
		b.Run(name, func(b *testing.B) {
			var sent atomic.Int64
			before := got
			cpu := cpuTime(b)
			b.ResetTimer()
			var senders errgroup.Group
			for range atOnce {
				senders.Go(func() error {
					for n := sent.Add(1); n <= int64(b.N); n = sent.Add(1) {
						_, err := node.app.bus.Do(b.Context(), domain.Command{
							ID: fmt.Sprintf("%s-%d-%d", name, b.N, n), Type: domain.CommandAdjustStock, BranchID: "b1",
							Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: time.Now(),
							Body: domain.AdjustStock{ProductID: "p1", Delta: -1, Reason: "count"},
						})
						if err != nil {
							return err
						}
						if atOnce == 1 {
							clients.await(b, (before+int(n))*fanOutClients)
						}
					}
					return nil
				})
			}
			if err := senders.Wait(); err != nil {
				b.Fatal(err)
			}
			got += b.N
			clients.await(b, got*fanOutClients)
			b.StopTimer()
			deliveries := float64(b.N) * fanOutClients
			b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1000/deliveries, "cpu-us/delivery")
			b.ReportMetric(deliveries/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// cpuTime is what this process has used of the processors.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
