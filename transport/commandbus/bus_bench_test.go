package commandbus

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

// BenchmarkBus is a command over the bus and its answer back, with nothing
// behind it: encode, publish, take, decode, hand on, reply.
func BenchmarkBus(b *testing.B) {
	unsampled := trace.ContextWithSpanContext(context.Background(),
		trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
	for _, bench := range []struct {
		clients int
		trace   string
		ctx     context.Context
	}{{1, "none", context.Background()}, {64, "none", context.Background()}, {64, "unsampled", unsampled}} {
		b.Run(fmt.Sprintf("clients=%d/trace=%s", bench.clients, bench.trace), func(b *testing.B) {
			bus := startBus(b, accept, nil)
			ctx, cancel := context.WithTimeout(bench.ctx, DefaultTimeout)
			defer cancel()
			b.ReportAllocs()
			b.ResetTimer()
			var clients sync.WaitGroup
			for c := range bench.clients {
				clients.Go(func() {
					for i := c; i < b.N; i += bench.clients {
						if _, err := bus.Do(ctx, adjustment("id")); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			clients.Wait()
		})
	}
}
