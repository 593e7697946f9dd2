package telemetry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"bms/actors"
	"bms/domain"
)

const parentSpan = "b7ad6b7169203331"

func metadataOf(flags string) map[string]string {
	return map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-" + parentSpan + "-" + flags}
}

func recorded(sampler sdktrace.Sampler) (*Spans, *tracetest.SpanRecorder) {
	recorder := tracetest.NewSpanRecorder()
	return NewSpans(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder), sdktrace.WithSampler(sampler)), time.Now), recorder
}

// full is a log that takes nothing.
type full struct{ domain.Log }

func (full) Append(context.Context, ...*domain.Commit) error { return errors.New("disk full") }

// everything tells of all there is about one commit.
func everything(s *Spans, metadata map[string]string) {
	c := &domain.Commit{CommandType: domain.CommandAdjustStock, Metadata: metadata, Events: make([]domain.Event, 1)}
	now := time.Now()
	s.Decided(actors.Decided{Command: &domain.Command{Type: c.CommandType, Metadata: metadata}, Submitted: now, From: now, To: now, Commit: c})
	_ = s.Log(full{}).Append(context.Background(), c)
	s.Projected("stats", true, []*domain.Commit{c}, now, now)
	s.Projected("stats", false, []*domain.Commit{c}, now, now)
	s.Deriving([]*domain.Commit{c})(nil)
	if trace := s.Feed(c, true); trace != nil {
		trace.Fed(1)
		s.Written(&actors.Write{Traces: []actors.Trace{trace}, From: now, To: now, Lost: true})
	}
	if trace := s.Feed(c, false); trace != nil {
		s.Written(&actors.Write{Traces: []actors.Trace{trace}, From: now, To: now})
	}
}

func Test_no_span_of_what_is_not_sampled_or_not_a_trace(t *testing.T) {
	for name, metadata := range map[string]map[string]string{
		"none": nil, "another": {"tenant": "x"}, "unsampled": metadataOf("00"), "cut": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-01"},
		"no_hex": {"traceparent": "00-zaf7651916cd43dd8448eb211c80319c-" + parentSpan + "-01"},
	} {
		t.Run(name, func(t *testing.T) {
			s, recorder := recorded(sdktrace.ParentBased(sdktrace.AlwaysSample()))
			everything(s, metadata)
			if got := recorder.Started(); len(got) > 0 {
				t.Errorf("%d spans, want none", len(got))
			}
		})
	}
	s, recorder := recorded(sdktrace.NeverSample())
	everything(s, metadataOf("01"))
	if got := recorder.Ended(); len(got) > 0 {
		t.Errorf("%d spans in spite of the sampler, want none", len(got))
	}
}

func Test_spans_tell_of_what_failed(t *testing.T) {
	s, recorder := recorded(sdktrace.ParentBased(sdktrace.AlwaysSample()))
	everything(s, metadataOf("01"))
	want := map[string]codes.Code{
		"decide stock.adjust": codes.Unset, "append": codes.Error, "project stats": codes.Unset, "catch up stats": codes.Unset,
		"derive ": codes.Unset, "feed": codes.Unset, "write": codes.Error, "replay": codes.Unset,
	}
	for _, span := range recorder.Ended() {
		code, ok := want[span.Name()]
		if !ok || span.Status().Code != code {
			t.Errorf("span %q with status %v, want %v", span.Name(), span.Status(), code)
		}
		delete(want, span.Name())
	}
	if len(want) > 0 || len(recorder.Started()) != len(recorder.Ended()) {
		t.Errorf("no spans %v; %d begun, %d ended", want, len(recorder.Started()), len(recorder.Ended()))
	}
}

func Test_what_catches_up_links_to_some_and_is_a_trace_of_its_own(t *testing.T) {
	s, recorder := recorded(sdktrace.ParentBased(sdktrace.AlwaysSample()))
	var commits []*domain.Commit
	for i := range 3 * maxLinks {
		commits = append(commits, &domain.Commit{Metadata: metadataOf("01"), Position: domain.Position{Seq: uint64(i)}})
	}
	s.Projected("stats", false, commits, time.Now(), time.Now())
	spans := recorder.Ended()
	if len(spans) != 1 || spans[0].Parent().IsValid() || len(spans[0].Links()) != maxLinks {
		t.Fatalf("%d spans, want one without a parent and with %d links", len(spans), maxLinks)
	}
	if got := fmt.Sprint(spans[0].Links()[0].SpanContext.SpanID()); got != parentSpan {
		t.Errorf("links to %s, want %s", got, parentSpan)
	}
}
