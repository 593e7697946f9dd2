package domain

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Position is the place of one event in the log: the commit's sequence and the
// event's index in that commit, under the epoch in which the commit was
// written. It is the only cursor there is: answers, events, read models and
// clients all speak of it.
//
// The zero Position lies before every event of every log.
type Position struct {
	// Epoch is the Unix time in milliseconds at which this stretch of the
	// log began. A log that is recreated, restored, or found short after an
	// unclean stop begins a new epoch, so that no cursor of the lost history
	// is taken for one of the present.
	Epoch uint64
	// Seq is the commit's sequence, from 1, contiguous over epochs.
	Seq uint64
	// Index is the event's index in its commit, from 0.
	Index uint32
}

// The text of a position is three fixed-width numbers in the digits 0-9a-v
// (base 32 in ASCII order): 9 of epoch, 10 of sequence, 3 of index. Plain
// string comparison therefore gives log order.
const (
	epochDigits = 9
	seqDigits   = 10
	indexDigits = 3

	// PositionLen is the length of a position's text in bytes.
	PositionLen = epochDigits + seqDigits + indexDigits
	// MaxEventsPerCommit is what the index of a position can tell apart.
	MaxEventsPerCommit = 1 << (5 * indexDigits)
)

// ErrInvalidPosition is returned by ParsePosition for a text that is not of
// the form that Position.String makes.
var ErrInvalidPosition = errors.New("not a position")

// ParsePosition reads what Position.String made. It returns an error that
// wraps ErrInvalidPosition for anything else; whether the position belongs to
// a log is for that log to say (Follower.Check).
func ParsePosition(s string) (Position, error) {
	if len(s) != PositionLen {
		return Position{}, fmt.Errorf("%w: %d bytes, want %d", ErrInvalidPosition, len(s), PositionLen)
	}
	epoch, err := parseDigits(s[:epochDigits])
	if err != nil {
		return Position{}, err
	}
	seq, err := parseDigits(s[epochDigits : epochDigits+seqDigits])
	if err != nil {
		return Position{}, err
	}
	index, err := parseDigits(s[epochDigits+seqDigits:])
	if err != nil {
		return Position{}, err
	}
	return Position{Epoch: epoch, Seq: seq, Index: uint32(index)}, nil
}

func parseDigits(s string) (uint64, error) {
	if strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'v') }) {
		return 0, fmt.Errorf("%w: digits 0-9a-v only", ErrInvalidPosition)
	}
	n, err := strconv.ParseUint(s, 32, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalidPosition, err)
	}
	return n, nil
}

// String returns the position's text, PositionLen bytes.
func (p Position) String() string {
	return string(p.AppendTo(make([]byte, 0, PositionLen)))
}

// AppendTo appends the position's text to dst.
func (p Position) AppendTo(dst []byte) []byte {
	dst = appendDigits(dst, p.Epoch, epochDigits)
	dst = appendDigits(dst, p.Seq, seqDigits)
	return appendDigits(dst, uint64(p.Index), indexDigits)
}

func appendDigits(dst []byte, n uint64, width int) []byte {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	for shift := 5 * (width - 1); shift >= 0; shift -= 5 {
		dst = append(dst, digits[n>>shift&31])
	}
	return dst
}

// MarshalText makes a position a JSON string.
func (p Position) MarshalText() ([]byte, error) { return p.AppendTo(nil), nil }

// UnmarshalText reads a position from a JSON string.
func (p *Position) UnmarshalText(b []byte) error {
	parsed, err := ParsePosition(string(b))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// Compare orders positions of one log: by sequence, then by index. (The epoch
// follows from the sequence.)
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.Seq, q.Seq); c != 0 {
		return c
	}
	return cmp.Compare(p.Index, q.Index)
}

// After reports whether p comes later in the log than q.
func (p Position) After(q Position) bool { return p.Compare(q) > 0 }
