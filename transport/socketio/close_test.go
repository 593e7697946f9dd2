package socketio

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

func Test_client_leaves_a_namespace_and_the_connection_lives(t *testing.T) {
	joining(t, Config{}, func(t *testing.T, j *joined) {
		j.write("41/ws,")
		if reason := <-j.receiver.closed; reason != ClientNamespaceDisconnect {
			t.Errorf("reason %q, want %q", reason, ClientNamespaceDisconnect)
		}
		if err := j.socket.Emit("late"); !errors.Is(err, ErrClosed) {
			t.Errorf("emit: %v, want %v", err, ErrClosed)
		}
		j.want("2") // and nothing before it
	})
}

func Test_server_ends_a_socket_and_the_connection_lives(t *testing.T) {
	joining(t, Config{}, func(t *testing.T, j *joined) {
		if err := j.socket.Emit("bye"); err != nil {
			t.Fatal(err)
		}
		j.socket.Disconnect(false)
		j.socket.Disconnect(false)
		j.want(`42/ws,["bye"]`, "41/ws,")
		if reason := <-j.receiver.closed; reason != ServerNamespaceDisconnect {
			t.Errorf("reason %q, want %q", reason, ServerNamespaceDisconnect)
		}
		j.write("40/ws,")
		j.read()
	})
}

func Test_server_ends_all_sockets_and_the_connection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newRecorder(), newRecorder()
		a, b := newAccept(Session{SID: "a", Receiver: one}), newAccept(Session{SID: "b", Receiver: two})
		serving(t, Config{}, func(s *Server) { s.Of("/", a); s.Of("/b", b) }, func(t *testing.T, r *rig) {
			c := r.join("/")
			c.write("40/b,")
			c.want(`40/b,{"sid":"b"}`)
			(<-a.sockets).Disconnect(true)
			c.want("41", "41/b,")
			_, _, err := c.conn.Read(t.Context())
			if websocket.CloseStatus(err) != websocket.StatusNoStatusRcvd {
				t.Errorf("ended by %v, want an empty close frame", err)
			}
			for _, rec := range []*recorder{one, two} {
				if reason := <-rec.closed; reason != ServerNamespaceDisconnect {
					t.Errorf("reason %q, want %q", reason, ServerNamespaceDisconnect)
				}
			}
		})
	})
}

func Test_polling_client_is_told_of_the_end(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*Socket)
		want string
	}{
		"disconnect all": {func(s *Socket) { s.Disconnect(true) }, "41\x1e1"},
		"close engine":   {func(s *Socket) { s.CloseEngine(ServerShuttingDown) }, "1"},
	} {
		for _, pending := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a := newAccept(Session{SID: "s"})
					serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
						sid := r.open()
						r.wantPost(sid, "40")
						r.wantGet(sid, `40{"sid":"s"}`)
						var got <-chan string
						if pending {
							got = r.goGet(sid)
							synctest.Wait()
						}
						c.end(<-a.sockets)
						if !pending {
							got = r.goGet(sid)
						}
						if body := <-got; body != c.want {
							t.Errorf("GET: %q, want %q", body, c.want)
						}
						r.wantGone(sid)
					})
				})
			})
		}
	}
}

func Test_closed_polling_session_waits_only_so_long_for_a_get(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccept(Session{SID: "s"})
		serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			sid := r.open()
			r.wantPost(sid, "40")
			r.wantGet(sid, `40{"sid":"s"}`)
			(<-a.sockets).CloseEngine(ServerShuttingDown)
			if status, _ := r.post(sid, "4x"); status != 400 {
				t.Errorf("POST to a closed session: %d, want 400", status)
			}
			pass(lingering)
			synctest.Wait()
			r.wantGone(sid)
		})
	})
}

func Test_reasons_of_the_end(t *testing.T) {
	for want, end := range map[Reason]func(j *joined){
		TransportClose: func(j *joined) { go func() { _ = j.conn.Close(websocket.StatusNormalClosure, "") }() },
		TransportError: func(j *joined) { _ = j.conn.CloseNow() },
		ParseError:     func(j *joined) { j.write("4abc") },
		PingTimeout:    func(*joined) {},
		ServerShuttingDown: func(j *joined) {
			go func() { _ = j.rig.server.Close() }()
		},
	} {
		t.Run(string(want), func(t *testing.T) {
			joining(t, Config{}, func(t *testing.T, j *joined) {
				end(j)
				if want != TransportError && want != TransportClose {
					for {
						if _, _, err := j.conn.Read(t.Context()); err != nil {
							break
						}
					}
				}
				if reason := <-j.receiver.closed; reason != want {
					t.Errorf("reason %q, want %q", reason, want)
				}
			})
		})
	}
}

func Test_engine_close_packet_over_websocket_closes(t *testing.T) {
	joining(t, Config{}, func(t *testing.T, j *joined) {
		j.write("1")
		j.wantClosed()
		if reason := <-j.receiver.closed; reason != TransportClose {
			t.Errorf("reason %q, want %q", reason, TransportClose)
		}
	})
}

func Test_oversize_message_is_closed_with_1009(t *testing.T) {
	joining(t, Config{Config: wsframe.Config{MaxPayload: 100}}, func(t *testing.T, j *joined) {
		exact := `42/ws,["e","` + strings.Repeat("x", 86) + `"]`
		j.write(exact)
		<-j.receiver.events
		j.write(exact + " ")
		_, _, err := j.conn.Read(t.Context())
		if websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
			t.Errorf("ended by %v, want 1009", err)
		}
	})
}

func Test_drain_closes_in_waves_and_takes_nobody_new(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccept(Session{})
		serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			start := time.Now()
			var mu sync.Mutex
			ends := map[time.Duration]int{}
			var clients sync.WaitGroup
			for range 40 {
				c := r.join("/")
				clients.Go(func() {
					for {
						if _, _, err := c.conn.Read(context.Background()); err != nil {
							break
						}
					}
					mu.Lock()
					ends[time.Since(start)]++
					mu.Unlock()
				})
			}
			drained := make(chan error, 1)
			go func() { drained <- r.server.Drain(t.Context(), time.Second) }()
			synctest.Wait()
			if status, _, h := r.do("GET", "EIO=4&transport=polling", ""); status != 503 || h.Get("Retry-After") == "" {
				t.Errorf("handshake while draining: %d, want 503 with Retry-After", status)
			}
			if err := <-drained; err != nil {
				t.Fatal(err)
			}
			clients.Wait()
			total := 0
			for at, n := range ends {
				total += n
				if at > 1100*time.Millisecond || n > 15 {
					t.Errorf("%d closed after %v, want few at a time within a second", n, at)
				}
			}
			if total != 40 || len(ends) < 8 {
				t.Errorf("%d closed in %d waves, want 40 in many", total, len(ends))
			}
		})
	})
}

func Test_drain_gives_up_with_its_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving(t, Config{}, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
			r.join("/")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := r.server.Drain(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want the deadline", err)
			}
		})
	})
}
