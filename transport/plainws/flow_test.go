package plainws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

func Test_events_of_the_source_go_out_in_order_and_after_each_wake(t *testing.T) {
	source := &backlog{}
	bubble(t, Config{}, func() Session { return Session{Source: source} }, func(r *rig, conns <-chan *Conn) {
		source.put(`{"type":"session"}`, "1")
		c := r.connect()
		conn := <-conns
		c.want(`{"type":"session"}`, "1")
		for i := range 3 {
			source.put(fmt.Sprint(i))
			conn.Wake()
			c.want(fmt.Sprint(i))
		}
		synctest.Wait()
		asked, _ := source.counts()
		pass(20 * time.Second)
		if again, _ := source.counts(); again != asked {
			t.Errorf("source asked %d times without a wake, want none", again-asked)
		}
	})
}

// Invariant 5: a slow or stuck socket costs bounded memory and delays no one
// but itself.
func Test_source_is_not_asked_while_the_client_reads_nothing(t *testing.T) {
	source := &backlog{}
	bubble(t, Config{}, func() Session { return Session{Source: source} }, func(r *rig, conns <-chan *Conn) {
		slow := r.upgrade()
		conn := <-conns
		for range 1000 {
			source.put("event")
			conn.Wake()
		}
		synctest.Wait()
		if _, given := source.counts(); given != 1 {
			t.Errorf("%d frames taken for a client that reads nothing, want 1", given)
		}
		go func() { _, _ = io.Copy(io.Discard, slow.reader) }()
		synctest.Wait()
		if _, given := source.counts(); given != 1000 {
			t.Errorf("%d frames taken for a client that reads again, want 1000", given)
		}
	})
}

func Test_answers_go_ahead_of_events(t *testing.T) {
	source := &backlog{}
	bubble(t, Config{}, func() Session { return Session{Source: source, Receiver: echo{}} }, func(r *rig, conns <-chan *Conn) {
		source.put("1", "2", "3")
		c := r.upgrade() // the write of 1 is under way
		<-conns
		synctest.Wait()
		c.send(masked(0x81, `{"op":"a","id":1}`))
		synctest.Wait()
		var got []string
		for range 4 {
			got = append(got, c.next())
		}
		if want := `["1","{\"type\":\"ack\",\"id\":1,\"data\":{\"args\":null,\"op\":\"a\"}}","2","3"]`; string(mustJSON(got)) != want {
			t.Errorf("got %s, want %s", mustJSON(got), want)
		}
	})
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func Test_operations_come_in_order_with_their_arguments(t *testing.T) {
	var rec *recorder
	bubble(t, Config{}, func() Session { rec = newRecorder(); return Session{Receiver: rec} }, func(r *rig, _ <-chan *Conn) {
		c := r.connect()
		for i := range 100 {
			c.write(fmt.Sprintf(`{"op":"op%d","args":[%d,"x"]}`, i, i))
		}
		c.write(`{"op":"last","id":"l"}`)
		for i := range 100 {
			o := <-rec.ops
			if want := fmt.Sprintf(`op%d[%d,"x"]`, i, i); o.name+string(mustJSON(o.args)) != want || o.ack != nil {
				t.Errorf("operation %s%s, ack %v, want %s without ack", o.name, mustJSON(o.args), o.ack != nil, want)
			}
		}
		last := <-rec.ops
		last.ack("once")
		last.ack("twice")
		c.want(`{"type":"ack","id":"l","data":"once"}`)
		_ = c.conn.Close(websocket.StatusNormalClosure, "")
		if reason := <-rec.closed; reason != ReasonTransportClose {
			t.Errorf("closed for %q, want %q", reason, ReasonTransportClose)
		}
		last.ack("late")
		r.wantClosed(closing{0, ReasonTransportClose})
	})
}

func Test_a_lane_that_overflows_closes_as_too_slow(t *testing.T) {
	for name, c := range map[string]Config{"frames": {Config: wsframe.Config{ControlFrames: 3}}, "bytes": {Config: wsframe.Config{ControlBytes: 90}}} {
		t.Run(name, func(t *testing.T) {
			var rec *recorder
			bubble(t, c, func() Session { rec = newRecorder(); return Session{Receiver: rec} }, func(r *rig, conns <-chan *Conn) {
				r.upgrade() // and reads nothing
				conn := <-conns
				frame := wsframe.Text([]byte(long(30)))
				if err := conn.Send(frame); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // it is being written
				for range 3 {
					if err := conn.Send(frame); err != nil {
						t.Fatal(err)
					}
				}
				if err := conn.Send(frame); !errors.Is(err, ErrTooSlow) {
					t.Errorf("send: %v, want %v", err, ErrTooSlow)
				}
				if err := conn.Send(frame); !errors.Is(err, ErrClosed) {
					t.Errorf("send after: %v, want %v", err, ErrClosed)
				}
				if reason := <-rec.closed; reason != ReasonTooSlow {
					t.Errorf("closed for %q, want %q", reason, ReasonTooSlow)
				}
				r.wantClosed(closing{StatusTooSlow, ReasonTooSlow})
			})
		})
	}
}

func Test_a_client_that_takes_nothing_for_the_write_timeout_is_given_up(t *testing.T) {
	var rec *recorder
	source := &backlog{}
	session := func() Session { rec = newRecorder(); return Session{Source: source, Receiver: rec} }
	bubble(t, Config{Config: wsframe.Config{PingInterval: time.Hour}}, session, func(r *rig, conns <-chan *Conn) {
		source.put("event")
		start := time.Now()
		r.upgrade()
		if reason := <-rec.closed; reason != ReasonTooSlow {
			t.Errorf("closed for %q, want %q", reason, ReasonTooSlow)
		}
		if got := time.Since(start); got < 30*time.Second || got > 35*time.Second {
			t.Errorf("closed after %v, want 30 s and a bit", got)
		}
		r.wantClosed(closing{0, ReasonTooSlow})
	})
}

func Test_a_receiver_that_blocks_holds_up_its_own_client_only(t *testing.T) {
	var leave chan struct{}
	h := HandlerFunc(func(context.Context, *Conn, *http.Request) (Session, error) {
		return Session{Receiver: blocker{leave}}, nil
	})
	serving(t, Config{}, h, func(r *rig) {
		leave = make(chan struct{})
		slow, quick := r.connect(), r.connect()
		slow.write(`{"op":"wait","id":1}`)
		synctest.Wait()
		quick.write(`{"op":"go","id":2}`)
		quick.want(`{"type":"ack","id":2,"data":"go"}`)
		pass(10 * time.Minute) // nor is it taken for silent
		close(leave)
		slow.want(`{"type":"ack","id":1,"data":"wait"}`)
	})
}

// blocker is a Receiver whose "wait" waits.
type blocker struct{ leave <-chan struct{} }

func (b blocker) Op(name string, _ []json.RawMessage, ack func(any)) {
	if name == "wait" {
		<-b.leave
	}
	ack(name)
}

func (b blocker) Closed(string) {}

func Test_panics_close_their_own_connection_and_tell_it_to_come_back(t *testing.T) {
	for name, s := range map[string]Session{
		"receiver": {Receiver: panicking{}},
		"source":   {Source: panicking{}},
		"closed":   {Receiver: panicking{}, Source: panicking{}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{}, func() Session { return s }, func(r *rig, _ <-chan *Conn) {
				c := r.connect()
				if name == "receiver" {
					c.write(`{"op":"x"}`)
				}
				c.wantClose(StatusTryAgain, ReasonFault)
				r.wantClosed(closing{StatusTryAgain, ReasonFault})
			})
		})
	}
}

