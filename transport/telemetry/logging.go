package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// WithTrace returns a handler that adds traceId and spanId to the lines
// logged under a context with a span.
func WithTrace(h slog.Handler) slog.Handler { return traced{h} }

type traced struct{ slog.Handler }

func (t traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("traceId", sc.TraceID().String()), slog.String("spanId", sc.SpanID().String()))
	}
	return t.Handler.Handle(ctx, r)
}

func (t traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{t.Handler.WithAttrs(attrs)} }

func (t traced) WithGroup(name string) slog.Handler { return traced{t.Handler.WithGroup(name)} }

// errorLog takes the SDK's errors, which come with every batch while a
// collector is down, and logs one a minute.
type errorLog struct {
	logger *slog.Logger
	now    func() time.Time

	mu     sync.Mutex // guards what follows
	last   time.Time
	silent int
}

// Handle logs an error of the SDK.
func (e *errorLog) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := e.now(); now.Sub(e.last) >= time.Minute {
		e.logger.Warn("traces can't be exported", "error", err, "unlogged", e.silent)
		e.last, e.silent = now, 0
		return
	}
	e.silent++
}
