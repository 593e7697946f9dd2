package domain

import (
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// anyPosition draws what a text can hold.
func anyPosition() *rapid.Generator[Position] {
	return rapid.Custom(func(t *rapid.T) Position {
		return Position{
			Epoch: rapid.Uint64Range(0, 1<<(5*epochDigits)-1).Draw(t, "epoch"),
			Seq:   rapid.Uint64Range(0, 1<<(5*seqDigits)-1).Draw(t, "seq"),
			Index: rapid.Uint32Range(0, MaxEventsPerCommit-1).Draw(t, "index"),
		}
	})
}

func Test_position_text_round_trip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPosition().Draw(t, "p")
		text := p.String()
		if len(text) != PositionLen {
			t.Fatalf("%q has %d bytes, want %d", text, len(text), PositionLen)
		}
		if back, err := ParsePosition(text); err != nil || back != p {
			t.Fatalf("%q reads %+v, %v; want %+v", text, back, err, p)
		}
		raw, err := json.Marshal(p)
		var back Position
		if err != nil || json.Unmarshal(raw, &back) != nil || back != p {
			t.Fatalf("JSON %s reads %+v; want %+v", raw, back, p)
		}
	})
}

func Test_position_text_sorts_in_log_order(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := anyPosition().Draw(t, "p"), anyPosition().Draw(t, "q")
		// In a log the epoch never falls as the sequence rises.
		if p.Seq != q.Seq && (p.Seq < q.Seq) != (p.Epoch < q.Epoch) || p.Seq == q.Seq {
			q.Epoch = p.Epoch
		}
		if got, want := cmp.Compare(p.String(), q.String()), p.Compare(q); got != want {
			t.Fatalf("%s and %s compare %d as text, %d as positions", p, q, got, want)
		}
		if p.After(q) != (p.Compare(q) > 0) {
			t.Fatalf("%s after %s is %t", p, q, p.After(q))
		}
	})
}

func Test_what_is_not_a_position(t *testing.T) {
	valid := Position{Epoch: 1767225600000, Seq: 42, Index: 3}.String()
	for _, s := range []string{
		"", "0", valid[1:], valid + "0", strings.ToUpper(valid), strings.Replace(valid, "0", "w", 1), strings.Replace(valid, "0", "-", 1),
		strings.Replace(valid, "0", " ", 1), strings.Replace(valid, "0", "+", 1), strings.Replace(valid, "00", "é", 1), strings.Repeat("_", PositionLen),
	} {
		if p, err := ParsePosition(s); !errors.Is(err, ErrInvalidPosition) {
			t.Errorf("%q reads %+v, %v; want ErrInvalidPosition", s, p, err)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add(Position{Epoch: 1767225600000, Seq: 42, Index: 3}.String())
	f.Add("zzzzzzzzzzzzzzzzzzzzzz")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if (err == nil) != (p.String() == s) {
			t.Fatalf("%q reads %+v, %v", s, p, err)
		}
	})
}
