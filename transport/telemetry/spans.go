package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"bms/actors"
	"bms/domain"
)

// Spans makes the spans of a command's and its events' way through the node,
// under the span that took the command off the bus. The parts of the node tell
// it afterwards what they have done, when.
//
//	POST … or command X ─ publish X ─ handle X ─┬─ decide X
//	                                            ├─ append
//	                                            ├─ feed ─── write      one for each of the first connections
//	                                            ├─ project P           one for each projection
//	                                            └─ derive low-stock:alert ─┬─ append
//	                                                                       ├─ feed ─── write
//	                                                                       └─ project P
//
// The commit's metadata has the context of "handle", or "derive", so all of
// this is one trace, also on another node or after a restart. What reads a
// commit again, for a client that comes back or a projection that catches up,
// is no part of it: it is a trace of its own ("replay", "catch up P") that
// links to the first commits it read.
//
// A commit of no sampled trace costs a look at its metadata.
type Spans struct {
	tracer trace.Tracer
	now    func() time.Time
}

// NewSpans makes a Spans of a provider, nil for none.
func NewSpans(provider trace.TracerProvider, now func() time.Time) *Spans {
	if provider == nil {
		return nil
	}
	return &Spans{tracer: provider.Tracer("bms"), now: now}
}

// maxLinks is how many commits a replay links to: as many as the SDK keeps by
// default.
const maxLinks = 128

// traceID is the trace that a commit's metadata has, empty unless it is
// sampled.
func traceID(metadata map[string]string) string {
	// version "-" trace id "-" span id "-" flags, of which 1 is sampled; all
	// of it is lower-case hexadecimal.
	parent := metadata["traceparent"]
	if len(parent) < 55 {
		return ""
	}
	switch parent[54] {
	case '1', '3', '5', '7', '9', 'b', 'd', 'f':
		return parent[3:35]
	}
	return ""
}

// sampled is a context with the span in a commit's metadata; ok is false unless
// that is sampled.
func sampled(metadata map[string]string) (ctx context.Context, ok bool) {
	if traceID(metadata) == "" {
		return nil, false
	}
	ctx = propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier(metadata))
	return ctx, trace.SpanContextFromContext(ctx).IsSampled()
}

// span makes a span that is over.
func (s *Spans) span(ctx context.Context, name string, from, to time.Time, err error, attributes ...attribute.KeyValue) {
	_, span := s.tracer.Start(ctx, name, trace.WithTimestamp(from), trace.WithAttributes(attributes...))
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End(trace.WithTimestamp(to))
}

// Command begins the span of a command that came over a socket: the root of its
// trace. The context goes with the command; end is called with its answer.
func (s *Spans) Command(ctx context.Context, commandType, sid, namespace string) (_ context.Context, end func(error)) {
	if s == nil {
		return ctx, func(error) {}
	}
	ctx, span := s.tracer.Start(ctx, "command "+commandType, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("bms.sid", sid), attribute.String("bms.namespace", namespace)))
	return ctx, func(err error) {
		finish(span, err)
	}
}

// finish ends a span. A rejection is an answer and no error of the span.
func finish(span trace.Span, err error) {
	if no, ok := errors.AsType[*domain.Rejection](err); ok {
		span.SetAttributes(attribute.String("bms.code", no.Code))
	} else if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Decided makes the span of a decision.
func (s *Spans) Decided(d actors.Decided) {
	ctx, ok := sampled(d.Command.Metadata)
	if !ok {
		return
	}
	attributes := append(make([]attribute.KeyValue, 0, 4),
		attribute.String("bms.stream", d.Stream),
		attribute.Float64("bms.waited_seconds", d.From.Sub(d.Submitted).Seconds()))
	if d.Rejection != nil {
		attributes = append(attributes, attribute.String("bms.code", d.Rejection.Code))
	}
	if d.Commit != nil {
		attributes = append(attributes, attribute.Int("bms.events", len(d.Commit.Events)))
	}
	s.span(ctx, "decide "+d.Command.Type, d.From, d.To, nil, attributes...)
}

// Log is a log whose appends have spans, one for each sampled commit.
func (s *Spans) Log(log domain.Log) domain.Log {
	if s == nil {
		return log
	}
	return tracedLog{log, s}
}

type tracedLog struct {
	domain.Log
	spans *Spans
}

func (l tracedLog) Append(ctx context.Context, commits ...*domain.Commit) error {
	from := l.spans.now()
	err := l.Log.Append(ctx, commits...)
	var to time.Time
	for _, c := range commits {
		parent, ok := sampled(c.Metadata)
		if !ok {
			continue
		}
		if to.IsZero() {
			to = l.spans.now()
		}
		attributes := append(make([]attribute.KeyValue, 0, 3), attribute.String("bms.stream", c.Stream), attribute.Int("bms.commits", len(commits)))
		if err == nil { // else the log may not be done with them
			attributes = append(attributes, attribute.String("bms.pos", c.Position.String()))
		}
		l.spans.span(parent, "append", from, to, err, attributes...)
	}
	return err
}

// Projected makes the spans of what a projection has folded and committed.
func (s *Spans) Projected(projection string, live bool, commits []*domain.Commit, from, to time.Time) {
	name := attribute.String("bms.projection", projection)
	var links []trace.Link
	for _, c := range commits {
		ctx, ok := sampled(c.Metadata)
		switch {
		case !ok:
		case live:
			s.span(ctx, "project "+projection, from, to, nil, name, attribute.String("bms.pos", c.Position.String()))
		case len(links) < maxLinks:
			links = append(links, trace.LinkFromContext(ctx, attribute.String("bms.pos", c.Position.String())))
		}
	}
	if len(links) > 0 {
		_, span := s.tracer.Start(context.Background(), "catch up "+projection, trace.WithNewRoot(),
			trace.WithTimestamp(from), trace.WithLinks(links...), trace.WithAttributes(name))
		span.End(trace.WithTimestamp(to))
	}
}

// Deriving begins the spans of commits made from others, and puts them into
// their metadata.
func (s *Spans) Deriving(commits []*domain.Commit) (ended func(error)) {
	var spans []trace.Span
	for _, c := range commits {
		ctx, ok := sampled(c.Metadata)
		if !ok || len(c.Events) == 0 {
			continue
		}
		ctx, span := s.tracer.Start(ctx, "derive "+c.Events[0].Type, trace.WithAttributes(attribute.String("bms.stream", c.Stream)))
		metadata := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(ctx, metadata)
		c.Metadata = metadata
		spans = append(spans, span)
	}
	return func(err error) {
		for _, span := range spans {
			finish(span, err)
		}
	}
}
