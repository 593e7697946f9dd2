package plainws

import (
	"errors"
	"net"
	"sync"

	"bms/transport/wsframe"
)

// The states of Conn.flusher. At most one goroutine at a time has the right to
// take from the lane and the source: it moved idle to running and gives the
// right back when it moves running to idle. A wake-up that comes meanwhile
// moves running to again, which makes the holder look once more. None starts
// before the connection is open or after it is retired.
const (
	flusherUnopened int32 = iota
	flusherIdle
	flusherRunning
	flusherAgain
	flusherRetired
)

// turnBytes is about how much one turn of the flusher writes.
const turnBytes = 64 << 10

// turns holds the flushers' memory, shared by all that run.
var turns = sync.Pool{New: func() any { return new([][]byte) }}

// wake makes sure that lane and source are looked at after this call, as soon
// as the transport can take more. It never blocks.
func (c *Conn) wake() {
	for {
		switch c.flusher.Load() {
		case flusherIdle:
			if c.flusher.CompareAndSwap(flusherIdle, flusherRunning) {
				go c.flush()
				return
			}
		case flusherRunning:
			if c.flusher.CompareAndSwap(flusherRunning, flusherAgain) {
				return
			}
		default:
			return
		}
	}
}

// flush writes until there is nothing to write.
func (c *Conn) flush() {
	turn := turns.Get().(*[][]byte)
	for {
		for c.flushTurn(turn) {
		}
		if c.release() {
			break
		}
	}
	turns.Put(turn)
}

// release gives the flusher's right back, unless somebody has asked to look
// once more: then it is false and the caller still has it.
func (c *Conn) release() bool {
	if c.flusher.CompareAndSwap(flusherRunning, flusherIdle) {
		return true
	}
	if c.flusher.CompareAndSwap(flusherAgain, flusherRunning) {
		return false
	}
	close(c.flushed) // retired
	return true
}

// retire waits for the flusher to end and lets none start again. Only the
// reader calls it, once.
func (c *Conn) retire() {
	c.flushed = make(chan struct{})
	if c.flusher.Swap(flusherRetired) != flusherIdle {
		<-c.flushed
	}
}

// flushTurn writes one turn and says whether there may be more.
func (c *Conn) flushTurn(turn *[][]byte) bool {
	frames := (*turn)[:0]
	defer func() {
		clear(frames)
		*turn = frames[:0]
	}()
	c.mu.Lock()
	frames = c.lane.take(frames)
	closed := c.closed
	c.mu.Unlock()
	if closed {
		if len(frames) > 0 && c.write(frames) != nil || c.shutdown() != nil {
			c.frames.Abort()
		}
		return false
	}
	frames = c.pull(frames)
	if len(frames) == 0 {
		return false
	}
	switch err := c.write(frames); {
	case err == nil:
		return true
	case errors.Is(err, net.ErrClosed):
		// A close frame that went out says that the reader is about to close.
		return false
	case errors.Is(err, wsframe.ErrNoProgress):
		c.end(statusHungUp, ReasonTooSlow, "")
	default:
		c.end(statusHungUp, ReasonTransportError, "")
	}
	// Nothing more can be said, also if it has been ended with a close frame
	// to come: what was being written is not whole.
	c.frames.Abort()
	return false
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

// write writes the turn's frames.
func (c *Conn) write(frames [][]byte) error {
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	if err := c.frames.Write(frames...); err != nil {
		return err
	}
	c.server.config.Observer.Sent(len(frames), size)
	return nil
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
