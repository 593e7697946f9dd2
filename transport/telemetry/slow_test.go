package telemetry

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"bms/domain"
)

func Test_slow_commands_are_logged_with_their_trace_and_few_of_many(t *testing.T) {
	var out bytes.Buffer
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := NewSlowCommands(time.Second, slog.New(WithTrace(slog.NewTextHandler(&out, nil))), func() time.Time { return now })
	cmd := &domain.Command{
		Type: domain.CommandAdjustStock, BranchID: "b1", ID: "c1", Body: "secret",
		Metadata: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
	s.Note(cmd, "accepted", 999*time.Millisecond)
	if out.Len() > 0 {
		t.Errorf("a quick one is logged: %s", out.String())
	}
	for range 100 {
		s.Note(cmd, "accepted", time.Second)
	}
	now = now.Add(time.Second)
	s.Note(cmd, "busy", 2*time.Second)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != slowLines+1 {
		t.Fatalf("%d lines, want %d", len(lines), slowLines+1)
	}
	for line, want := range map[string]string{
		lines[0]: "type=stock.adjust branch=b1", lines[1]: "traceId=0af7651916cd43dd8448eb211c80319c", lines[slowLines]: "outcome=busy took=2s unlogged=95",
	} {
		if !strings.Contains(line, want) || strings.Contains(line, "secret") {
			t.Errorf("line %s, want %s in it", line, want)
		}
	}
	none := NewSlowCommands(0, slog.New(slog.DiscardHandler), time.Now)
	none.Note(cmd, "accepted", time.Hour)
}
