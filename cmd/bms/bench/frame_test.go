package bench

import (
	"fmt"
	"testing"
	"time"

	"bms/domain"
)

const (
	testPos      = "1k865ijbh0000000b4u001"
	testEnvelope = `{"id":"0190","type":"inventory:updated","timestamp":"2026-11-24T07:00:00.250Z","branchId":"b1","userId":"till1-r1","data":{"productId":"p1","ref":"r1-3-7-rs"},"pos":"` + testPos + `"}`
)

func TestFrame_an_event_is_taken_apart_on_both_protocols(t *testing.T) {
	socketio, ok := parseFrame([]byte(`42/ws,["inventory:updated",`+testEnvelope+`,"`+testPos+`"]`), "/ws")
	if !ok {
		t.Fatal("the Socket.IO packet is not taken for an event")
	}
	plain, ok := parsePlain([]byte(testEnvelope))
	if !ok {
		t.Fatal("the plain message is not taken for an event")
	}
	for name, f := range map[string]frame{"socketio": socketio, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			if string(f.name) != "inventory:updated" || string(f.data) != testEnvelope || string(f.offset) != testPos || !f.isEvent() {
				t.Errorf("got %q %q %q", f.name, f.data, f.offset)
			}
			r, err := f.received()
			if want, _ := domain.ParsePosition(testPos); err != nil || r.pos().Compare(want) != 0 || r.Sum != Sum([]byte(testEnvelope)) {
				t.Errorf("received %+v, %v, want position %v", r, err, want)
			}
			due, ok := newClock("r1", time.Now()).due(f)
			if want := time.Millisecond; !ok || due != want {
				t.Errorf("due %v, %v, want %v", due, ok, want)
			}
			age, ok := f.age(time.Date(2026, 11, 24, 7, 0, 1, 0, time.UTC))
			if want := 750 * time.Millisecond; !ok || age != want {
				t.Errorf("age %v, %v, want %v", age, ok, want)
			}
		})
	}
}

func TestFrame_a_session_is_no_event(t *testing.T) {
	const data = `{"sid":"s","userId":"u","role":"staff","rooms":[],"pos":"` + testPos + `","recovered":true}`
	socketio, ok := parseFrame([]byte(`42/ws,["session",`+data+`,"`+testPos+`"]`), "/ws")
	if !ok {
		t.Fatal("the Socket.IO packet is not taken for a frame")
	}
	plain, ok := parsePlain([]byte(`{"type":"session","data":` + data + `}`))
	if !ok {
		t.Fatal("the plain message is not taken for a frame")
	}
	for name, f := range map[string]frame{"socketio": socketio, "plain": plain} {
		s, err := f.session()
		if err != nil || !s.Recovered || s.Pos.String() != testPos || string(f.offset) != testPos || f.isEvent() || string(f.name) != "session" {
			t.Errorf("%s: %q gives %+v, %v", name, f.name, s, err)
		}
	}
}

func TestFrame_what_is_no_frame_is_told(t *testing.T) {
	for _, packet := range []string{
		"", "42", "40/ws,{}", `42/ws,["x"]`, `42/wsx["inventory:updated",{},"` + testPos + `"]`, `42/ws-pos,["session",{},"` + testPos + `"]`,
		`42/ws,["session",{},'` + testPos + `"]`, `42/ws,[session,{},"` + testPos + `"]`,
	} {
		if f, ok := parseFrame([]byte(packet), "/ws"); ok {
			t.Errorf("%q is taken for %q %q %q", packet, f.name, f.data, f.offset)
		}
	}
	for _, message := range []string{"", "[]", `{"data":{}}`, `{"type":"session","data":{"pos":"x"}}`, `{"id":"`} {
		if f, ok := parsePlain([]byte(message)); ok {
			t.Errorf("%q is taken for %q %q %q", message, f.name, f.data, f.offset)
		}
	}
}

// A mark is a transaction's id too, and short enough for one.
func TestClock_marks_are_ids(t *testing.T) {
	c := newClock("z1z1z1z1z1z1", time.Now())
	mark := c.mark(100_000, 1<<40, 30*24*time.Hour)
	if !domain.ValidID(mark) {
		t.Errorf("%q is no id", mark)
	}
	f, ok := parsePlain(fmt.Appendf(nil, `{"id":"1","type":"transaction:created","data":{"transactionId":%q},"pos":%q}`, mark, testPos))
	if due, told := c.due(f); !ok || !told || due != 30*24*time.Hour {
		t.Errorf("%q is due at %v, %v", mark, due, told)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(`42/ws,["inventory:updated",` + testEnvelope + `,"` + testPos + `"]`)
	f.Add(testEnvelope)
	f.Add(`{"type":"session","data":{"pos":"` + testPos + `"}}`)
	c := newClock("r1", time.Now())
	f.Fuzz(func(_ *testing.T, packet string) {
		for _, parse := range []func([]byte) (frame, bool){parsePlain, func(p []byte) (frame, bool) { return parseFrame(p, "/ws") }} {
			if f, ok := parse([]byte(packet)); ok {
				_, _ = f.received()
				_, _ = f.session()
				_, _ = c.due(f)
				_, _ = f.age(c.start)
			}
		}
	})
}
