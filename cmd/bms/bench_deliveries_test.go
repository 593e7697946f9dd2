package main

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"bms/actors"
	"bms/domain"
	"bms/transport/eventlog"
	"bms/transport/telemetry"
)

// deliveryMembers are the connections in the one room of BenchmarkDeliveries.
const deliveryMembers = 1000

// BenchmarkDeliveries is what a delivery costs in processor time up to the
// socket, from the log on: one event at a time and 100 at once to 1,000
// connections, and what tracing adds to the former.
func BenchmarkDeliveries(b *testing.B) {
	for _, burst := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d_at_a_time", burst), func(b *testing.B) { deliveries(b, burst, "", nil) })
	}
	for _, tracing := range tracings {
		if !tracing.on {
			continue // is one_at_a_time
		}
		b.Run(tracing.name, func(b *testing.B) {
			discardSpans(b)
			set, err := telemetry.NewTracing(b.Context(), slog.New(slog.DiscardHandler), "bench")
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = set.Shutdown(b.Context()) }()
			deliveries(b, 1, tracing.traceparent, telemetry.NewSpans(set.Provider, time.Now))
		})
	}
}

func deliveries(b *testing.B, burst int, traceparent string, tracer actors.Tracer) {
	logger := slog.New(slog.DiscardHandler)
	log, err := eventlog.Open(b.Context(), eventlog.Config{Dir: b.TempDir(), Durability: eventlog.Relaxed, Logger: logger})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	system, err := actors.NewSystem(logger)
	if err != nil {
		b.Fatal(err)
	}
	metrics := telemetry.NewMetrics()
	hub, err := actors.NewHub(actors.HubConfig{
		System: system, Log: log, Codecs: []actors.Codec{plainEncoder{}}, Fed: metrics.Fed, Delivered: metrics.Delivered, Tracer: tracer, Logger: logger,
	})
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = hub.Run(b.Context()) }()
	defer hub.Close()
	all := newCounter()
	for i := range deliveryMembers {
		p := &pullingTransport{got: all}
		c, _, err := hub.Connect(b.Context(), actors.ConnectRequest{
			Identity: domain.Identity{UserID: "u", Role: domain.RoleStaff, Branches: []string{"b1"}}, Namespace: domain.NamespaceAll, NewSID: func() string { return fmt.Sprint(i) }, Transport: p,
		})
		if err != nil {
			b.Fatal(err)
		}
		p.conn.Store(c)
		p.Wake()
	}
	want := deliveryMembers // the session messages
	all.await(want)
	before := cpuTime(b)
	b.ResetTimer()
	for version := uint64(0); b.Loop(); {
		commits := make([]*domain.Commit, burst)
		for i := range commits {
			version++
			cmd := domain.Command{ID: fmt.Sprint(version), Type: domain.CommandAdjustStock, At: time.Now()}
			if traceparent != "" {
				cmd.Metadata = map[string]string{"traceparent": traceparent}
			}
			if commits[i], err = domain.NewCommit("branch/b1", version, cmd, domain.Decision{
				Events: []domain.Fact{{BranchID: "b1", Payload: domain.InventoryUpdated{ProductID: "p1", Delta: 1}}},
			}); err != nil {
				b.Fatal(err)
			}
		}
		if err := log.Append(b.Context(), commits...); err != nil {
			b.Fatal(err)
		}
		want += deliveryMembers * burst
		all.await(want)
	}
	b.StopTimer()
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N*deliveryMembers*burst), "cpu-ns/delivery")
}

// pullingTransport pulls on a goroutine per wake-up, as a socket's flusher does,
// and throws the frames away.
type pullingTransport struct {
	conn  atomic.Pointer[actors.Connection]
	state atomic.Int32 // 0 idle, 1 running, 2 to look again
	got   *counter
	buf   [][]byte
}

func (p *pullingTransport) Wake() {
	for {
		switch p.state.Load() {
		case 0:
			if p.state.CompareAndSwap(0, 1) {
				go p.flush()
				return
			}
		case 1:
			if p.state.CompareAndSwap(1, 2) {
				return
			}
		default:
			return
		}
	}
}

func (p *pullingTransport) flush() {
	for {
		for c := p.conn.Load(); c != nil; {
			if p.buf = c.Next(p.buf[:0], 64<<10); len(p.buf) == 0 {
				break
			}
			for range p.buf {
				p.got.add()
			}
		}
		if p.state.CompareAndSwap(1, 0) {
			return
		}
		p.state.Store(1)
	}
}

func (p *pullingTransport) Close(actors.EndReason) {}
