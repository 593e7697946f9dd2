package telemetry

import (
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"bms/actors"
	"bms/domain"
)

// scrape gives the lines of GET /metrics that begin with a prefix.
func scrape(t *testing.T, m *Metrics, prefix string) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	raw, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("scrape: %d, %v: %s", w.Code, err, raw)
	}
	var lines []string
	for line := range strings.SplitSeq(string(raw), "\n") {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, line)
		}
	}
	return lines
}

func has(t *testing.T, m *Metrics, line string) {
	t.Helper()
	if got := scrape(t, m, line); len(got) != 1 {
		t.Errorf("%q is there %d times, want once", line, len(got))
	}
}

func Test_what_happens_is_counted(t *testing.T) {
	m := NewMetrics()
	m.Command(&domain.Command{Type: domain.CommandAdjustStock}, "accepted", 3*time.Millisecond)
	m.Command(&domain.Command{Type: domain.CommandAdjustStock}, domain.CodeInsufficientStock, time.Millisecond)
	m.Appended(7, time.Millisecond, nil)
	m.Appended(1, time.Second, errors.New("disk full"))
	m.Wrote(9, time.Millisecond, nil)
	m.Wrote(2, time.Second, errors.New("disk full"))
	m.Loaded(time.Millisecond, nil)
	m.Loaded(time.Millisecond, errors.New("damaged"))
	m.Connected(ProtocolSocketIO, domain.NamespacePOS)
	m.Connected(ProtocolSocketIO, domain.NamespacePOS)
	m.Disconnected(ProtocolSocketIO, domain.NamespacePOS, "ping timeout")
	m.Refused(ProtocolWebSocket, domain.CodeRateLimited)
	m.Closed(4401)
	m.Closed(0)
	m.SessionClosed("polling", "parse error")
	m.Fed(5)
	m.Delivered(actors.Delivery{Events: 10, Bytes: 2000, Lag: 2 * time.Millisecond, Waited: time.Millisecond})
	m.Folded("inventory", 3, 9, time.Second)
	m.FoldFailed("inventory", errors.New("x"))
	m.Alerted(2, 1)
	m.Rebuilt("stats", "cancelled")
	m.Request("GET /api/branches", 200, time.Millisecond)
	m.RequestRefused(domain.CodeValidation)
	m.Durable(&domain.Commit{}, time.Millisecond)
	m.Lag(12)
	m.Watch(Sources{
		DiskFree: func() (uint64, bool) { return 5e9, true }, FeedHead: func() uint64 { return 41 }, Unready: func() []string { return []string{"x"} },
		Head: func() uint64 { return 42 }, LogBytes: func() int64 { return 4096 }, Rooms: func() int { return 3 },
		Panics: func() uint64 { return 1 }, Waiting: func() int { return 8 },
		Projections: func() []Lag { return []Lag{{"inventory", 5, 1.5, 2}, {"inventory", 6, 1, 0}, {"users", 0, 0, 0}} },
	})
	for _, line := range []string{
		`bms_commands_total{outcome="accepted",type="stock.adjust"} 1`,
		`bms_commands_total{outcome="insufficient_stock",type="stock.adjust"} 1`,
		`bms_command_duration_seconds_count{type="stock.adjust"} 2`,
		`bms_log_append_commits_sum 7`, `bms_log_append_failures_total 1`, `bms_log_append_duration_seconds_count 1`,
		`bms_log_transaction_commits_sum 9`, `bms_log_transaction_failures_total 1`, `bms_log_transaction_duration_seconds_count 1`,
		`bms_commit_durable_seconds_count 1`, `bms_delivery_wait_seconds_count 1`, `bms_connection_lag_records_sum 12`,
		`bms_data_free_bytes 5e+09`, `bms_feed_head 41`, `bms_unready_reasons 1`, `bms_projection_parked{projection="inventory"} 2`,
		`bms_stream_load_duration_seconds_count 1`, `bms_stream_load_failures_total 1`,
		`bms_connections{namespace="/ws-pos",protocol="socket.io"} 1`, `bms_connects_total{namespace="/ws-pos",protocol="socket.io"} 2`,
		`bms_disconnects_total{namespace="/ws-pos",protocol="socket.io",reason="ping timeout"} 1`,
		`bms_connect_refusals_total{protocol="websocket",reason="rate_limited"} 1`,
		`bms_websocket_closes_total{code="4401"} 1`, `bms_websocket_closes_total{code="none"} 1`,
		`bms_engineio_sessions_closed_total{reason="parse error",transport="polling"} 1`,
		`bms_feed_events_total 5`, `bms_deliveries_total 10`, `bms_delivered_bytes_total 2000`, `bms_delivery_writes_total 1`,
		`bms_delivery_lag_seconds_count 1`,
		`bms_projection_events_total{projection="inventory"} 9`, `bms_projection_fold_seconds_total{projection="inventory"} 1`,
		`bms_projection_errors_total{projection="inventory"} 1`, `bms_alerts_total 2`,
		`bms_projection_rebuilds_total{outcome="cancelled",projection="stats"} 1`,
		`bms_http_requests_total{route="GET /api/branches",status="200"} 1`,
		`bms_http_refusals_total{code="validation"} 1`,
		`bms_log_head 42`, `bms_log_bytes 4096`, `bms_rooms 3`, `bms_panics_total 1`, `bms_commands_waiting 8`,
		`bms_projection_lag_records{projection="inventory"} 5`, `bms_projection_lag_seconds{projection="inventory"} 1.5`,
		`bms_projection_lag_records{projection="users"} 0`,
		`go_goroutines`, `process_open_fds`,
	} {
		has(t, m, line)
	}
}

