package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"bms/domain"
)

// commander gives commands, one at a time. It is a goroutine's own.
type commander struct {
	api      *api
	clock    *clock
	seen     *meters
	token    string
	number   int
	branches []string
	products int
	random   *rand.Rand
	// keep has every command kept, for Check, and some of them sent twice.
	keep bool
	// late ends the wait for an answer.
	late context.Context

	// audiences are whom notifications can be sent to.
	audiences []string

	given    int
	pending  []sale     // not completed yet
	transit  []transfer // not received or cancelled yet
	buf      bytes.Buffer
	commands []Command
}

// run gives commands until the context ends: one every interval, or with zero
// one after the other. A command under way is seen through.
func (c *commander) run(ctx context.Context, interval time.Duration) error {
	due := c.clock.now()
	if interval > 0 {
		due += time.Duration(c.random.Int64N(int64(interval)))
	}
	wait := time.NewTimer(due - c.clock.now())
	defer wait.Stop()
	for {
		if interval > 0 {
			// How long an answer takes counts from when it was due: a node
			// that stands still is not measured as if nobody had come.
			wait.Reset(due - c.clock.now())
			select {
			case <-wait.C:
			case <-ctx.Done():
				return nil
			}
		} else {
			due = c.clock.now()
		}
		if ctx.Err() != nil {
			return nil
		}
		mark := c.clock.mark(c.number, c.given, due)
		c.given++
		if err := c.give(mark, due, c.next(mark)); err != nil {
			return err
		}
		due += interval
	}
}

// repeatEvery is how many commands there are to one that is sent again when it
// has been answered.
const repeatEvery = 50

// give sends a command until it is known what became of it, or it is too late.
// The error is an answer that there is no excuse for.
func (c *commander) give(mark string, due time.Duration, o order) error {
	cmd := Command{Mark: mark, Sent: c.clock.now()}
	r, doubt, err := c.send(mark, o)
	cmd.Done = c.clock.now()
	if o.mark != "" {
		cmd.Mark = o.mark
	}
	switch {
	case err != nil: // too late
	case r.ok():
		cmd.Outcome = Answered
		c.seen.answered.Add(1)
		c.seen.answers.Record(cmd.Done - due)
		if o.answered != nil {
			err = o.answered(&cmd, r.body)
		}
		if c.keep && err == nil {
			err = c.hold(&cmd, mark, o, r)
		}
	case r.status == http.StatusConflict || r.status == http.StatusNotFound:
		// An attempt that had no answer may still be under way to the node.
		if !doubt {
			cmd.Outcome = Rejected
		}
		c.seen.rejected.Add(1)
		c.seen.answers.Record(cmd.Done - due)
	default:
		return r.err(o.method, o.path)
	}
	kept := o.outcome == nil || o.outcome(&cmd)
	if c.keep && kept {
		c.commands = append(c.commands, cmd)
	}
	if c.late.Err() != nil {
		return nil
	}
	return err
}

// hold keeps what an answer says, and asks now and then whether the node says
// it again.
func (c *commander) hold(cmd *Command, key string, o order, first reply) (err error) {
	if cmd.Events, err = answeredEvents(first.body); err != nil || c.random.IntN(repeatEvery) > 0 {
		return err
	}
	said := bytes.Clone(first.body)
	again, _, err := c.send(key, o)
	if err == nil && !bytes.Equal(again.body, said) {
		cmd.Repeated++
	}
	return nil // too late to ask is no fault
}

// send sends a command until there is an answer that stands. doubt is true when
// an attempt before had none. The error says that there was none in time.
func (c *commander) send(key string, o order) (r reply, doubt bool, err error) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		r, err = c.api.call(c.late, o.method, o.path, c.token, key, o.body, &c.buf)
		switch {
		case c.late.Err() != nil:
			return reply{}, true, c.late.Err()
		case err == nil && (r.status < 500 && r.status != http.StatusTooManyRequests || r.status == http.StatusInternalServerError):
			return r, doubt, nil // a node's mistake is not to be covered up
		case err != nil || r.status >= 500:
			doubt = true
		}
		c.seen.retried.Add(1)
		select {
		case <-time.After(pause/2 + time.Duration(c.random.Int64N(int64(pause)))):
		case <-c.late.Done():
			return reply{}, true, c.late.Err()
		}
	}
}

// answeredEvents reads the events of an answer.
func answeredEvents(body []byte) ([]Received, error) {
	var answer struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read the answer %.300q: %w", body, err)
	}
	events := make([]Received, len(answer.Events))
	for i, raw := range answer.Events {
		const tail = domain.PositionLen + len(`"}`)
		if len(raw) < tail {
			return nil, fmt.Errorf("read the answer: event %.300q", raw)
		}
		pos, err := domain.ParsePosition(string(raw[len(raw)-tail : len(raw)-len(`"}`)]))
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		events[i] = Received{Seq: pos.Seq, Index: pos.Index, Sum: Sum(raw)}
	}
	return events, nil
}
