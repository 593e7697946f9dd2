package domain

import (
	"fmt"
	"math"
	"time"
)

// judge is what every Decide begins with: the body's rules, then the rights.
func judge(c Command) *Rejection {
	if r := Validate(c); r != nil {
		return r
	}
	return MayCommand(c.Identity, c.Type, branchOf(c))
}

func unknownCommand() *Rejection {
	return Invalid(FieldError{Field: "type", Message: "is not a command"})
}

// wrongStream rejects a command that another stream decides: StreamOf was not
// asked.
func wrongStream(c Command, stream string) *Rejection {
	return Invalid(FieldError{Field: "type", Message: fmt.Sprintf("%s is not decided in %s", c.Type, stream)})
}

// misplaced is Evolve's error for an event of another stream.
func misplaced(e *Event, stream string) error {
	return fmt.Errorf("event %s: %s does not belong in stream %q", e.ID, e.Type, stream)
}

// madeID makes the id of a thing that came without one: the same command gives
// the same id. It is a UUIDv7 of the command's time.
func madeID(c Command, what string) string {
	return EventID(c.At, c.Identity.UserID, c.ID+"\x00"+what, 0)
}

// parseTime reads a time of a client's, in UTC. Near both ends of what RFC 3339
// can say, a time with an offset lies in a year that formatTime could not write.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, err
	}
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, fmt.Errorf("%q is in the year %d", s, t.Year())
	}
	return t, nil
}

func formatTime(t time.Time) string { return t.UTC().Format(TimestampFormat) }

// checkedAdd returns a+b, and false if that is not an int64.
func checkedAdd(a, b int64) (int64, bool) {
	sum := a + b
	return sum, (sum > a) == (b > 0)
}

// checkedMul returns a*b of two numbers that are not negative, and false if
// that is not an int64.
func checkedMul(a, b int64) (int64, bool) {
	if a != 0 && b > math.MaxInt64/a {
		return 0, false
	}
	return a * b, true
}

func overflow(what string) *Rejection {
	return Reject(CodeOverflow, "%s is beyond 64 bits", what)
}

// checkedSub returns a-b, and false if that is not an int64.
func checkedSub(a, b int64) (int64, bool) {
	diff := a - b
	return diff, (diff < a) == (b > 0)
}
