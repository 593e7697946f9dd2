package socketio

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bms/transport/wsframe"
)

// numbered is the frame of event number n.
func numbered(n int) []byte { return AppendEvent(nil, "/", "e", fmt.Appendf(nil, "%d", n)) }

// Invariant 5: a slow or stuck socket costs bounded memory and delays no one
// but itself.
func Test_source_is_not_asked_while_the_socket_is_blocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &backlog{}
		a := newAccept(Session{Source: source})
		serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			slow := r.join("/")
			socket := <-a.sockets
			for n := range 1000 {
				source.put(numbered(n))
				socket.Wake()
			}
			synctest.Wait()
			if _, given := source.counts(); given != 1 {
				t.Errorf("%d frames taken for a client that reads nothing, want 1", given)
			}
			for n := range 1000 {
				slow.want(fmt.Sprintf(`42["e",%d]`, n))
			}
			synctest.Wait()
			asked, _ := source.counts()
			pass(20 * time.Second)
			if again, _ := source.counts(); again != asked {
				t.Errorf("source asked %d times without a wake-up, want none", again-asked)
			}
		})
	})
}

func Test_client_that_takes_nothing_for_the_write_timeout_is_closed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &backlog{}
		rec := newRecorder()
		a := newAccept(Session{Source: source, Receiver: rec})
		serving(t, Config{Config: wsframe.Config{PingInterval: time.Hour}}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			r.join("/")
			start := time.Now()
			source.put(numbered(1))
			(<-a.sockets).Wake()
			if reason := <-rec.closed; reason != TooSlow {
				t.Errorf("reason %q, want %q", reason, TooSlow)
			}
			if got := time.Since(start); got < 30*time.Second || got > 34*time.Second {
				t.Errorf("closed after %v, want 30s and an eighth at most", got)
			}
		})
	})
}

func Test_client_that_takes_a_byte_now_and_then_gets_everything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &backlog{}
		a := newAccept(Session{SID: "s", Source: source})
		serving(t, Config{Config: wsframe.Config{PingInterval: time.Hour}}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			conn, reader := r.rawWS()
			defer conn.Close()
			if _, err := conn.Write(maskedText("40")); err != nil {
				t.Fatal(err)
			}
			frames := string(wsframe.Text([]byte(`40{"sid":"s"}`)))
			for n := range 20 {
				source.put(numbered(n))
				frames += string(numbered(n))
			}
			(<-a.sockets).Wake()
			var got []byte
			for len(got) < len(frames) {
				b, err := reader.ReadByte()
				if err != nil {
					t.Fatalf("after %d bytes: %v", len(got), err)
				}
				got = append(got, b)
				if len(got)%40 == 0 {
					pass(29 * time.Second)
				}
			}
			if string(got) != frames {
				t.Errorf("got %q, want %q", got, frames)
			}
		})
	})
}

// rawWS opens a session over a WebSocket whose bytes the test reads itself,
// at most 16 at a time.
func (r *rig) rawWS() (net.Conn, *bufio.Reader) {
	r.t.Helper()
	conn := r.dial()
	_, err := io.WriteString(conn, "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if err != nil {
		r.t.Fatal(err)
	}
	reader := bufio.NewReaderSize(conn, 16)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != 101 {
		r.t.Fatalf("handshake: %v, %v", answer, err)
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(reader, head); err != nil {
		r.t.Fatal(err)
	}
	if _, err := reader.Discard(int(head[1])); err != nil { // the open packet is short
		r.t.Fatal(err)
	}
	return conn, reader
}

// maskedText is a client's text frame of up to 125 bytes, masked with zeros.
func maskedText(text string) []byte {
	return append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
}

// Invariant 9: every queue has a bound and a written answer to "full".
func Test_client_that_doesnt_take_its_answers_is_closed_when_they_are_too_many(t *testing.T) {
	for name, c := range map[string]Config{
		"frames": {Config: wsframe.Config{ControlFrames: 10}},
		"bytes":  {Config: wsframe.Config{ControlBytes: 1000}},
	} {
		for _, transport := range []Transport{WebSocket, Polling} {
			t.Run(name+" "+string(transport), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rec := newRecorder()
					a := newAccept(Session{Receiver: rec})
					serving(t, c, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
						if transport == WebSocket {
							r.join("/")
						} else {
							r.wantPost(r.open(), "40")
						}
						socket := <-a.sockets
						synctest.Wait()
						var err error
						sent := 0
						for ; err == nil && sent < 100; sent++ {
							err = socket.Emit("e", strings.Repeat("x", 90))
							synctest.Wait()
						}
						if !errors.Is(err, ErrTooSlow) || sent > 15 {
							t.Errorf("emit %d: %v, want %v after about ten", sent, err, ErrTooSlow)
						}
						if reason := <-rec.closed; reason != TooSlow {
							t.Errorf("reason %q, want %q", reason, TooSlow)
						}
						if err := socket.Emit("e"); !errors.Is(err, ErrClosed) {
							t.Errorf("emit after: %v, want %v", err, ErrClosed)
						}
					})
				})
			})
		}
	}
}

