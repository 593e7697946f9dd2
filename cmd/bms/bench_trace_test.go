package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"bms/domain"
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