// Whatever clients send, the number of series stays.
func Test_labels_stay_bounded(t *testing.T) {
	m := NewMetrics()
	for i := range 10_000 {
		s := fmt.Sprint("x", i)
		m.Command(&domain.Command{Type: s}, s, 0)
		m.Connected(s, s)
		m.Disconnected(s, s, s)
		m.Refused(s, s)
		m.Closed(3000 + i%2000)
		m.SessionClosed(s, s)
		m.Request(s, 100+i%500, 0)
		m.RequestRefused(s)
		m.Folded(s, 1, 1, 0)
		m.FoldFailed(s, nil)
	}
	m.Refused(ProtocolSocketIO, strings.Repeat("r", 1000))
	for prefix, most := range map[string]int{
		"bms_commands_total{": 65, "bms_command_duration_seconds_count{": 1,
		"bms_engineio_sessions_closed_total{": 65, "bms_connections{": 1, "bms_connects_total{": 1, "bms_disconnects_total{": 65, "bms_connect_refusals_total{": 66, "bms_websocket_closes_total{": 33,
		"bms_http_request_duration_seconds_count{": 129, "bms_http_refusals_total{": 65, "bms_projection_events_total{": 33, "bms_projection_errors_total{": 33,
	} {
		if got := len(scrape(t, m, prefix)); got > most || got == 0 {
			t.Errorf("%d series of %s, want at most %d", got, prefix, most)
		}
	}
}

func Benchmark_counting(b *testing.B) {
	m := NewMetrics()
	b.Run("command", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Command(&domain.Command{Type: domain.CommandAdjustStock}, "accepted", time.Millisecond)
		}
	})
	b.Run("delivered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Delivered(actors.Delivery{Events: 10, Bytes: 2000, Lag: time.Millisecond, Waited: -1})
		}
	})
	b.Run("request", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Request("POST /api/branches/{b}/transactions", 201, time.Millisecond)
		}
	})
}

func Test_durations_of_a_sampled_trace_are_exemplars(t *testing.T) {
	m := NewMetrics()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
	sampled, unsampled := map[string]string{"traceparent": parent + "01"}, map[string]string{"traceparent": parent + "00"}
	m.Command(&domain.Command{Type: domain.CommandAdjustStock, Metadata: sampled}, "accepted", time.Millisecond)
	m.Durable(&domain.Commit{Metadata: sampled}, time.Millisecond)
	m.Durable(&domain.Commit{Metadata: unsampled}, time.Second)
	spans := NewSpans(sdktrace.NewTracerProvider(), time.Now)
	m.Delivered(actors.Delivery{Events: 1, Lag: time.Millisecond, Waited: time.Millisecond, Trace: spans.Feed(&domain.Commit{Metadata: sampled}, true)})
	m.Delivered(actors.Delivery{Events: 1, Lag: time.Second, Waited: time.Second})
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text")
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	for name, want := range map[string]int{
		"bms_command_duration_seconds": 1, "bms_commit_durable_seconds": 1, "bms_delivery_lag_seconds": 1, "bms_delivery_wait_seconds": 1,
	} {
		got := 0
		for line := range strings.SplitSeq(w.Body.String(), "\n") {
			if strings.HasPrefix(line, name+"_bucket") && strings.Contains(line, `# {trace_id="0af7651916cd43dd8448eb211c80319c"} 0.001`) {
				got++
			}
		}
		if got != want {
			t.Errorf("%s has %d exemplars, want %d", name, got, want)
		}
	}
}
