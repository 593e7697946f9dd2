package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"bms/transport/wsframe"
)

// joined is a client connected to /ws over WebSocket, with what the server
// has of it.
type joined struct {
	*ws
	rig      *rig
	socket   *Socket
	receiver *recorder
}

func joining(t *testing.T, c Config, test func(t *testing.T, j *joined)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder()
		a := newAccept(Session{Receiver: rec})
		serving(t, c, func(s *Server) { s.Of("/ws", a) }, func(t *testing.T, r *rig) {
			test(t, &joined{ws: r.join("/ws"), rig: r, socket: <-a.sockets, receiver: rec})
		})
	})
}

func Test_event_with_attachments_arrives_whole(t *testing.T) {
	joining(t, Config{}, func(t *testing.T, j *joined) {
		j.write(`452-/ws,["e",{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}]`)
		j.writeBinary("one")
		j.writeBinary("two")
		e := <-j.receiver.events
		if want := `e[{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}]`; e.text() != want {
			t.Errorf("event %s, want %s", e.text(), want)
		}
		if len(e.attachments) != 2 || string(e.attachments[0]) != "one" || string(e.attachments[1]) != "two" || e.ack != nil {
			t.Errorf("attachments %q, ack %v, want one, two and no ack", e.attachments, e.ack != nil)
		}
	})
}

func Test_event_with_attachments_is_sent_as_packet_and_binaries(t *testing.T) {
	joining(t, Config{}, func(t *testing.T, j *joined) {
		if err := j.socket.Emit("e", Binary("one"), 2, Binary("two")); err != nil {
			t.Fatal(err)
		}
		j.want(`452-/ws,["e",{"_placeholder":true,"num":0},2,{"_placeholder":true,"num":1}]`)
		if got := j.readBinary() + j.readBinary(); got != "onetwo" {
			t.Errorf("attachments %q, want one and two", got)
		}
		many := make([]any, 11)
		for i := range many {
			many[i] = Binary("x")
		}
		if err := j.socket.Emit("e", many...); err == nil {
			t.Error("11 attachments were sent, want an error: clients take 10")
		}
	})
}

func Test_attachments_go_as_base64_over_polling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder()
		a := newAccept(Session{SID: "s", Receiver: rec})
		serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			sid := r.open()
			r.wantPost(sid, "40")
			r.wantGet(sid, `40{"sid":"s"}`)
			r.wantPost(sid, `451-7["e",{"_placeholder":true,"num":0}]`+"\x1ebAQID")
			e := <-rec.events
			if string(e.attachments[0]) != "\x01\x02\x03" {
				t.Errorf("attachment %x, want 010203", e.attachments[0])
			}
			e.ack(Binary(e.attachments[0]))
			r.wantGet(sid, `461-7[{"_placeholder":true,"num":0}]`+"\x1ebAQID")
		})
	})
}

func Test_client_gets_its_ack_once(t *testing.T) {
	joining(t, Config{}, func(t *testing.T, j *joined) {
		j.write(`42/ws,0["e"]`)
		e := <-j.receiver.events
		e.ack(map[string]any{"ok": true}, json.RawMessage(`[1]`))
		e.ack("again")
		j.want(`43/ws,0[{"ok":true},[1]]`)
		j.write(`451-/ws,456["e",{"_placeholder":true,"num":0}]`)
		j.writeBinary("x")
		(<-j.receiver.events).ack(Binary("y"))
		j.want(`461-/ws,456[{"_placeholder":true,"num":0}]`)
		if got := j.readBinary(); got != "y" {
			t.Errorf("attachment %q, want y", got)
		}
		j.write(`42/ws,1["e"]`)
		(<-j.receiver.events).ack()
		j.want(`43/ws,1[]`)
	})
}

func Test_server_gets_its_ack(t *testing.T) {
	joining(t, Config{}, func(t *testing.T, j *joined) {
		type result struct {
			reply Reply
			err   error
		}
		got := make(chan result, 1)
		ask := func(ctx context.Context) {
			reply, err := j.socket.EmitWithAck(ctx, "ask", "x")
			got <- result{reply, err}
		}
		go ask(t.Context())
		j.want(`42/ws,1["ask","x"]`)
		j.write(`43/ws,1["yes",2]`)
		if r := <-got; r.err != nil || string(r.reply.Args[0]) != `"yes"` || string(r.reply.Args[1]) != "2" {
			t.Errorf("reply %s, %v", r.reply.Args, r.err)
		}
		go ask(t.Context())
		j.want(`42/ws,2["ask","x"]`)
		j.write(`43/ws,1["late"]`)
		j.write(`461-/ws,2[{"_placeholder":true,"num":0}]`)
		j.writeBinary("bin")
		if r := <-got; r.err != nil || string(r.reply.Attachments[0]) != "bin" {
			t.Errorf("reply %q, %v, want bin", r.reply.Attachments, r.err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go ask(ctx)
		j.want(`42/ws,3["ask","x"]`)
		if r := <-got; !errors.Is(r.err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline", r.err)
		}
		go ask(t.Context())
		j.want(`42/ws,4["ask","x"]`)
		_ = j.conn.CloseNow()
		if r := <-got; !errors.Is(r.err, ErrClosed) {
			t.Errorf("error %v, want %v", r.err, ErrClosed)
		}
		if _, err := j.socket.EmitWithAck(t.Context(), "ask"); !errors.Is(err, ErrClosed) {
			t.Errorf("error %v, want %v", err, ErrClosed)
		}
	})
}

func Test_awaited_acks_are_bounded(t *testing.T) {
	joining(t, Config{}, func(t *testing.T, j *joined) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		for range maxAwaited {
			go func() {
				_, err := j.socket.EmitWithAck(ctx, "ask")
				ended <- err
			}()
		}
		for range maxAwaited {
			j.read()
		}
		if _, err := j.socket.EmitWithAck(ctx, "ask"); !errors.Is(err, ErrManyAcks) {
			t.Errorf("error %v, want %v", err, ErrManyAcks)
		}
		cancel()
		for range maxAwaited {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want cancelled", err)
			}
		}
	})
}

