package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bms/actors"
	"bms/domain"
	"bms/transport/eventlog"
	"bms/transport/telemetry"
)

// tracings are the ways in which a node can be traced: the client's traceparent,
// and whether there is a collector. Without a traceparent nothing is sampled.
var tracings = []struct {
	name, traceparent string
	on                bool
}{
	{"off", "", false},
	{"none_sampled", "", true},
	{"unsampled_by_client", "00-" + clientTrace + "-" + clientSpan + "-00", true},
	{"sampled", "00-" + clientTrace + "-" + clientSpan + "-01", true},
}

// discardSpans has nodes export to a collector that throws away, in this
// process: its share is in the figures.
func discardSpans(b *testing.B) {
	b.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	b.Cleanup(server.Close)
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	b.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "")
	b.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
	b.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "65536") // none is dropped, so all are paid for
}

// BenchmarkTracingCommands is what tracing adds to the processor time of a
// command, all that it entails included: HTTP, the bus, the log, every read
// model.
func BenchmarkTracingCommands(b *testing.B) {
	for _, tracing := range tracings {
		b.Run(tracing.name, func(b *testing.B) {
			if tracing.on {
				discardSpans(b)
			}
			n := startNode(b, b.TempDir())
			n.commit(b, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "b1"})
			n.commit(b, domain.CommandCreateProduct, "b1", domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "Tea", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1 << 40))})
			token := "Bearer " + signed("bench", domain.RoleAdmin)
			var failed atomic.Int64
			before := cpuTime(b)
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := httptest.NewRequest(http.MethodPost, "/api/branches/b1/transactions", strings.NewReader(tracedSale))
					r.Header.Set("Authorization", token)
					if tracing.traceparent != "" {
						r.Header.Set("Traceparent", tracing.traceparent)
					}
					w := httptest.NewRecorder()
					n.app.server.Handler.ServeHTTP(w, r)
					if w.Code != http.StatusCreated {
						failed.Add(1)
					}
				}
			})
			b.StopTimer()
			for _, name := range n.app.projections.Names() {
				if err := n.app.projections.WaitFor(b.Context(), name, n.app.log.Head()); err != nil {
					b.Fatal(err)
				}
			}
			n.stop() // the last spans are sent
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/command")
			if failed.Load() > 0 {
				b.Errorf("%d commands failed", failed.Load())
			}
		})
	}
}

// BenchmarkTracingDeliveries is what tracing adds to the processor time of a
// delivery, up to the socket: one event at a time to 1,000 connections.
func BenchmarkTracingDeliveries(b *testing.B) {
	const members = 1000
	for _, tracing := range tracings {
		b.Run(tracing.name, func(b *testing.B) {
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
			cfg := actors.HubConfig{System: system, Log: log, Codecs: []actors.Codec{plainEncoder{}}, Fed: metrics.Fed, Delivered: metrics.Delivered, Logger: logger}
			if tracing.on {
				discardSpans(b)
				set, err := telemetry.NewTracing(b.Context(), logger, "bench")
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = set.Shutdown(b.Context()) }()
				cfg.Tracer = telemetry.NewSpans(set.Provider, time.Now)
			}
			hub, err := actors.NewHub(cfg)
			if err != nil {
				b.Fatal(err)
			}
			go func() { _ = hub.Run(b.Context()) }()
			defer hub.Close()
			all := newCounter()
			for i := range members {
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
			want := members // the session messages
			all.await(want)
			before := cpuTime(b)
			b.ResetTimer()
			for version := uint64(1); b.Loop(); version++ {
				cmd := domain.Command{ID: fmt.Sprint(version), Type: domain.CommandAdjustStock, At: time.Now()}
				if tracing.traceparent != "" {
					cmd.Metadata = map[string]string{"traceparent": tracing.traceparent}
				}
				commit, err := domain.NewCommit("branch/b1", version, cmd, domain.Decision{Events: []domain.Fact{{BranchID: "b1", Payload: domain.InventoryUpdated{ProductID: "p1", Delta: 1}}}})
				if err != nil {
					b.Fatal(err)
				}
				if err := log.Append(b.Context(), commit); err != nil {
					b.Fatal(err)
				}
				want += members
				all.await(want)
			}
			b.StopTimer()
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N*members), "cpu-ns/delivery")
		})
	}
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
