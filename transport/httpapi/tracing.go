package httpapi

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"bms/domain"
)

// w3c reads and writes traceparent and tracestate.
var w3c propagation.TraceContext

// maxTraceState bounds the tracestate that is taken over, in bytes, as W3C asks
// of those who hand it on at least. It goes into the log with each command.
const maxTraceState = 512

// traced begins the request's span. A trace of the client's goes on in it if the
// client may ask for anything: its flag says what is sampled, kept and sent to
// the collector.
func (a *api) traced(r *http.Request) *http.Request {
	parent := r.Header["Traceparent"]
	if len(parent) == 0 && a.tracer == nil {
		return r
	}
	ctx := r.Context()
	if len(parent) == 1 {
		who := &identified{}
		who.id, who.err = a.cfg.Identify(r)
		ctx = context.WithValue(ctx, identifiedKey{}, who)
		if who.err == nil {
			ctx = w3c.Extract(ctx, traceOf(r.Header))
		}
	}
	if a.tracer != nil {
		// Named by its route once that is known, see endSpan.
		ctx, _ = a.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	}
	return r.WithContext(ctx)
}

// traceOf is the trace context of a header that has one, within bounds.
func traceOf(h http.Header) propagation.MapCarrier {
	m := propagation.MapCarrier{"traceparent": h.Get("Traceparent")}
	if state := h.Values("Tracestate"); len(state) == 1 && len(state[0]) <= maxTraceState {
		m["tracestate"] = state[0]
	}
	return m
}

// identified is what a request's token came to, where it was judged before a
// handler asks.
type identified struct {
	id  domain.Identity
	err error
}

type identifiedKey struct{}

// endSpan fills in the request's span and ends it, whatever has become of the
// request.
func (a *api) endSpan(w *recorder, status int) {
	if a.tracer == nil {
		return
	}
	r := w.request
	span := trace.SpanFromContext(r.Context())
	if span.IsRecording() {
		span.SetName(route(r))
		span.SetAttributes(
			attribute.String("http.request.method", r.Method),
			attribute.String("http.route", route(r)),
			attribute.String("url.path", r.URL.Path),
			attribute.String("client.address", a.clientAddr(r)),
			attribute.Int("http.response.status_code", status),
		)
		if w.code != "" {
			span.SetAttributes(attribute.String("bms.code", w.code))
		}
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, w.code)
		}
	}
	span.End()
}

// metadata is the trace context that goes with a command into the log: that of
// a sampled trace, and one that the client gave; else nil.
func metadata(r *http.Request) map[string]string {
	sc := trace.SpanContextFromContext(r.Context())
	if !sc.IsSampled() && (!sc.IsValid() || r.Header["Traceparent"] == nil) {
		return nil
	}
	m := propagation.MapCarrier{}
	w3c.Inject(r.Context(), m)
	return m
}
