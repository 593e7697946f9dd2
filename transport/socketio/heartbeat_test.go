package socketio

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func Test_websocket_pings_every_interval_after_the_pong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			c := r.openWS()
			start := time.Now()
			for i := range 3 {
				c.want("2")
				if got, want := time.Since(start), time.Duration(i+1)*25*time.Second; got != want {
					t.Errorf("ping after %v, want %v", got, want)
				}
				c.write("3")
			}
			c.write("4alive")
			c.want("4alive")
		})
	})
}

func Test_websocket_that_sends_no_pong_is_closed_at_the_timeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan Reason, 1)
		c := Config{Observer: Observer{Closed: func(_ Transport, reason Reason) { closed <- reason }}}
		echoing(t, c, func(t *testing.T, r *rig) {
			start := time.Now()
			c := r.openWS()
			c.want("2")
			c.wantClosed()
			if got := time.Since(start); got != 45*time.Second {
				t.Errorf("closed after %v, want 45s", got)
			}
			if reason := <-closed; reason != PingTimeout {
				t.Errorf("reason %q, want %q", reason, PingTimeout)
			}
		})
	})
}

func Test_websocket_of_a_peer_that_vanished_leaves_nothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			r.openWS() // never reads again
			pass(45*time.Second + closeGrace)
			synctest.Wait()
			if n := r.server.Sessions(); n != 0 {
				t.Errorf("%d sessions, want 0", n)
			}
		})
	})
}

func Test_any_packet_extends_the_wait_for_a_pong_once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			start := time.Now()
			c := r.openWS()
			c.want("2")
			pass(19 * time.Second)
			c.write("4a")
			c.want("4a")
			pass(10 * time.Second)
			c.write("4b")
			c.want("4b")
			c.wantClosed()
			if got := time.Since(start); got != (25+19+20)*time.Second {
				t.Errorf("closed after %v, want 64s", got)
			}
		})
	})
}

func Test_polling_gets_its_ping_alone_and_answers_by_post(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			for range 3 {
				start := time.Now()
				r.wantGet(sid, "2")
				if got := time.Since(start); got != 25*time.Second {
					t.Errorf("ping after %v, want 25s", got)
				}
				r.wantPost(sid, "3")
			}
		})
	})
}

func Test_polling_session_without_polls_is_gone_at_the_timeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			pass(45 * time.Second)
			r.wantGone(sid)
		})
	})
}

func Test_ping_from_a_client_closes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			c := r.openWS()
			c.write("2")
			c.wantClosed()
		})
	})
}

func Test_client_is_not_blamed_for_a_receiver_that_blocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := make(chan struct{})
		entered := make(chan struct{})
		a := newAccept(Session{Receiver: blocker{entered, blocked}})
		serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			c := r.join("/")
			c.write(`42["slow"]`)
			<-entered
			c.want("2")
			write := make(chan error)
			go func() { write <- c.conn.Write(context.Background(), websocket.MessageText, []byte("3")) }()
			pass(3 * time.Minute)
			close(blocked)
			if err := <-write; err != nil {
				t.Fatal(err)
			}
			c.want("2")
		})
	})
}

// blocker is a Receiver whose Event waits.
type blocker struct{ entered, leave chan struct{} }

func (b blocker) Event(string, []json.RawMessage, [][]byte, func(...any)) {
	b.entered <- struct{}{}
	<-b.leave
}
func (b blocker) Closed(Reason) {}

func Test_attachments_that_never_come_close_the_session(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccept(Session{})
		serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			c := r.join("/")
			start := time.Now()
			c.write(`452-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
			c.writeBinary("one")
			for {
				_, data, err := c.conn.Read(context.Background())
				if err != nil {
					break
				}
				if string(data) == "2" {
					c.write("3") // the pong doesn't count as an attachment
				}
			}
			if got := time.Since(start); got > 75*time.Second {
				t.Errorf("closed after %v, want at most three pings", got)
			}
		})
	})
}
