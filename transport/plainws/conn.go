package plainws

import (
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"bms/transport/wsframe"
)

// Errors of [Conn.Send].
var (
	// ErrClosed is returned when the connection has ended.
	ErrClosed = errors.New("plainws: connection closed")
	// ErrTooSlow is returned when the connection's lane is full; it is closed
	// by then.
	ErrTooSlow = errors.New("plainws: lane full, connection closed")
)

// Conn is one client's connection.
type Conn struct {
	server *Server

	// Set by open, before the connection is seen by its reader or flusher.
	frames   *wsframe.Conn
	source   Source
	receiver Receiver

	messages, bytes *rate.Limiter // of what comes in; nil: no bound
	excess          int           // frames after the end; the reader's

	flusher wsframe.Flusher
	begun   bool         // it has had a turn; the flusher's
	heard   atomic.Int64 // last sign of life, in nanoseconds since server.start
	held    atomic.Bool  // the reader is in Receiver.Op

	mu     sync.Mutex // guards the following; held for moments only
	lane   wsframe.Lane
	opened bool
	told   bool // Receiver.Closed was called
	closed bool
	code   websocket.StatusCode // once closed, and so the next two
	reason string
	say    string

	// See heartbeat.go. Times are since server.start.
	beat    *time.Timer
	due     time.Duration // when beat shall act
	asked   time.Duration // heard, as it was at the last ping
	partial uint64        // a message that was half read at a pulse
	since   time.Duration // that pulse
}

func newConn(s *Server) *Conn {
	c := &Conn{server: s}
	c.messages, c.bytes = s.config.Limiters()
	return c
}

// open begins to serve an upgraded connection.
func (c *Conn) open(frames *wsframe.Conn, session Session) {
	c.frames, c.source, c.receiver = frames, session.Source, session.Receiver
	c.flusher.Open()
	c.mu.Lock()
	c.opened = true
	ended := c.closed
	if !ended {
		c.startHeartbeat()
	}
	c.mu.Unlock()
	if ended {
		c.hangUp()
	}
	go c.read()
	c.wake()
}

// Wake says that the source has something. It costs one atomic load when the
// flusher is to look again anyway.
func (c *Conn) Wake() { c.wake() }

// Close ends the connection: the client is told the code and the reason, which
// is also what the Observer and Receiver.Closed get.
func (c *Conn) Close(code websocket.StatusCode, reason string) { c.end(code, reason, "") }

// Send sends prepared frames (package wsframe) ahead of events. They become
// the connection's and must not be changed. If its lane is full the connection
// is closed, as a client that doesn't take its answers is of no use. Errors:
// [ErrClosed], [ErrTooSlow].
func (c *Conn) Send(frames []byte) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	ok := c.lane.Put(frames, &c.server.config.Config)
	c.mu.Unlock()
	if !ok {
		c.end(StatusTooSlow, ReasonTooSlow, "answers are not being read")
		return ErrTooSlow
	}
	c.wake()
	return nil
}

// tell calls Receiver.Closed, once.
func (c *Conn) tell(reason string) {
	c.mu.Lock()
	told := c.told
	c.told = true
	c.mu.Unlock()
	if told || c.receiver == nil {
		return
	}
	defer c.fence("Receiver.Closed")
	c.receiver.Closed(reason)
}

// fence is deferred around what isn't ours: a panic there is a mistake in the
// program and must not end the process or any other client.
func (c *Conn) fence(what string) {
	if reason := recover(); reason != nil {
		c.server.config.Logger.Error("connection closed after a panic", "in", what, "reason", reason, "stack", string(debug.Stack()))
		c.end(StatusTryAgain, ReasonFault, "")
	}
}
