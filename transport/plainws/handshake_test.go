package plainws

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

// ask sends a request as the headers, pairs of name and value, have it; those
// of a good handshake are there unless they are set to "".
func (r *rig) ask(method string, headers ...string) (status int, body string, header http.Header) {
	r.t.Helper()
	q, err := http.NewRequestWithContext(context.Background(), method, "http://server/", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	good := []string{"Connection", "keep-alive, Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	for i := 0; i < len(good); i += 2 {
		q.Header.Set(good[i], good[i+1])
	}
	for i := 0; i < len(headers); i += 2 {
		q.Header.Del(headers[i])
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			q.Header.Add(headers[i], headers[i+1])
		}
	}
	answer, err := r.client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return answer.StatusCode, "", answer.Header
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(text), answer.Header
}

func Test_what_is_no_handshake_is_answered_with_an_error_and_asks_nobody(t *testing.T) {
	h := HandlerFunc(func(context.Context, *Conn, *http.Request) (Session, error) {
		t.Error("the handler was asked")
		return Session{}, errors.New("no")
	})
	serving(t, Config{}, h, func(r *rig) {
		for _, c := range []struct {
			method  string
			headers []string
			status  int
			reason  string
		}{
			{"GET", []string{"Connection", "", "Upgrade", ""}, 426, ReasonUpgradeRequired},
			{"GET", []string{"Upgrade", "h2c"}, 426, ReasonUpgradeRequired},
			{"GET", []string{"Connection", "keep-alive"}, 426, ReasonUpgradeRequired},
			{"POST", nil, 405, ReasonMethodNotAllowed},
			{"GET", []string{"Sec-WebSocket-Version", "8"}, 400, ReasonBadHandshake},
			{"GET", []string{"Sec-WebSocket-Key", ""}, 400, ReasonBadHandshake},
			{"GET", []string{"Sec-WebSocket-Key", "AAAA"}, 400, ReasonBadHandshake},
			{"GET", []string{"Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}, 400, ReasonBadHandshake},
			{"GET", []string{"Origin", "null"}, 403, ReasonForbiddenOrigin},
			{"GET", []string{"Origin", "http://server.evil"}, 403, ReasonForbiddenOrigin},
			{"GET", []string{"Origin", "http://server:8080"}, 403, ReasonForbiddenOrigin},
			{"GET", []string{"Origin", "http://server", "Origin", "http://server"}, 403, ReasonForbiddenOrigin},
		} {
			status, body, header := r.ask(c.method, c.headers...)
			if status != c.status || body == "" || header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s with %q: %d %q, want %d and a text", c.method, c.headers, status, body, c.status)
			}
			r.seen.mu.Lock()
			if got := r.seen.refused[len(r.seen.refused)-1]; got != c.reason {
				t.Errorf("%s with %q: refused as %q, want %q", c.method, c.headers, got, c.reason)
			}
			r.seen.mu.Unlock()
		}
		if n := r.server.Connections(); n != 0 {
			t.Errorf("%d connections, want 0", n)
		}
	})
}

func Test_origins_are_those_of_the_host_or_as_configured(t *testing.T) {
	serving(t, Config{}, newEverybody(Session{}), func(r *rig) {
		for _, headers := range [][]string{nil, {"Origin", "http://server"}, {"Origin", "https://SERVER"}} {
			if status, body, _ := r.ask("GET", headers...); status != 101 {
				t.Errorf("%q: %d %q, want 101", headers, status, body)
			}
		}
	})
	c := Config{Config: wsframe.Config{AllowOrigin: func(_ *http.Request, origin string) bool { return origin == "https://app.example.com" }}}
	serving(t, c, newEverybody(Session{}), func(r *rig) {
		for origin, want := range map[string]int{
			"https://app.example.com": 101, "https://app.example.com.evil": 403, "https://APP.example.com": 403,
			"https://app.example.com:444": 403, "http://app.example.com": 403, "http://server": 403, "null": 403,
		} {
			if status, _, _ := r.ask("GET", "Origin", origin); status != want {
				t.Errorf("%s: %d, want %d", origin, status, want)
			}
		}
	})
}

func Test_who_the_handler_refuses_gets_its_answer_and_no_connection(t *testing.T) {
	no := &Refusal{Status: 429, Message: "too often", RetryAfter: 1500 * time.Millisecond}
	h := HandlerFunc(func(context.Context, *Conn, *http.Request) (Session, error) { return Session{}, no })
	serving(t, Config{}, h, func(r *rig) {
		status, body, header := r.ask("GET")
		if status != 429 || !strings.Contains(body, "too often") || header.Get("Retry-After") != "2" {
			t.Errorf("%d %q, Retry-After %q, want 429 in 2 s", status, body, header.Get("Retry-After"))
		}
		if n := r.server.Connections(); n != 0 || len(r.seen.refused) != 0 {
			t.Errorf("%d connections, %q counted here, want none: the handler counts its own", n, r.seen.refused)
		}
	})
	panics := HandlerFunc(func(context.Context, *Conn, *http.Request) (Session, error) { panic("a mistake") })
	serving(t, Config{}, panics, func(r *rig) {
		if status, body, _ := r.ask("GET"); status != 500 || strings.Contains(body, "mistake") {
			t.Errorf("%d %q, want 500 without the reason", status, body)
		}
	})
}

func Test_config_refuse_writes_all_refusals(t *testing.T) {
	fault := errors.New("a fault")
	var got []error
	c := Config{Refuse: func(w http.ResponseWriter, _ *http.Request, err error) {
		got = append(got, err)
		w.WriteHeader(http.StatusTeapot)
	}}
	h := HandlerFunc(func(context.Context, *Conn, *http.Request) (Session, error) { return Session{}, fault })
	serving(t, c, h, func(r *rig) {
		for _, headers := range [][]string{nil, {"Upgrade", ""}} {
			if status, _, _ := r.ask("GET", headers...); status != http.StatusTeapot {
				t.Errorf("%d, want what Refuse says", status)
			}
		}
		if len(got) != 2 || !errors.Is(got[0], fault) || !errors.Is(got[1], upgradeRequired) {
			t.Errorf("refused with %v, want the handler's error and an upgrade required", got)
		}
	})
}

func Test_connections_are_bounded(t *testing.T) {
	serving(t, Config{MaxConnections: 2}, newEverybody(Session{Receiver: echo{}}), func(r *rig) {
		first, second := r.connect(), r.connect()
		status, _, header := r.ask("GET")
		if status != 503 || header.Get("Retry-After") != "5" {
			t.Errorf("third: %d, Retry-After %q, want 503 in 5 s", status, header.Get("Retry-After"))
		}
		second.write(`{"op":"x","id":1}`)
		second.want(`{"type":"ack","id":1,"data":{"args":null,"op":"x"}}`)
		_ = first.conn.Close(websocket.StatusNormalClosure, "")
		synctest.Wait()
		if status, _, _ := r.ask("GET"); status != 101 {
			t.Errorf("after one has gone: %d, want 101", status)
		}
	})
}

func Test_the_handler_has_a_deadline_and_a_client_that_leaves_ends_it(t *testing.T) {
	for name, leave := range map[string]bool{"slow": false, "gone": true} {
		t.Run(name, func(t *testing.T) {
			var asked chan struct{} // made in the bubble
			var ended chan time.Duration
			h := HandlerFunc(func(ctx context.Context, _ *Conn, _ *http.Request) (Session, error) {
				start := time.Now()
				close(asked)
				<-ctx.Done()
				ended <- time.Since(start)
				return Session{}, ctx.Err()
			})
			serving(t, Config{}, h, func(r *rig) {
				asked, ended = make(chan struct{}), make(chan time.Duration, 1)
				conn := r.dial()
				go func() {
					_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
						"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
					if !leave {
						_, _ = io.Copy(io.Discard, conn)
					}
				}()
				<-asked
				want := 10 * time.Second
				if leave {
					synctest.Wait()
					_ = conn.Close()
					want = 0
				}
				if got := <-ended; got != want {
					t.Errorf("context ended after %v, want %v", got, want)
				}
				_ = conn.Close()
			})
		})
	}
}

func Test_a_subprotocol_is_answered_if_offered(t *testing.T) {
	serving(t, Config{}, newEverybody(Session{Subprotocol: "v1.json"}), func(r *rig) {
		for offered, want := range map[string]string{"v1.json, bearer.x": "v1.json", "bearer.x": "", "": ""} {
			status, _, header := r.ask("GET", "Sec-WebSocket-Protocol", offered)
			if got := header.Get("Sec-WebSocket-Protocol"); status != 101 || got != want {
				t.Errorf("offered %q: %d %q, want %q", offered, status, got, want)
			}
		}
	})
}
