package socketio

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bms/transport/wsframe"
)

func Test_body_that_trickles_is_cut_off(t *testing.T) {
	echoingInBubble(t, func(t *testing.T, r *rig) {
		sid := r.open()
		start := time.Now()
		conn := r.dial()
		defer conn.Close()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		_, err := io.WriteString(conn, "POST /socket.io/?EIO=4&transport=polling&sid="+sid+" HTTP/1.1\r\nHost: server\r\nContent-Length: 1000\r\n\r\n4")
		for err == nil {
			pass(5 * time.Second)
			_, err = io.WriteString(conn, "x")
			if time.Since(start) > 10*time.Minute {
				t.Fatal("a body of a byte every 5s was taken for ten minutes")
			}
		}
		synctest.Wait()
		r.wantGone(sid)
	})
}

// echoingInBubble is echoing in a bubble of its own.
func echoingInBubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { echoing(t, Config{}, test) })
}

func Test_message_in_fragments_that_never_end_is_no_sign_of_life(t *testing.T) {
	echoingInBubble(t, func(t *testing.T, r *rig) {
		start := time.Now()
		conn, reader := r.rawWS()
		defer conn.Close()
		go func() { _, _ = io.Copy(io.Discard, reader) }()
		_, err := io.WriteString(conn, "\x01\x81\x00\x00\x00\x004")
		for err == nil {
			pass(10 * time.Millisecond)
			_, err = io.WriteString(conn, "\x00\x81\x00\x00\x00\x00x")
		}
		if got := time.Since(start); got < 45*time.Second || got > 45*time.Second+2*closeGrace {
			t.Errorf("closed after %v, want 45s", got)
		}
	})
}

func Test_attachments_are_bounded_together(t *testing.T) {
	joining(t, Config{Config: wsframe.Config{MaxPayload: 1000}}, func(t *testing.T, j *joined) {
		j.write(`4510-/ws,["e",{"_placeholder":true,"num":0}]`)
		for range 3 {
			j.writeBinary(strings.Repeat("x", 1000))
		}
		j.writeBinary(strings.Repeat("x", 1000))
		j.wantClosed()
		if reason := <-j.receiver.closed; reason != ParseError {
			t.Errorf("reason %q, want %q", reason, ParseError)
		}
	})
}

func Test_refused_namespaces_without_end_are_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan Reason, 1)
		c := Config{Observer: Observer{Closed: func(_ Transport, r Reason) { closed <- r }}}
		serving(t, c, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
			flood := r.openWS()
			go func() {
				for flood.conn.Write(context.Background(), 1, []byte("40/nowhere")) == nil {
				}
			}()
			if reason := <-closed; reason != RateExceeded {
				t.Errorf("reason %q, want %q", reason, RateExceeded)
			}
		})
	})
}

func Test_disconnect_while_connecting_closes_the_receiver_with_its_reason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder()
		leave := make(chan struct{})
		sockets := make(chan *Socket, 1)
		slow := NamespaceFunc(func(_ context.Context, s *Socket, _ Handshake) (Session, error) {
			sockets <- s
			<-leave
			return Session{Receiver: rec}, nil
		})
		serving(t, Config{}, func(s *Server) { s.Of("/", slow) }, func(t *testing.T, r *rig) {
			for _, c := range []struct {
				end  func(*ws, *Socket)
				want Reason
			}{
				{func(c *ws, _ *Socket) { c.write("41") }, ClientNamespaceDisconnect},
				{func(_ *ws, s *Socket) { s.Disconnect(false) }, ServerNamespaceDisconnect},
				{func(_ *ws, s *Socket) { s.CloseEngine(ForcedServerClose) }, ForcedServerClose},
			} {
				client := r.openWS()
				client.write("40")
				c.end(client, <-sockets)
				synctest.Wait()
				leave <- struct{}{}
				if reason := <-rec.closed; reason != c.want {
					t.Errorf("reason %q, want %q", reason, c.want)
				}
			}
		})
	})
}
