package eventlog

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"bms/domain"
)

func open(t testing.TB, config Config) *Log {
	t.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	l, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

var testTime = time.UnixMilli(1_790_000_000_123).UTC()

// adjustment is a commit as the business makes them most often.
func adjustment(stream string, version uint64, commandID string) *domain.Commit {
	data := json.RawMessage(`{"productId":"p-0001","sku":"SKU-0001","delta":-1,"stock":41,"minStock":5,"version":17,"reason":"sale","ref":"till-3","transactionId":"0199d2a0-7f00-7000-8000-000000000001"}`)
	return &domain.Commit{
		Stream: stream, Version: version, UserID: "u-17", CommandID: commandID, CommandType: domain.CommandAdjustStock,
		Fingerprint: "5c3b0e6a7d1f4b52", At: testTime,
		Metadata: map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		Result:   json.RawMessage(`{"stock":41}`),
		Events: []domain.Event{{
			ID: domain.EventID(testTime, "u-17", commandID, 0), Type: domain.TypeInventoryUpdated, Version: 1,
			BranchID: "b1", UserID: "u-17", At: testTime, Data: data,
		}},
	}
}

func streamName(i int) string { return fmt.Sprintf("branch/b%03d", i) }