type panicking struct{}

func (panicking) Op(string, []json.RawMessage, func(any)) { panic("a mistake") }
func (panicking) Closed(string)                           { panic("a mistake") }
func (panicking) Next([][]byte, int) [][]byte             { panic("a mistake") }

func Test_long_messages_are_compressed_for_clients_that_can(t *testing.T) {
	source := &backlog{}
	bubble(t, Config{Config: wsframe.Config{CompressFrom: 100}}, func() Session { return Session{Source: source, Receiver: echo{}} }, func(r *rig, conns <-chan *Conn) {
		source.put("short", long(10_000))
		r.connect().want("short", long(10_000)) // can't
		<-conns
		synctest.Wait() // the first one asks no more

		source.put("short", long(10_000))
		conn, answer, err := websocket.Dial(context.Background(), "ws://server/", &websocket.DialOptions{
			HTTPClient: r.client, CompressionMode: websocket.CompressionNoContextTakeover,
		})
		if err != nil {
			t.Fatal(err)
		}
		r.t.Cleanup(func() { _ = conn.CloseNow() })
		if answer.Header.Get("Sec-WebSocket-Extensions") == "" {
			t.Error("no extension agreed on")
		}
		can := &ws{r.t, conn}
		can.want("short", long(10_000))
		can.write(`{"op":"x","id":1,"args":["` + long(5000) + `"]}`)
		can.want(`{"type":"ack","id":1,"data":{"args":["` + long(5000) + `"],"op":"x"}}`)
	})
}

func Test_the_first_frame_is_the_sources_whatever_the_client_has_asked_by_then(t *testing.T) {
	for name, end := range map[string]func(c *Conn){"served": func(*Conn) {}, "sent_away": func(c *Conn) { c.Close(StatusRestart, "x") }} {
		t.Run(name, func(t *testing.T) {
			source := &backlog{}
			h := HandlerFunc(func(_ context.Context, c *Conn, _ *http.Request) (Session, error) {
				err := c.Send(wsframe.Text([]byte("answer"))) // is there before the first turn
				end(c)
				return Session{Source: source, Receiver: echo{}}, err
			})
			serving(t, Config{}, h, func(r *rig) {
				source.put("session", "event")
				r.connect().want("session", "answer")
			})
		})
	}
	t.Run("in_one_segment", func(t *testing.T) {
		source := &backlog{}
		bubble(t, Config{}, func() Session { return Session{Source: source, Receiver: echo{}} }, func(r *rig, _ <-chan *Conn) {
			source.put("session")
			c := r.upgradeWith(masked(0x81, `{"op":"a","id":1}`) + masked(0x81, `not JSON`))
			if got := c.next(); got != "session" {
				t.Errorf("first frame %q, want the session", got)
			}
			c.wantClose(StatusProtocolError)
		})
	})
}
