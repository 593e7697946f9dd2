// Package otlptest is an OpenTelemetry collector for tests: it takes what is
// exported by OTLP, over HTTP and over gRPC.
package otlptest

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Collector keeps all spans it is sent. Its methods are safe for concurrent
// use.
type Collector struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex // guards what follows
	spans []Span
	keys  []string
}

// Span is a span as the collector has it. Ids are hexadecimal.
type Span struct {
	Name, Trace, ID, Parent string
	Links                   []string // ids of spans
	Failed                  bool
	Attributes              map[string]string // texts only
	Resource                map[string]string // texts only, "service.name" among them
}

// Clear takes what the surroundings say of OpenTelemetry out of a test's way.
func Clear(tb testing.TB) {
	tb.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
		"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
	} {
		tb.Setenv(name, "")
	}
}

// Start starts a collector that lives until the test ends, and points the
// environment at it. The protocol is "grpc", "http/protobuf", or "" for the
// default.
func Start(tb testing.TB, protocol string) *Collector {
	tb.Helper()
	Clear(tb)
	c := &Collector{}
	tb.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
	if protocol == "grpc" {
		tb.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+c.serveGRPC(tb))
		return c
	}
	server := httptest.NewServer(c)
	tb.Cleanup(server.Close)
	tb.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	return c
}

func (c *Collector) serveGRPC(tb testing.TB) (addr string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	tb.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return l.Addr().String()
}

// ServeHTTP takes a request of OTLP over HTTP.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	c.take(&request, r.Header["Api-Key"])
}

// Export takes a request of OTLP over gRPC.
func (c *Collector) Export(ctx context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c.take(request, md.Get("api-key"))
	return &collector.ExportTraceServiceResponse{}, nil
}

func (c *Collector) take(request *collector.ExportTraceServiceRequest, keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = append(c.keys, keys...)
	for _, resource := range request.ResourceSpans {
		of := texts(resource.Resource.Attributes)
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				span := Span{
					Name: s.Name, Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
					Failed: s.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR, Attributes: texts(s.Attributes), Resource: of,
				}
				for _, l := range s.Links {
					span.Links = append(span.Links, hex.EncodeToString(l.SpanId))
				}
				c.spans = append(c.spans, span)
			}
		}
	}
}

func texts(attributes []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range attributes {
		all[a.Key] = a.Value.GetStringValue()
	}
	return all
}

// Spans is what came so far, in the order in which it came.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// APIKeys is the header api-key of each request so far that had one.
func (c *Collector) APIKeys() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.keys)
}
