package plainws

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

func Test_close_tells_code_and_reason_after_what_was_given(t *testing.T) {
	var rec *recorder
	bubble(t, Config{}, func() Session { rec = newRecorder(); return Session{Receiver: rec} }, func(r *rig, conns <-chan *Conn) {
		c := r.connect()
		conn := <-conns
		c.write(`{"op":"refresh","id":1}`)
		o := <-rec.ops
		o.ack("no")
		conn.Close(StatusTokenEnded, "token_expired")
		conn.Close(StatusRightsEnded, "too late")
		c.want(`{"type":"ack","id":1,"data":"no"}`)
		c.wantClose(StatusTokenEnded, "token_expired")
		if reason := <-rec.closed; reason != "token_expired" {
			t.Errorf("receiver told %q, want token_expired", reason)
		}
		r.wantClosed(closing{StatusTokenEnded, "token_expired"})
	})
}

func Test_a_connection_closed_before_its_upgrade_is_told_after_it(t *testing.T) {
	h := HandlerFunc(func(_ context.Context, c *Conn, _ *http.Request) (Session, error) {
		c.Close(StatusRightsEnded, "rights_ended")
		c.Wake()
		return Session{Receiver: echo{}}, nil
	})
	serving(t, Config{}, h, func(r *rig) {
		r.connect().wantClose(StatusRightsEnded, "rights_ended")
		r.wantClosed(closing{StatusRightsEnded, "rights_ended"})
	})
}

func Test_a_client_that_ignores_its_dismissal_is_dropped(t *testing.T) {
	bubble(t, Config{}, func() Session { return Session{} }, func(r *rig, conns <-chan *Conn) {
		c := r.upgrade()
		c.pings(true)
		(<-conns).Close(StatusDisconnected, "kicked")
		synctest.Wait()
		if n := r.server.Connections(); n != 1 {
			t.Fatalf("%d connections, want the one that closes", n)
		}
		pass(closeGrace)
		synctest.Wait()
		if n := r.server.Connections(); n != 0 {
			t.Errorf("%d connections after the grace, want 0", n)
		}
	})
}

func Test_a_session_whose_client_left_during_the_upgrade_is_closed(t *testing.T) {
	var rec *recorder
	h := HandlerFunc(func(_ context.Context, _ *Conn, r *http.Request) (Session, error) {
		return Session{Receiver: rec}, nil
	})
	serving(t, Config{}, h, func(r *rig) {
		rec = newRecorder()
		c := r.upgrade()
		_ = c.conn.Close()
		if reason := <-rec.closed; reason != ReasonTransportError {
			t.Errorf("closed for %q, want %q", reason, ReasonTransportError)
		}
		// Without a hijacker, as under HTTP/2, the upgrade fails.
		w := &plainWriter{}
		q, err := http.NewRequest(http.MethodGet, "http://server/", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
		}
		r.server.Endpoint(h).ServeHTTP(w, q)
		if reason := <-rec.closed; reason != ReasonTransportError || w.status/100 != 5 {
			t.Errorf("closed for %q, status %d, want %q and 5xx", reason, w.status, ReasonTransportError)
		}
	})
}

// plainWriter is a ResponseWriter that can't be hijacked.
type plainWriter struct {
	header http.Header
	status int
}

func (w *plainWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

func (w *plainWriter) Write(p []byte) (int, error) { return len(p), nil }

func (w *plainWriter) WriteHeader(status int) { w.status = status }

func Test_drain_sends_all_away_in_waves(t *testing.T) {
	serving(t, Config{}, newEverybody(Session{}), func(r *rig) {
		const clients = 200
		start := time.Now()
		gone := make(chan time.Duration, clients)
		for range clients {
			c := r.connect()
			go func() {
				_, _, err := c.conn.Read(context.Background())
				if code := websocket.CloseStatus(err); code != StatusRestart {
					t.Errorf("ended with %v, want %d", err, StatusRestart)
				}
				gone <- time.Since(start)
			}()
		}
		if err := r.server.Drain(context.Background(), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		seconds := map[int]int{}
		for range clients {
			seconds[int((<-gone).Seconds())]++
		}
		for second := range 5 {
			if n := seconds[second]; n < 20 || n > 60 {
				t.Errorf("%d clients in second %d, want about 40: %v", n, second, seconds)
			}
		}
		if status, _, header := r.ask("GET"); status != 503 || header.Get("Retry-After") != "2" {
			t.Errorf("after draining: %d, Retry-After %q, want 503 in 2 s", status, header.Get("Retry-After"))
		}
	})
}

func Test_drain_without_clients_returns_at_once_and_with_stuck_ones_when_told(t *testing.T) {
	serving(t, Config{}, newEverybody(Session{}), func(r *rig) {
		start := time.Now()
		if err := r.server.Drain(context.Background(), 5*time.Second); err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %v, want nil at once", err, time.Since(start))
		}
	})
	serving(t, Config{}, newEverybody(Session{}), func(r *rig) {
		r.upgrade() // answers no close frame
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := r.server.Drain(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want the context's error", err)
		}
	})
}

func Test_config_errors_name_the_field(t *testing.T) {
	for name, c := range map[string]Config{
		"PingInterval": {Config: wsframe.Config{PingInterval: -1}}, "MaxPayload": {Config: wsframe.Config{MaxPayload: -1}}, "ControlBytes": {Config: wsframe.Config{ControlBytes: -1}}, "CompressFrom": {Config: wsframe.Config{CompressFrom: -1}},
	} {
		if _, err := New(c); err == nil || err.Error() != "plainws: negative Config."+name {
			t.Errorf("error %v, want one that names %s", err, name)
		}
	}
}
