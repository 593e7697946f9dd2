package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracing is the node's OpenTelemetry set-up.
type Tracing struct {
	// Provider makes tracers; nil when tracing is off.
	Provider trace.TracerProvider
	// Shutdown sends what is left, within its context, and stops. It is never
	// nil.
	Shutdown func(context.Context) error
}

// NewTracing sets up tracing as the standard OTEL_… variables say: off without
// OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT), with OTEL_SDK_DISABLED or
// with OTEL_TRACES_EXPORTER=none; OTLP over gRPC or HTTP by
// OTEL_EXPORTER_OTLP_PROTOCOL (http/protobuf if not set); sampler, batching,
// headers and certificates as the SDK reads them; service.name is "bms" unless
// OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise. Errors of the
// export go to the logger, at most one a minute. The error names the variable.
//
// A collector that is down delays nothing: spans are queued up to
// OTEL_BSP_MAX_QUEUE_SIZE (2048) and dropped beyond.
func NewTracing(ctx context.Context, logger *slog.Logger, version string) (*Tracing, error) {
	off := &Tracing{Shutdown: func(context.Context) error { return nil }}
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return off, nil
	}
	switch v := os.Getenv("OTEL_TRACES_EXPORTER"); v {
	case "none":
		return off, nil
	case "", "otlp":
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is neither otlp nor none", v)
	}
	if first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
		return off, nil
	}
	exporter, err := newExporter(ctx)
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "bms"), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(&errorLog{logger: logger, now: time.Now})
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return &Tracing{Provider: provider, Shutdown: provider.Shutdown}, nil
}

func newExporter(ctx context.Context) (*otlptrace.Exporter, error) {
	switch v := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); v {
	case "grpc":
		exporter, err := otlptracegrpc.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT over gRPC: %w", err)
		}
		return exporter, nil
	case "", "http/protobuf":
		exporter, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT over HTTP: %w", err)
		}
		return exporter, nil
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is neither grpc nor http/protobuf", v)
	}
}

// first is the first of the variables that is set.
func first(names ...string) string {
	for _, name := range names {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}
