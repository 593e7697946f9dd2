package plainws

import (
	"errors"
	"net"

	"bms/transport/wsframe"
)

// turnBytes is about how much one turn of the flusher writes.
const turnBytes = 64 << 10

// wake makes sure that lane and source are looked at after this call, as soon
// as the transport can take more. It never blocks.
func (c *Conn) wake() { c.flusher.Wake((*turner)(c)) }

// turner is a Conn as its flusher knows it.
type turner Conn

// Turn implements [wsframe.Turner].
func (t *turner) Turn(memory [][]byte) (used [][]byte, more bool) { return (*Conn)(t).turn(memory) }

// turn writes the lane and about turnBytes of events.
func (c *Conn) turn(frames [][]byte) (used [][]byte, more bool) {
	first := !c.begun
	if first {
		// The reader may have been quicker: whatever the client has asked by
		// now, what it gets first is the source's.
		c.begun = true
		frames = c.pull(frames)
	}
	c.mu.Lock()
	frames = c.lane.Take(frames)
	closed := c.closed
	c.mu.Unlock()
	if closed {
		if len(frames) > 0 && c.frames.Write(frames...) != nil || c.shutdown() != nil {
			c.frames.Abort()
		}
		return frames, false
	}
	if !first {
		frames = c.pull(frames)
	}
	if len(frames) == 0 {
		return frames, false
	}
	switch err := c.frames.Write(frames...); {
	case err == nil:
		return frames, true
	case errors.Is(err, net.ErrClosed):
		// A close frame that went out says that the reader is about to close.
		return frames, false
	case errors.Is(err, wsframe.ErrNoProgress):
		c.end(statusHungUp, ReasonTooSlow, "")
	default:
		c.end(statusHungUp, ReasonTransportError, "")
	}
	// Nothing more can be said, also if it has been ended with a close frame
	// to come: what was being written is not whole.
	c.frames.Abort()
	return frames, false
}

// pull asks the source for up to about turnBytes.
func (c *Conn) pull(frames [][]byte) [][]byte {
	if c.source == nil {
		return frames
	}
	defer c.fence("Source.Next")
	frames = c.source.Next(frames, turnBytes)
	return frames
}

// shutdown writes the close frame.
func (c *Conn) shutdown() error {
	c.mu.Lock()
	code, reason := c.code, c.reason
	if c.say != "" {
		reason += ": " + c.say
	}
	c.mu.Unlock()
	return c.frames.Shutdown(code, reason, closeGrace)
}
