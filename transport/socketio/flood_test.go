package socketio

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

// Floods of frames of every kind, before and after a namespace is joined.
var flooding = map[string]string{
	"fragments":       "\x00\x81\x00\x00\x00\x00x",
	"empty_fragments": "\x00\x80\x00\x00\x00\x00",
	"pings":           "\x89\x80\x00\x00\x00\x00",
	"pongs":           "\x8a\x80\x00\x00\x00\x00",
	"packets":         "\x81\x81\x00\x00\x00\x006",
}

// flood sends a frame until the connection is closed, and gives how many were
// taken.
func flood(conn net.Conn, reader io.Reader, name string) (frames int) {
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	if strings.HasSuffix(name, "fragments") { // of a message
		_, _ = io.WriteString(conn, "\x01\x80\x00\x00\x00\x00")
	}
	for {
		if _, err := io.WriteString(conn, flooding[name]); err != nil {
			return frames
		}
		frames++
	}
}

func Test_floods_of_frames_are_cut_off_at_once(t *testing.T) {
	for name := range flooding {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				closed := make(chan Reason, 10)
				c := Config{Config: wsframe.Config{FrameRate: 20}, Observer: Observer{Closed: func(_ Transport, r Reason) { closed <- r }}}
				serving(t, c, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
					for joined, most := range map[bool]int{false: maxEarly, true: 200} {
						conn, reader := r.rawWS()
						defer conn.Close()
						if joined {
							if _, err := conn.Write(maskedText("40")); err != nil {
								t.Fatal(err)
							}
							if _, err := reader.Discard(2); err != nil { // the answer has begun
								t.Fatal(err)
							}
						}
						begun := time.Now()
						// What is in the server's read buffer when it says no was taken
						// from the connection, and no more.
						if frames := flood(conn, reader, name); frames < most-10 || frames > most+100 {
							t.Errorf("joined %v: %d frames were taken, want about %d", joined, frames, most)
						}
						if reason := <-closed; reason != RateExceeded {
							t.Errorf("joined %v: reason %q, want %q", joined, reason, RateExceeded)
						}
						if took := time.Since(begun); took != 0 {
							t.Errorf("joined %v: cut off after %v, want at once", joined, took)
						}
					}
				})
			})
		})
	}
}

func Test_who_has_joined_nothing_may_not_send_much_by_polling_either(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving(t, Config{}, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
			sid := r.open()
			r.wantPost(sid, strings.Repeat("6\x1e", maxEarly-1)+"6")
			if status, _ := r.post(sid, "6"); status != 400 {
				t.Errorf("packet %d: %d, want 400", maxEarly+1, status)
			}
			r.wantGone(sid)
		})
	})
}

func Test_packets_before_connect_close_the_session(t *testing.T) {
	for name, send := range map[string]func(c *ws){
		"event":         func(c *ws) { c.write(`42["e"]`) },
		"ack":           func(c *ws) { c.write(`431[]`) },
		"disconnect":    func(c *ws) { c.write(`41`) },
		"binary":        func(c *ws) { c.writeBinary("x") },
		"binary_packet": func(c *ws) { c.writeBinary(`40`) },
		"attachments":   func(c *ws) { c.write(`451-["e",{"_placeholder":true,"num":0}]`) },
		"probe":         func(c *ws) { c.write("2probe") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				closed := make(chan Reason, 1)
				c := Config{Observer: Observer{Closed: func(_ Transport, r Reason) { closed <- r }}}
				serving(t, c, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
					client := r.openWS()
					send(client)
					client.wantClosed()
					if reason := <-closed; reason != ParseError {
						t.Errorf("reason %q, want %q", reason, ParseError)
					}
				})
			})
		})
	}
}

// An ack id is the client's own affair: each event is answered with its own.
func Test_ack_id_that_is_reused_is_answered_each_time(t *testing.T) {
	joining(t, Config{}, func(t *testing.T, j *joined) {
		j.write(`42/ws,7["first"]`)
		j.write(`42/ws,7["second"]`)
		first, second := <-j.receiver.events, <-j.receiver.events
		second.ack("second")
		first.ack("first")
		second.ack("again")
		j.want(`43/ws,7["second"]`, `43/ws,7["first"]`)
	})
}

func Test_polling_bodies_that_lie_or_never_end(t *testing.T) {
	const start = "POST /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\r\nHost: server\r\nConnection: close\r\n"
	for name, c := range map[string]struct {
		write  func(conn net.Conn, start string)
		status string
		gone   bool // the session, afterwards
	}{
		"announced_too_long": {func(conn net.Conn, start string) {
			_, _ = io.WriteString(conn, start+"Content-Length: 9223372036854775807\r\n\r\n4x")
		}, "413", false},
		"endless_chunks": {func(conn net.Conn, start string) {
			_, err := io.WriteString(conn, start+"Transfer-Encoding: chunked\r\n\r\n")
			for err == nil {
				_, err = io.WriteString(conn, "64\r\n"+strings.Repeat("x", 100)+"\r\n")
			}
		}, "413", false},
		"shorter_than_announced": {func(conn net.Conn, start string) {
			_, _ = io.WriteString(conn, start+"Content-Length: 100\r\n\r\n4x")
		}, "400", true},
		"gzip_is_not_unpacked": {func(conn net.Conn, start string) {
			_, _ = io.WriteString(conn, start+"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00")
		}, "400", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				echoing(t, Config{Config: wsframe.Config{MaxPayload: 1000}}, func(t *testing.T, r *rig) {
					sid := r.open()
					conn := r.dial()
					defer conn.Close()
					go c.write(conn, strings.Replace(start, "SID", sid, 1))
					answer := make([]byte, len("HTTP/1.1 400"))
					if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 "+c.status {
						t.Fatalf("answer %q, %v, want %s", answer, err, c.status)
					}
					go func() { _, _ = io.Copy(io.Discard, conn) }()
					if c.gone {
						r.wantGone(sid)
						return
					}
					r.wantPost(sid, "4still")
					r.wantGet(sid, "4still")
				})
			})
		})
	}
}

// Who is cut off for bad packets is not read from for long: neither floods nor
// waiting for its close frame.
func Test_who_floods_on_after_a_bad_packet_is_cut_off(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving(t, Config{}, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
			client := r.openWS()
			client.write("9")
			begun := time.Now()
			for client.conn.Write(context.Background(), websocket.MessageText, []byte("6")) == nil {
			}
			if took := time.Since(begun); took > time.Second {
				t.Errorf("cut off after %v, want at once", took)
			}
		})
	})
}
