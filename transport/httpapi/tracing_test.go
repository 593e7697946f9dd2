package httpapi

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"bms/domain"
)

// traceparent is a client's, which says that its trace is sampled.
const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// traceable is a shop whose spans are recorded; of traces that begin here, those
// that the sampler takes.
func traceable(t *testing.T, own sdktrace.Sampler, change func(*Config)) (*shop, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(sdktrace.ParentBased(own)))
	s := newShop(t, func(c *Config) {
		c.Tracing = provider
		if change != nil {
			change(c)
		}
	})
	return s, spans
}

// A stranger's flag would have us record and export whatever he sends.
func Test_a_strangers_trace_is_not_gone_on_with(t *testing.T) {
	s, spans := traceable(t, sdktrace.NeverSample(), nil)
	for _, who := range []string{"", "nobody", "expired"} {
		s.send(who, "GET", "/api/branches", "", "Traceparent", traceparent)
		s.send(who, "GET", "/healthz", "", "Traceparent", traceparent)
		s.send(who, "GET", "/nothing", "", "Traceparent", traceparent)
	}
	if started := spans.Started(); len(started) != 0 {
		t.Errorf("%d spans, want none", len(started))
	}
	s.send("admin", "GET", "/api/branches", "", "Traceparent", traceparent)
	if ended := spans.Ended(); len(ended) != 1 {
		t.Errorf("%d spans of who is known, want 1", len(ended))
	}
}

func Test_what_a_trace_brings_into_the_log_is_bounded(t *testing.T) {
	for name, tracing := range map[string]bool{"traced": true, "without_a_collector": false} {
		t.Run(name, func(t *testing.T) {
			s, _ := traceable(t, sdktrace.NeverSample(), func(c *Config) {
				if !tracing {
					c.Tracing = nil
				}
			})
			for id, state := range map[string]string{"short": "a=1,b=2", "long": manyMembers(400), "too-long": manyMembers(600)} {
				key, kept := id+name, state
				if len(state) > 512 {
					kept = ""
				}
				s.send("admin", "POST", "/api/branches", `{"branchId":"`+id+`","name":"Shop"}`, "Idempotency-Key", key, "Traceparent", traceparent, "Tracestate", state)
				c, err := s.log.FindCommand(t.Context(), "root", key)
				if err != nil {
					t.Fatal(err)
				}
				if got := c.Metadata["tracestate"]; got != kept || c.Metadata["traceparent"] == "" {
					t.Errorf("tracestate %q in the log, want %q; all of it %v", got, kept, c.Metadata)
				}
			}
		})
	}
}

// manyMembers is a valid tracestate of at least n bytes.
func manyMembers(n int) string {
	state := "k0=z"
	for i := 1; len(state) < n; i++ {
		state += ",k" + strings.Repeat("y", i) + "=" + strings.Repeat("z", 100)
	}
	return state
}

func Test_every_span_ends(t *testing.T) {
	s, spans := traceable(t, sdktrace.AlwaysSample(), func(c *Config) {
		c.AllowOrigin = func(string) bool { return true }
		c.Ready = func() []string { panic("ready is broken") }
		c.Commands = func(context.Context, domain.Command) (*domain.Commit, error) {
			return nil, domain.Reject(domain.CodeBusy, "later")
		}
	})
	s.send("", "OPTIONS", "/api/branches", "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "POST")
	s.send("", "GET", "/readyz", "")
	s.send("admin", "POST", "/api/branches", `{"branchId":"b1","name":"Mitte"}`)
	s.send("", "GET", "//a/../b", "") // is redirected
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequest("GET", "/docs", nil))
	if started, ended := len(spans.Started()), len(spans.Ended()); started != 5 || ended != 5 {
		t.Fatalf("%d spans begin and %d end, want 5", started, ended)
	}
	broken := spans.Ended()[1]
	if broken.Name() != "GET /readyz" || broken.Status().Code != codes.Error {
		t.Errorf("span %q with %v, want GET /readyz with an error", broken.Name(), broken.Status())
	}
}
