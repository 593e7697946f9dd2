package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"bms/domain"
	"bms/transport/httpapi"
	"bms/transport/telemetry"
)

func TestRefusals_are_counted_each_and_logged_once_a_minute(t *testing.T) {
	var lines strings.Builder
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	logger := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	f := newRefusals(telemetry.NewMetrics(), logger, func() time.Time { return now })
	for range 1000 {
		f.connectionError(telemetry.ProtocolWebSocket, domain.Reject(domain.CodeUnauthorized, "no"))
		f.connectionError(telemetry.ProtocolWebSocket, fmt.Errorf("connect: %w", errLeft)) // which is none
		f.connection(telemetry.ProtocolSocketIO, "unknown session")
		f.request(httpapi.Refusal{Code: domain.CodeUnauthorized, Method: "GET", Route: "GET /api/branches", Client: "203.0.113.9"})
		f.request(httpapi.Refusal{Code: domain.CodeInsufficientStock, Expected: true})
		now = now.Add(119 * time.Millisecond)
	}
	got := strings.Split(strings.TrimSpace(lines.String()), "\n")
	if len(got) != 6 {
		t.Fatalf("%d lines, want one of each at once and one a minute later:\n%s", len(got), lines.String())
	}
	if want := `level=INFO msg="connection refused" protocol=websocket reason=unauthorized unlogged=504`; got[3] != want {
		t.Errorf("line %s, want %s", got[3], want)
	}
	if want := `level=INFO msg="request refused" code=unauthorized method=GET route="GET /api/branches" client=203.0.113.9 unlogged=504`; got[5] != want {
		t.Errorf("line %s, want %s", got[5], want)
	}
}
