package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"bms/domain"
	"bms/transport/telemetry"
)

func TestRefusals_are_counted_each_and_logged_once_a_minute(t *testing.T) {
	var lines strings.Builder
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f := newSocketRefusals(&App{
		metrics: telemetry.NewMetrics(), now: func() time.Time { return now },
		logger: slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
	})
	for range 1000 {
		f.noteError(telemetry.ProtocolWebSocket, domain.Reject(domain.CodeUnauthorized, "no"))
		f.note(telemetry.ProtocolSocketIO, "unknown session")
		now = now.Add(119 * time.Millisecond)
	}
	got := strings.Split(strings.TrimSpace(lines.String()), "\n")
	if len(got) != 4 {
		t.Fatalf("%d lines, want one of each at once and one a minute later:\n%s", len(got), lines.String())
	}
	if want := `level=INFO msg="connection refused" protocol=websocket reason=unauthorized unlogged=504`; got[2] != want {
		t.Errorf("line %s, want %s", got[2], want)
	}
}
