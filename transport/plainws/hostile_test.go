package plainws

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

func Test_frames_and_messages_that_may_not_be_are_told_why(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		code  websocket.StatusCode
		seen  string
	}{
		"reserved_bits":               {masked(0xf1, ""), StatusProtocolError, ReasonProtocolError},
		"deflate_that_was_not_agreed": {masked(0xc1, "\x00"), StatusProtocolError, ReasonProtocolError},
		"reserved_opcode":             {masked(0x83, ""), StatusProtocolError, ReasonProtocolError},
		"reserved_control_opcode":     {masked(0x8b, ""), StatusProtocolError, ReasonProtocolError},
		"not_masked":                  {"\x81\x02{}", StatusProtocolError, ReasonProtocolError},
		"control_over_125_bytes":      {"\x89\xfe\x00\x80\x00\x00\x00\x00" + strings.Repeat("x", 128), StatusProtocolError, ReasonProtocolError},
		"control_in_fragments":        {masked(0x09, ""), StatusProtocolError, ReasonProtocolError},
		"continuation_of_nothing":     {masked(0x80, ""), StatusProtocolError, ReasonProtocolError},
		"text_within_a_message":       {masked(0x01, "{") + masked(0x81, "{}"), StatusProtocolError, ReasonProtocolError},
		"close_of_one_byte":           {masked(0x88, "x"), StatusProtocolError, ReasonProtocolError},
		"64_bit_length_below_zero":    {"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", StatusProtocolError, ReasonProtocolError},
		"64_bit_length":               {"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00" + long(2000), StatusTooLarge, ReasonTooLarge},
		"over_the_limit":              {"\x81\xfe\x04\x00\x00\x00\x00\x00" + long(1024), StatusTooLarge, ReasonTooLarge},
		"over_the_limit_in_fragments": {masked(0x01, "{") + strings.Repeat(masked(0x00, long(100)), 11), StatusTooLarge, ReasonTooLarge},
		"binary":                      {masked(0x82, "{}"), StatusProtocolError, ReasonProtocolError},
		"not_utf8":                    {masked(0x81, "{\"op\":\"\xff\"}"), StatusProtocolError, ReasonProtocolError},
		"not_json":                    {masked(0x81, "op"), StatusProtocolError, ReasonProtocolError},
		"no_op":                       {masked(0x81, "{}"), StatusProtocolError, ReasonProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			var rec *recorder
			bubble(t, Config{Config: wsframe.Config{MaxPayload: 1000}}, func() Session { rec = newRecorder(); return Session{Receiver: rec} }, func(r *rig, _ <-chan *Conn) {
				b := r.upgrade()
				b.send(c.bytes)
				b.wantClose(c.code)
				if reason := <-rec.closed; reason != c.seen {
					t.Errorf("closed for %q, want %q", reason, c.seen)
				}
				if len(rec.ops) != 0 {
					t.Error("an operation was handed on")
				}
				r.wantClosed(closing{c.code, c.seen})
				pass(closeGrace)
				synctest.Wait()
				if n := r.server.Connections(); n != 0 {
					t.Errorf("%d connections after the grace, want 0", n)
				}
			})
		})
	}
}

func Test_floods_are_closed_as_too_many(t *testing.T) {
	for name, frame := range map[string]string{
		"messages": masked(0x81, `{"op":"x"}`),
		"pings":    masked(0x89, "ping"),
		"pongs":    masked(0x8a, ""),
	} {
		t.Run(name, func(t *testing.T) {
			var rec *recorder
			session := func() Session { rec = newRecorder(); return Session{Receiver: rec} }
			bubble(t, Config{}, session, func(r *rig, _ <-chan *Conn) {
				b := r.upgrade()
				sent := make(chan int, 1)
				go func() {
					n := 0
					for ; n < 1_000_000; n++ {
						if _, err := io.WriteString(b.conn, frame); err != nil {
							break
						}
					}
					sent <- n
				}()
				b.wantClose(StatusTooMany)
				if n := <-sent; n > 2000+maxExcess+10 {
					t.Errorf("%d frames read, want a burst of 2000 and an excess of %d", n, maxExcess)
				}
				if reason := <-rec.closed; reason != ReasonTooMany {
					t.Errorf("closed for %q, want %q", reason, ReasonTooMany)
				}
				r.wantClosed(closing{StatusTooMany, ReasonTooMany})
			})
		})
	}
}

func Test_messages_at_the_rate_go_on_for_ever(t *testing.T) {
	serving(t, Config{Config: wsframe.Config{FrameRate: 10}}, newEverybody(Session{Receiver: echo{}}), func(r *rig) {
		b := r.upgrade()
		b.pings(true)
		for range 600 {
			for range 10 {
				if _, err := io.WriteString(b.conn, masked(0x81, `{"op":"x","id":1}`)); err != nil {
					t.Fatal(err)
				}
			}
			pass(time.Second)
		}
		r.wantClosed()
	})
}

func Test_bytes_are_bounded_as_well(t *testing.T) {
	serving(t, Config{Config: wsframe.Config{ByteRate: 1000, MaxPayload: 5000}}, newEverybody(Session{Receiver: echo{}}), func(r *rig) {
		b := r.upgrade()
		frame := "\x81\xfe\x0f\xa0\x00\x00\x00\x00" + `{"op":"x","args":["` + long(4000-22) + `"]}`
		go func() {
			for range 3 {
				if _, err := io.WriteString(b.conn, frame); err != nil {
					return
				}
			}
		}()
		b.wantClose(StatusTooMany)
	})
}

// A hundred thousand fragments that never end a message cost no more than as
// many messages would, be they empty or not.
func Test_fragments_without_end_are_closed_as_too_many(t *testing.T) {
	for name, fragment := range map[string]string{"empty": masked(0x00, ""), "of_one_byte": masked(0x00, "x")} {
		t.Run(name, func(t *testing.T) {
			serving(t, Config{}, newEverybody(Session{Receiver: echo{}}), func(r *rig) {
				b := r.upgrade()
				sent := make(chan int, 1)
				go func() {
					n := 0
					_, _ = io.WriteString(b.conn, masked(0x01, "{"))
					for ; n < 100_000; n++ {
						if _, err := io.WriteString(b.conn, fragment); err != nil {
							break
						}
					}
					sent <- n
				}()
				b.wantClose(StatusTooMany)
				if n := <-sent; n > 2000+maxExcess+100 {
					t.Errorf("%d fragments read, want a burst of 2000 and an excess of %d", n, maxExcess)
				}
				pass(closeGrace)
				synctest.Wait()
				if n := r.server.Connections(); n != 0 {
					t.Errorf("%d connections, want 0", n)
				}
			})
		})
	}
}
