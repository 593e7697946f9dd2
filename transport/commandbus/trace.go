package commandbus

import (
	"context"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"bms/domain"
)

// tracing puts W3C trace context into messages and makes a span for each side
// of the bus, if and only if the trace is sampled: what is not costs the
// injection of a header.
type tracing struct {
	tracer     trace.Tracer // nil: no spans
	topic      string
	propagator propagation.TraceContext
}

func newTracing(provider trace.TracerProvider, topic string) *tracing {
	t := &tracing{topic: topic}
	if provider != nil {
		t.tracer = provider.Tracer("bms/transport/commandbus")
	}
	return t
}

// publishing starts the publisher's span and puts it into the message. Of a
// trace that isn't sampled goes on what the edge has put into the command's
// metadata.
func (t *tracing) publishing(ctx context.Context, msg *message.Message, commandType string) (end func(error)) {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return func(error) {}
	}
	if t.tracer == nil {
		t.propagator.Inject(ctx, propagation.MapCarrier(msg.Metadata))
		return func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, "publish "+commandType, trace.WithSpanKind(trace.SpanKindProducer), t.attributes(msg))
	t.propagator.Inject(ctx, propagation.MapCarrier(msg.Metadata))
	return func(err error) { finish(span, err) }
}

// handling starts the handler's span, which lasts until the answer, and makes
// it the trace context that goes on with the command into the log.
func (t *tracing) handling(msg *message.Message, cmd *domain.Command) (end func(error)) {
	if t.tracer == nil || !flagged(cmd.Metadata[traceparent]) {
		return func(error) {}
	}
	ctx := t.propagator.Extract(context.Background(), propagation.MapCarrier(cmd.Metadata))
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, "handle "+cmd.Type, trace.WithSpanKind(trace.SpanKindConsumer), t.attributes(msg))
	t.propagator.Inject(ctx, propagation.MapCarrier(cmd.Metadata))
	return func(err error) { finish(span, err) }
}

// flagged reports whether a traceparent, if it is one, says that the trace is
// sampled: the lowest bit of its last hexadecimal digit. It spares the others
// being read.
func flagged(parent string) bool {
	return len(parent) >= 55 && strings.IndexByte("13579bdf", parent[54]) >= 0
}

func (t *tracing) attributes(msg *message.Message) trace.SpanStartEventOption {
	return trace.WithAttributes(
		attribute.String("messaging.system", "watermill"),
		attribute.String("messaging.destination.name", t.topic),
		attribute.String("messaging.message.id", msg.UUID),
	)
}

// finish ends a span. A rejection is an answer and no error of the span.
func finish(span trace.Span, err error) {
	no, rejected := asRejection(err)
	switch {
	case rejected:
		span.SetAttributes(attribute.String("bms.code", no.Code))
	case err != nil:
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