func Test_control_goes_ahead_of_events_and_namespaces_share_the_turns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := &backlog{}, &backlog{}
		a, b := newAccept(Session{SID: "a", Source: one}), newAccept(Session{SID: "b", Source: two})
		serving(t, Config{}, func(s *Server) { s.Of("/", a); s.Of("/b", b) }, func(t *testing.T, r *rig) {
			c := r.join("/")
			c.write("40/b,")
			c.want(`40/b,{"sid":"b"}`)
			first, second := <-a.sockets, <-b.sockets
			for range 3 {
				one.put(AppendEvent(nil, "/", "one"))
				two.put(AppendEvent(nil, "/b", "two"))
			}
			first.Wake()
			second.Wake()
			synctest.Wait() // blocked with the first events
			if err := first.Emit("direct"); err != nil {
				t.Fatal(err)
			}
			ones, twos, at := 0, 0, -1
			for i := range 7 {
				switch got := c.read(); got {
				case `42["one"]`:
					ones++
				case `42/b,["two"]`:
					twos++
				case `42["direct"]`:
					at = i
				default:
					t.Fatalf("message %q", got)
				}
				if ones-twos > 2 || twos-ones > 2 {
					t.Errorf("%d of one and %d of the other namespace, want turns", ones, twos)
				}
			}
			if at < 0 || at > 2 {
				t.Errorf("direct emit came as number %d, want right after the turn under way", at)
			}
		})
	})
}

// Producers and wake-ups race with a client that reads; none may be lost.
func Test_no_wake_up_is_lost(t *testing.T) {
	const producers, each = 4, 3000
	for _, transport := range []Transport{WebSocket, Polling} {
		t.Run(string(transport), func(t *testing.T) {
			source := &backlog{}
			a := newAccept(Session{Source: source})
			serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
				var next func() int
				if transport == WebSocket {
					c := r.join("/")
					next = func() int { return strings.Count(c.read(), "42[") }
				} else {
					sid := r.open()
					r.wantPost(sid, "40")
					next = func() int {
						_, body := r.get(sid)
						return strings.Count(body, "42[")
					}
				}
				socket := <-a.sockets
				var all sync.WaitGroup
				for p := range producers {
					all.Go(func() {
						for n := range each {
							source.put(numbered(p*each + n))
							socket.Wake()
						}
					})
				}
				for got := 0; got < producers*each; {
					got += next()
				}
				all.Wait()
			})
		})
	}
}

// Invariant 4: events come in order, once, also across an upgrade.
func Test_upgrade_under_load_loses_and_repeats_nothing(t *testing.T) {
	const total = 3000
	for range 20 {
		source := &backlog{}
		a := newAccept(Session{Source: source})
		serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			sid := r.open()
			r.wantPost(sid, "40")
			socket := <-a.sockets
			var producer sync.WaitGroup
			producer.Go(func() {
				for n := range total {
					source.put(numbered(n))
					socket.Wake()
				}
			})
			next := 0
			take := func(packets string) {
				for p := range strings.SplitSeq(packets, "\x1e") {
					if strings.HasPrefix(p, "42[") {
						if want := fmt.Sprintf(`42["e",%d]`, next); p != want {
							t.Fatalf("packet %q, want %q", p, want)
						}
						next++
					}
				}
			}
			_, body := r.get(sid)
			take(body)
			c := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
			pending := r.goGet(sid)
			c.write("2probe")
			c.want("3probe")
			take(<-pending)
			c.write("5")
			for next < total {
				take(c.read())
			}
			producer.Wait()
		})
	}
}

func Test_sessions_that_come_and_go_under_load_leave_nothing(t *testing.T) {
	source := &backlog{}
	rec := &recorder{events: make(chan received), closed: make(chan Reason, 1000)}
	a := &accept{Session{Source: source, Receiver: rec}, make(chan *Socket, 1000), make(chan Handshake, 1000)}
	serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for range 20 {
					c := r.join("/")
					socket := <-a.sockets
					clients.Go(func() {
						for range 300 { // less than the lane's bound
							if ctx.Err() != nil || socket.Emit("x") != nil {
								return
							}
							socket.Wake()
						}
					})
					c.read()
					_ = c.conn.CloseNow()
				}
			})
		}
		for range 8 * 20 {
			<-rec.closed
		}
		cancel()
		clients.Wait()
	})
}

func Test_nothing_follows_a_frame_that_is_not_whole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &backlog{}
		a := newAccept(Session{SID: "s", Source: source})
		serving(t, Config{Config: wsframe.Config{PingInterval: time.Hour}}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			conn, reader := r.rawWS()
			defer conn.Close()
			if _, err := conn.Write(maskedText("40")); err != nil {
				t.Fatal(err)
			}
			socket := <-a.sockets
			answer := wsframe.Text([]byte(`40{"sid":"s"}`))
			if _, err := io.ReadFull(reader, make([]byte, len(answer))); err != nil {
				t.Fatal(err)
			}
			frame := AppendEvent(nil, "/", "e", []byte(`"an event of more than 16 bytes"`))
			source.put(frame)
			socket.Wake()
			taken, err := reader.Peek(16) // the rest is not taken in time
			if err != nil {
				t.Fatal(err)
			}
			socket.CloseEngine("the program's wish")
			pass(closeGrace + time.Millisecond)
			synctest.Wait()
			if all, err := io.ReadAll(reader); string(all) != string(frame[:len(taken)]) || err != nil {
				t.Errorf("%q, %v, want the part of the frame that was taken and no more", all, err)
			}
		})
	})
}
