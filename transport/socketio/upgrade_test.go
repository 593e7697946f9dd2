package socketio

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func Test_upgrade_goes_over_and_ends_the_pending_get_with_noop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			pending := r.goGet(sid)
			synctest.Wait()
			c := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
			c.write("2probe")
			c.want("3probe")
			if body := <-pending; body != "6" {
				t.Errorf("pending GET: %q, want 6", body)
			}
			c.write("5")
			c.write("4hello")
			c.want("4hello")
			if status, body := r.get(sid); status != 400 || body != `{"code":3,"message":"Bad request"}` {
				t.Errorf("GET after the upgrade: %d %q, want 400 code 3", status, body)
			}
			if status, _ := r.post(sid, "4x"); status != 400 {
				t.Errorf("POST after the upgrade: %d, want 400", status)
			}
			second := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
			second.wantClosed()
			c.write("4still")
			c.want("4still")
		})
	})
}

// goGet polls on another goroutine and gives the body, or the error's text.
func (r *rig) goGet(sid string) <-chan string {
	got := make(chan string, 1)
	go func() {
		_, body, _, err := r.try(context.Background(), "GET", "EIO=4&transport=polling&sid="+sid, "")
		if err != nil {
			body = err.Error()
		}
		got <- body
	}()
	return got
}

func Test_get_after_the_probe_is_answered_so_that_the_client_can_go_on(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			c := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
			c.write("2probe")
			c.want("3probe")
			start := time.Now()
			r.wantGet(sid, "6")
			if got := time.Since(start); got > 50*time.Millisecond {
				t.Errorf("answered after %v, want at once", got)
			}
		})
	})
}

func Test_packets_queued_while_upgrading_come_over_the_websocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &backlog{}
		a := newAccept(Session{Source: source, SID: "s"})
		serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			sid := r.open()
			r.wantPost(sid, "40")
			r.wantGet(sid, `40{"sid":"s"}`)
			socket := <-a.sockets
			c := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
			c.write("2probe")
			c.want("3probe")
			source.put(AppendEvent(nil, "/", "one"))
			socket.Wake()
			if err := socket.Emit("two"); err != nil {
				t.Fatal(err)
			}
			c.write("5")
			c.want(`42["two"]`, `42["one"]`)
		})
	})
}

func Test_upgrade_that_goes_wrong_leaves_the_session_polling(t *testing.T) {
	for name, spoil := range map[string]func(c *ws){
		"wrong probe":    func(c *ws) { c.write("2prob") },
		"binary probe":   func(c *ws) { c.writeBinary("2probe") },
		"no upgrade":     func(c *ws) { c.write("2probe"); c.want("3probe"); c.write("4x") },
		"never a probe":  func(*ws) {},
		"probe and wait": func(c *ws) { c.write("2probe"); c.want("3probe") },
		"client closes":  func(c *ws) { _ = c.conn.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				echoing(t, Config{}, func(t *testing.T, r *rig) {
					sid := r.open()
					c := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
					spoil(c)
					c.wantClosed()
					synctest.Wait()
					r.wantPost(sid, "4polling")
					r.wantGet(sid, "4polling")
					// And it may try again.
					again := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
					again.write("2probe")
					again.want("3probe")
					again.write("5")
					again.write("4upgraded")
					again.want("4upgraded")
				})
			})
		})
	}
}

func Test_second_websocket_while_upgrading_is_closed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			c := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
			c.write("2probe")
			c.want("3probe")
			second := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
			second.wantClosed()
			c.write("5")
			c.write("4first")
			c.want("4first")
		})
	})
}

func Test_session_that_ends_while_upgrading_closes_the_websocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			c := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
			c.write("2probe")
			c.want("3probe")
			r.wantPost(sid, "1")
			c.wantClosed()
		})
	})
}

func Test_ping_unanswered_at_the_upgrade_is_forgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			r.wantGet(sid, "2")
			c := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
			c.write("2probe")
			c.want("3probe")
			c.write("5")
			start := time.Now()
			c.want("2")
			if got := time.Since(start); got != 25*time.Second {
				t.Errorf("next ping after %v, want 25s", got)
			}
		})
	})
}
