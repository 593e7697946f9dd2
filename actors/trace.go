package actors

import (
	"sync/atomic"
	"time"

	"bms/domain"
)

// tracedWrites is how many writes of a commit's events are traced at most: those
// to the first connections that get them. It bounds what the trace of an event
// for thousands of connections costs.
const tracedWrites = 8

// Tracer makes spans of the events of sampled commits on their way to the
// sockets. Its methods must be quick, and safe for concurrent use.
type Tracer interface {
	// Feed is asked about each commit that the feed takes, and each that is
	// read again for connections that are behind (then live is false). It
	// returns nil for a commit whose trace isn't sampled, as nearly all are;
	// for those it must cost next to nothing.
	Feed(c *domain.Commit, live bool) Trace
	// Written is told of a write in which events of sampled commits went out.
	Written(w *Write)
}

// Trace is a sampled commit's trace, as its Tracer has it.
type Trace interface {
	// Fed is called once the events are in the tails of their rooms and the
	// head is past them. rooms is how often one went into a tail: events
	// times the rooms of each that live here.
	Fed(rooms int)
}

// Write is a write to a socket, as far as it is traced.
type Write struct {
	// Traces are those of the commits whose events went out, in log order.
	Traces []Trace
	// SID and Namespace are the connection's.
	SID, Namespace string
	// Events and Bytes are what the connection gave out for it, with the
	// events of commits that are not traced.
	Events, Bytes int
	// From is when the events were handed to the transport, To when it had
	// written them.
	From, To time.Time
	// Lost says that the connection ended before they were known to be
	// written.
	Lost bool
}

// origin is what the events of one batch of the feed, or of one sampled commit,
// have in common. It is shared by their frames.
type origin struct {
	fed    time.Time // when the feed took them; zero for what was read again
	trace  Trace     // nil: not sampled
	writes atomic.Int32
}

// traceOf begins the trace of a commit; nil for one that isn't sampled.
func (h *Hub) traceOf(c *domain.Commit, live bool) Trace {
	if h.cfg.Tracer == nil || len(c.Metadata) == 0 {
		return nil
	}
	return h.cfg.Tracer.Feed(c, live)
}

// take takes one of the places for traced writes.
func (o *origin) take() bool {
	return o.writes.Load() < tracedWrites && o.writes.Add(1) <= tracedWrites
}

// writing is the write of a connection that is under way, where it is traced.
type writing struct {
	Write
	last *origin
}

// traceLocked notes that an event of a sampled commit is given out.
func (c *Connection) traceLocked(o *origin) {
	w := c.writing
	if w != nil && w.last == o { // another event of that commit
		return
	}
	if !o.take() {
		return
	}
	if w == nil {
		w = &writing{Write: Write{SID: c.sid, Namespace: c.namespace, From: c.hub.cfg.Now()}}
		c.writing = w
	}
	w.last = o
	w.Traces = append(w.Traces, o.trace)
}

// written tells of the write that ended before now, if it was traced.
func (c *Connection) written(w *writing, lost bool) {
	if w == nil {
		return
	}
	w.To, w.Lost = c.hub.cfg.Now(), lost
	c.hub.cfg.Tracer.Written(&w.Write)
}
