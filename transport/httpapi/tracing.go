package httpapi

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// w3c reads and writes traceparent and tracestate.
var w3c propagation.TraceContext

// traced puts a client's trace context into the request's.
func (a *api) traced(r *http.Request) *http.Request {
	if _, ok := r.Header["Traceparent"]; !ok {
		if a.tracer == nil {
			return r
		}
	}
	ctx := w3c.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	if a.tracer != nil {
		// Named by its route once that is known, see span.
		ctx, _ = a.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	}
	return r.WithContext(ctx)
}

// span fills in the request's span, if it is recorded; end is called with the
// status and the code of the problem, if it was one.
func (a *api) span(r *http.Request) (end func(status int, code string)) {
	if a.tracer == nil {
		return func(int, string) {}
	}
	span := trace.SpanFromContext(r.Context())
	if !span.IsRecording() {
		return func(int, string) { span.End() }
	}
	span.SetName(route(r))
	span.SetAttributes(
		attribute.String("http.request.method", r.Method),
		attribute.String("http.route", route(r)),
		attribute.String("url.path", r.URL.Path),
		attribute.String("client.address", a.clientAddr(r)),
	)
	return func(status int, code string) {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if code != "" {
			span.SetAttributes(attribute.String("bms.code", code))
		}
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, code)
		}
		span.End()
	}
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
