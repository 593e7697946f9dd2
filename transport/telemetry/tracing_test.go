package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// sink is an OTLP collector for both protocols.
type sink struct {
	collector.UnimplementedTraceServiceServer
	mu       sync.Mutex // guards what follows
	requests []*collector.ExportTraceServiceRequest
	secrets  []string // "api-key" of each request
}

func (s *sink) Export(ctx context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		s.secrets = append(s.secrets, md.Get("api-key")...)
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	ctx := metadata.NewIncomingContext(r.Context(), metadata.Pairs("api-key", r.Header.Get("Api-Key")))
	if _, err := s.Export(ctx, &request); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// spans are the names of what came, each with its service in front.
func (s *sink) spans() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		for _, rs := range r.ResourceSpans {
			service := ""
			for _, a := range rs.Resource.Attributes {
				switch a.Key {
				case "service.name":
					service = a.Value.GetStringValue() + service
				case "deployment.environment":
					service += " in " + a.Value.GetStringValue()
				}
			}
			for _, ss := range rs.ScopeSpans {
				for _, span := range ss.Spans {
					names = append(names, service+": "+span.Name)
				}
			}
		}
	}
	return names
}

// clean takes the variables of the surroundings out of a test's way.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
		"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
	} {
		t.Setenv(name, "")
	}
}

// exported makes a span and gives what the collector got of it.
func exported(t *testing.T, s *sink) []string {
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
	return s.spans()
}

func Test_spans_reach_the_collector(t *testing.T) {
	for _, protocol := range []string{"", "http/protobuf", "grpc"} {
		t.Run("by_"+protocol, func(t *testing.T) {
			clean(t)
			s := &sink{}
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret")
			if protocol == "grpc" {
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+serveGRPC(t, s))
			} else {
				server := httptest.NewServer(s)
				defer server.Close()
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
			}
			if got, want := strings.Join(exported(t, s), ", "), "bms: sell"; got != want {
				t.Errorf("collector got %q, want %q", got, want)
			}
			if got := s.secrets; len(got) != 1 || got[0] != "s3cret" {
				t.Errorf("api-key %q, want that of OTEL_EXPORTER_OTLP_HEADERS", got)
			}
		})
	}
}

func serveGRPC(t *testing.T, s *sink) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
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
			clean(t)
			s := &sink{}
			server := httptest.NewServer(s)
			defer server.Close()
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
			t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0")
			t.Setenv(tt.variable, tt.value)
			if got := strings.Join(exported(t, s), ", "); got != tt.want {
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
			clean(t)
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
