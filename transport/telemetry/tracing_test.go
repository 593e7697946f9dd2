package telemetry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"bms/transport/telemetry/otlptest"
)

// spans are the names of what came, each with its service in front.
func spans(c *otlptest.Collector) (names []string) {
	for _, span := range c.Spans() {
		service := span.Resource["service.name"]
		if environment := span.Resource["deployment.environment"]; environment != "" {
			service += " in " + environment
		}
		names = append(names, service+": "+span.Name)
	}
	return names
}

// exported makes a span and gives what the collector got of it.
func exported(t *testing.T, c *otlptest.Collector) []string {
	t.Helper()
	tracing, err := NewTracing(t.Context(), slog.New(slog.DiscardHandler), "1")
	if err != nil {
		t.Fatal(err)
	}
	if tracing.Provider != nil {
		_, span := tracing.Provider.Tracer("test").Start(t.Context(), "sell", trace.WithAttributes(attribute.Int("n", 1)))
		span.End()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := tracing.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	return spans(c)
}

func Test_spans_reach_the_collector(t *testing.T) {
	for _, protocol := range []string{"", "http/protobuf", "grpc"} {
		t.Run("by_"+protocol, func(t *testing.T) {
			c := otlptest.Start(t, protocol)
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret")
			if got, want := strings.Join(exported(t, c), ", "), "bms: sell"; got != want {
				t.Errorf("collector got %q, want %q", got, want)
			}
			if got := c.APIKeys(); len(got) != 1 || got[0] != "s3cret" {
				t.Errorf("api-key %q, want that of OTEL_EXPORTER_OTLP_HEADERS", got)
			}
		})
	}
}

func Test_standard_variables_are_followed(t *testing.T) {
	for name, tt := range map[string]struct{ variable, value, want string }{
		"as_it_is":     {"OTEL_SERVICE_NAME", "", "bms: sell"},
		"attributes":   {"OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,deployment.environment=test", "shop in test: sell"},
		"none_of_all":  {"OTEL_TRACES_SAMPLER", "parentbased_traceidratio", ""}, // of OTEL_TRACES_SAMPLER_ARG, below
		"service_name": {"OTEL_SERVICE_NAME", "shop", "shop: sell"},
		"sampler":      {"OTEL_TRACES_SAMPLER", "always_off", ""},
		"disabled":     {"OTEL_SDK_DISABLED", "true", ""},
		"no_exporter":  {"OTEL_TRACES_EXPORTER", "none", ""},
		"no_endpoint":  {"OTEL_EXPORTER_OTLP_ENDPOINT", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := otlptest.Start(t, "")
			t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0")
			t.Setenv(tt.variable, tt.value)
			if got := strings.Join(exported(t, c), ", "); got != tt.want {
				t.Errorf("collector got %q, want %q", got, tt.want)
			}
		})
	}
}

func Test_variables_that_are_wrong_are_named(t *testing.T) {
	for variable, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon", "OTEL_TRACES_EXPORTER": "zipkin",
	} {
		t.Run(variable, func(t *testing.T) {
			otlptest.Clear(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(variable, value)
			if _, err := NewTracing(t.Context(), slog.New(slog.DiscardHandler), "1"); err == nil || !strings.Contains(err.Error(), variable) {
				t.Errorf("NewTracing: %v, want an error that names %s", err, variable)
			}
		})
	}
}

func Test_log_lines_have_the_trace(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(WithTrace(slog.NewTextHandler(&out, nil))).With("a", 1).WithGroup("g")
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	logger.InfoContext(trace.ContextWithSpanContext(t.Context(), sc), "with")
	logger.InfoContext(t.Context(), "without")
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[0], "traceId="+sc.TraceID().String()) || !strings.Contains(lines[0], "spanId="+sc.SpanID().String()) {
		t.Errorf("line %q lacks the trace", lines[0])
	}
	if strings.Contains(lines[1], "traceId") {
		t.Errorf("line %q has a trace", lines[1])
	}
}

func Test_a_collector_that_is_down_is_logged_once_a_minute(t *testing.T) {
	var out bytes.Buffer
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e := &errorLog{logger: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}
	for range 150 {
		e.Handle(errors.New("connection refused"))
		now = now.Add(time.Second)
	}
	if got := strings.Count(out.String(), "connection refused"); got != 3 {
		t.Errorf("%d lines in 150 seconds, want 3:\n%s", got, out.String())
	}
	if !strings.Contains(out.String(), "unlogged=59") {
		t.Errorf("the lines don't tell of the 59 in between:\n%s", out.String())
	}
}
