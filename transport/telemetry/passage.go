package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"bms/actors"
	"bms/domain"
)

var _ actors.Tracer = (*Spans)(nil)

// passage is a sampled commit on its way to the sockets.
type passage struct {
	context trace.SpanContext // of the feed's span, or of the commit
	span    trace.Span        // of the feed; nil for a commit that was read again
	pos     attribute.KeyValue
}

// Feed begins the span of a commit in the feed.
func (s *Spans) Feed(c *domain.Commit, live bool) actors.Trace {
	ctx, ok := sampled(c.Metadata)
	if !ok {
		return nil
	}
	p := &passage{context: trace.SpanContextFromContext(ctx), pos: attribute.String("bms.pos", c.Position.String())}
	if !live {
		return p
	}
	_, p.span = s.tracer.Start(ctx, "feed", trace.WithAttributes(p.pos,
		attribute.String("bms.stream", c.Stream), attribute.Int("bms.events", len(c.Events))))
	if !p.span.IsRecording() { // as the sampler says
		return nil
	}
	p.context = p.span.SpanContext()
	return p
}

// Fed ends the feed's span.
func (p *passage) Fed(rooms int) {
	p.span.SetAttributes(attribute.Int("bms.rooms", rooms))
	p.span.End()
}

// Written makes the spans of a write to a socket: one under the feed's for each
// commit that came by the feed, and one of its own for those that were read
// again.
func (s *Spans) Written(w *actors.Write) {
	attributes := trace.WithAttributes(
		attribute.String("bms.sid", w.SID), attribute.String("bms.namespace", w.Namespace),
		attribute.Int("bms.events", w.Events), attribute.Int("bms.bytes", w.Bytes))
	end := func(span trace.Span) {
		if w.Lost {
			span.SetStatus(codes.Error, "the connection ended before the events were known to be written")
		}
		span.End(trace.WithTimestamp(w.To))
	}
	var links []trace.Link
	for _, t := range w.Traces {
		p := t.(*passage)
		if p.span != nil {
			_, span := s.tracer.Start(trace.ContextWithSpanContext(context.Background(), p.context), "write", trace.WithSpanKind(trace.SpanKindProducer),
				trace.WithTimestamp(w.From), attributes, trace.WithAttributes(p.pos))
			end(span)
		} else if len(links) < maxLinks {
			links = append(links, trace.Link{SpanContext: p.context, Attributes: []attribute.KeyValue{p.pos}})
		}
	}
	if len(links) > 0 {
		_, span := s.tracer.Start(context.Background(), "replay", trace.WithSpanKind(trace.SpanKindProducer), trace.WithNewRoot(),
			trace.WithTimestamp(w.From), trace.WithLinks(links...), attributes)
		end(span)
	}
}

// exemplar is the trace of a delivery, empty for none.
func exemplar(t actors.Trace) string {
	if p, ok := t.(*passage); ok {
		return p.context.TraceID().String()
	}
	return ""
}
