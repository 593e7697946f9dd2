package commandbus

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"bms/domain"
)

// traced starts a bus with a recorder of its spans.
func traced(t *testing.T, s submit) (*Bus, *sdk.TracerProvider, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder), sdk.WithSampler(sdk.ParentBased(sdk.AlwaysSample())))
	return startBus(t, s, func(c *Config) { c.TracerProvider = provider }), provider, recorder
}

func Test_a_sampled_command_is_one_trace_into_the_commit(t *testing.T) {
	no := domain.Reject(domain.CodeUnknownProduct, "no")
	for name, tt := range map[string]struct {
		err    error
		status codes.Code
	}{
		"accepted": {nil, codes.Unset},
		"rejected": {no, codes.Unset},
		"fault":    {errors.New("disk"), codes.Error},
	} {
		t.Run(name, func(t *testing.T) {
			var handed domain.Command
			b, provider, recorder := traced(t, func(cmd domain.Command, answer reply) {
				handed = cmd
				answer(nil, tt.err)
			})
			ctx, root := provider.Tracer("test").Start(t.Context(), "request")
			_, _ = b.Do(ctx, adjustment("1"))
			root.End()
			spans := map[string]sdk.ReadOnlySpan{}
			for _, span := range recorder.Ended() {
				spans[span.Name()] = span
			}
			publish, handle := spans["publish stock.adjust"], spans["handle stock.adjust"]
			if publish == nil || handle == nil {
				t.Fatalf("spans %v, want publish and handle", spans)
			}
			if got, want := publish.Parent().SpanID(), root.SpanContext().SpanID(); got != want {
				t.Errorf("publish is a child of %v, want the request's span %v", got, want)
			}
			if got, want := handle.Parent().SpanID(), publish.SpanContext().SpanID(); got != want {
				t.Errorf("handle is a child of %v, want publish %v", got, want)
			}
			if got := handle.Status().Code; got != tt.status {
				t.Errorf("status of handle %v, want %v", got, tt.status)
			}
			sc := handle.SpanContext()
			if got, want := handed.Metadata["traceparent"], "00-"+sc.TraceID().String()+"-"+sc.SpanID().String()+"-01"; !strings.HasPrefix(got, want[:53]) {
				t.Errorf("traceparent %q goes on, want that of handle, %q", got, want)
			}
		})
	}
}

func Test_a_command_that_is_not_sampled_makes_no_span_and_keeps_the_trace_it_came_with(t *testing.T) {
	var handed domain.Command
	b, _, recorder := traced(t, func(cmd domain.Command, answer reply) {
		handed = cmd
		accept(cmd, answer)
	})
	state, err := trace.ParseTraceState("vendor=1")
	if err != nil {
		t.Fatal(err)
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceState: state})
	ctx := trace.ContextWithSpanContext(t.Context(), sc)
	cmd := adjustment("1")
	if _, err := b.Do(ctx, cmd); err != nil {
		t.Fatal(err)
	}
	if handed.Metadata != nil {
		t.Errorf("metadata %v, want none: the edge has put none in", handed.Metadata)
	}
	cmd = adjustment("2")
	cmd.Metadata = propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, propagation.MapCarrier(cmd.Metadata))
	if _, err := b.Do(ctx, cmd); err != nil {
		t.Fatal(err)
	}
	if got, want := handed.Metadata["traceparent"], "00-01000000000000000000000000000000-0200000000000000-00"; got != want {
		t.Errorf("traceparent %q, want %q", got, want)
	}
	if got := handed.Metadata["tracestate"]; got != "vendor=1" {
		t.Errorf("tracestate %q, want vendor=1", got)
	}
	if got := len(recorder.Started()); got != 0 {
		t.Errorf("%d spans, want 0", got)
	}
}

func Test_a_command_of_no_trace_makes_none(t *testing.T) {
	var handed domain.Command
	b, _, recorder := traced(t, func(cmd domain.Command, answer reply) {
		handed = cmd
		accept(cmd, answer)
	})
	if _, err := b.Do(context.Background(), adjustment("1")); err != nil {
		t.Fatal(err)
	}
	if handed.Metadata != nil || len(recorder.Started()) != 0 {
		t.Errorf("metadata %v and %d spans, want none", handed.Metadata, len(recorder.Started()))
	}
}