func Test_events_are_handled_in_order_and_one_at_a_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := blocker{make(chan struct{}), make(chan struct{})}
		serving(t, Config{}, func(s *Server) { s.Of("/", newAccept(Session{Receiver: b})) }, func(t *testing.T, r *rig) {
			c := r.join("/")
			sent := make(chan struct{})
			go func() {
				c.write(`42["one"]`)
				c.write(`42["two"]`)
				close(sent)
			}()
			<-b.entered
			synctest.Wait()
			select {
			case <-sent:
				t.Error("the second event was read while the first was handled")
			default:
			}
			close(b.leave)
			<-b.entered
			<-sent
		})
	})
}

func Test_receiver_that_panics_ends_its_own_connection_only(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan Reason, 1)
		bad := newAccept(Session{Receiver: panicking{closed}})
		rec := newRecorder()
		good := newAccept(Session{Receiver: rec})
		serving(t, Config{}, func(s *Server) { s.Of("/bad", bad); s.Of("/good", good) }, func(t *testing.T, r *rig) {
			other := r.join("/good")
			for range 5 {
				c := r.join("/bad")
				c.write(`42/bad,["e"]`)
				c.wantClosed()
				if reason := <-closed; reason != ServerError {
					t.Errorf("reason %q, want %q", reason, ServerError)
				}
			}
			other.write(`42/good,["e"]`)
			<-rec.events
		})
	})
}

type panicking struct{ closed chan Reason }

func (p panicking) Event(string, []json.RawMessage, [][]byte, func(...any)) { panic("mistake") }
func (p panicking) Closed(reason Reason)                                    { p.closed <- reason; panic("another") }

func Test_source_that_panics_ends_its_own_connection_only(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder()
		serving(t, Config{}, func(s *Server) { s.Of("/", newAccept(Session{Source: explosive{}, Receiver: rec})) }, func(t *testing.T, r *rig) {
			c := r.openWS()
			c.write("40")
			c.wantClosed()
			if reason := <-rec.closed; reason != ServerError {
				t.Errorf("reason %q, want %q", reason, ServerError)
			}
		})
	})
}

type explosive struct{}

func (explosive) Next([][]byte, int) [][]byte { panic("mistake") }

func Test_clients_beyond_their_rate_are_closed(t *testing.T) {
	for name, c := range map[string]Config{
		"packets": {Config: wsframe.Config{FrameRate: 5, ByteRate: -1}},
		"bytes":   {Config: wsframe.Config{FrameRate: -1, ByteRate: 100, MaxPayload: 1000}},
	} {
		t.Run(name, func(t *testing.T) {
			joining(t, c, func(t *testing.T, j *joined) {
				go func() {
					for range 200 {
						if j.conn.Write(context.Background(), 1, []byte(`42/ws,["e","0123456789"]`)) != nil {
							return
						}
					}
				}()
				j.wantClosed()
				if reason := <-j.receiver.closed; reason != RateExceeded {
					t.Errorf("reason %q, want %q", reason, RateExceeded)
				}
			})
		})
	}
}

func Test_websocket_pings_count_against_the_rate(t *testing.T) {
	joining(t, Config{Config: wsframe.Config{FrameRate: 5}}, func(t *testing.T, j *joined) {
		go func() {
			for range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				_ = j.conn.Ping(ctx)
				cancel()
			}
		}()
		j.wantClosed()
	})
}

func Test_appended_events_are_whole_frames(t *testing.T) {
	for _, c := range []struct {
		got  []byte
		want string
	}{
		{AppendEvent(nil, "/", "e"), "\x81\x07" + `42["e"]`},
		{AppendEvent(nil, "/ws", "e", []byte("1"), []byte("{}")), "\x81\x10" + `42/ws,["e",1,{}]`},
		{AppendEvent([]byte("x"), "/", "a\"b€"), "x\x81\x0d" + `42["a\"b€"]`},
		{AppendEvent(nil, "/", "e", nil, []byte("1")), "\x81\x0e" + `42["e",null,1]`},
		{AppendEvent(nil, "/", "<&>"), "\x81\x09" + `42["<&>"]`},
		{AppendBinaryEvent(nil, "/", "e", [][]byte{[]byte("x")}), "\x81\x09" + `451-["e"]` + "\x82\x01x"},
	} {
		if string(c.got) != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
