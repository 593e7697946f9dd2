package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"bms/domain"
)

// frame is a Socket.IO event from the server, in parts of the packet.
//
//	42/ws,["transaction:created",{…,"pos":"…"},"…"]
type frame struct {
	name, data, offset []byte
}

// parseFrame takes a packet "42/ns,[…]" apart without decoding it: the server
// puts an event's position, of fixed width, last.
func parseFrame(packet []byte, namespace string) (frame, bool) {
	head := len("42") + len(namespace) + len(`,["`)
	const tail = len(`,""]`) + domain.PositionLen
	if len(packet) < head+tail || string(packet[:2]) != "42" || string(packet[2:2+len(namespace)]) != namespace ||
		string(packet[head-3:head]) != `,["` {
		return frame{}, false
	}
	body, end := packet[head:len(packet)-tail], packet[len(packet)-tail:]
	name, data, ok := bytes.Cut(body, []byte(`",`))
	if !ok || string(end[:2]) != `,"` || string(end[len(end)-2:]) != `"]` {
		return frame{}, false
	}
	return frame{name, data, end[2 : len(end)-2]}, true
}

// isEvent reports whether the frame is an event of the log, rather than a
// message such as "session".
func (f frame) isEvent() bool { return bytes.HasPrefix(f.data, []byte(`{"id":"`)) }

// received reads where in the log the event is.
func (f frame) received() (Received, error) {
	pos, err := domain.ParsePosition(string(f.offset))
	if err != nil {
		return Received{}, fmt.Errorf("event %s: %w", f.name, err)
	}
	return Received{Seq: pos.Seq, Index: pos.Index, Sum: Sum(f.data)}, nil
}

// sessionInfo is the server's first message on every connection.
type sessionInfo struct {
	Pos       domain.Position `json:"pos"`
	Recovered bool            `json:"recovered"`
}

func (f frame) session() (s sessionInfo, err error) {
	if err = json.Unmarshal(f.data, &s); err != nil {
		return s, fmt.Errorf("session %.200q: %w", f.data, err)
	}
	return s, nil
}

// age tells how long before now the event was decided, by the server's clock:
// whole milliseconds, rounded up. It reports false for an event of another day.
func (f frame) age(now time.Time) (time.Duration, bool) {
	_, stamp, ok := bytes.Cut(f.data, []byte(`"timestamp":"`))
	if !ok || len(stamp) < len(domain.TimestampFormat)-len("07:00") {
		return 0, false
	}
	// 2006-01-02T15:04:05.000Z: time.Parse would cost more than the rest.
	digits := func(from, to int) (n int) {
		for _, c := range stamp[from:to] {
			n = 10*n + int(c-'0')
		}
		return n
	}
	at := time.Duration(digits(11, 13))*time.Hour + time.Duration(digits(14, 16))*time.Minute +
		time.Duration(digits(17, 19))*time.Second + time.Duration(digits(20, 23))*time.Millisecond
	hour, minute, second := now.UTC().Clock()
	today := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second + time.Duration(now.Nanosecond())
	age := today - at
	return max(0, age), age > -time.Minute && age < time.Hour
}
