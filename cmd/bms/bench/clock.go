package bench

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// clock measures from the start of a run, and makes the marks that name its
// commands. A mark carries when the command was due, so that whoever sees it in
// an event knows how old it is.
//
//	{run}-{commander}-{number}-{µs since the start, base 36}
type clock struct {
	run   string
	start time.Time
	// Before a mark in the events that carry their own command's.
	sale, adjustment []byte
}

func newClock(run string, start time.Time) *clock {
	return &clock{run: run, start: start, sale: []byte(`"transactionId":"` + run + "-"), adjustment: []byte(`"ref":"` + run + "-")}
}

func (c *clock) now() time.Duration { return time.Since(c.start) }

func (c *clock) mark(commander, number int, due time.Duration) string {
	return fmt.Sprintf("%s-%d-%d-%s", c.run, commander, number, strconv.FormatInt(due.Microseconds(), 36))
}

// due reads from an event when the command that caused it was due. It reports
// false for an event that doesn't say.
func (c *clock) due(f frame) (time.Duration, bool) {
	before := c.adjustment
	switch string(f.name) {
	case "transaction:created":
		before = c.sale
	case "inventory:updated":
	default:
		return 0, false
	}
	_, mark, ok := bytes.Cut(f.data, before)
	if !ok {
		return 0, false
	}
	mark, _, _ = bytes.Cut(mark, []byte(`"`))
	us, err := strconv.ParseInt(string(mark[bytes.LastIndexByte(mark, '-')+1:]), 36, 64)
	return time.Duration(us) * time.Microsecond, err == nil
}
