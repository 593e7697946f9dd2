package wsframe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// ErrNoProgress is returned by [Conn.Write] when the peer took nothing for the
// whole write timeout.
var ErrNoProgress = errors.New("no progress within the write timeout")

// rawConn is the net.Conn under a websocket.Conn. The latter writes through
// Write, and only control frames: one whole frame a call, as it flushes a
// buffer with room for the longest.
type rawConn struct {
	net.Conn
	prefix   []byte                // bytes net/http had read ahead; the reader's
	failed   bool                  // reading, or a write for the reader, failed; the reader's
	counter  frameCounter          // the reader's
	onFrames func(frames int) bool // see Options; nil counts none
	timeout  time.Duration
	deflater *Deflater // nil unless permessage-deflate was agreed on
	// protocolError is sent in place of 1002 unless it is 0.
	protocolError websocket.StatusCode

	writing sync.Mutex // held while bytes go to the kernel

	mu       sync.Mutex // guards the following, never held while writing
	deadline time.Time  // the write deadline as last set
	hurried  bool       // deadline is final: a close is under way
	waiting  []byte     // a pong for whoever holds writing to write
	closed   bool       // a close frame is next, or went out
}

// Read returns what net/http had read ahead, then reads.
func (c *rawConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		if len(c.prefix) == 0 {
			c.prefix = nil
		}
		return c.counted(p[:n], nil)
	}
	n, err := c.Conn.Read(p)
	c.failed = c.failed || err != nil
	return c.counted(p[:n], err)
}

// counted passes on what was read unless there are too many frames in it.
func (c *rawConn) counted(p []byte, err error) (int, error) {
	if c.onFrames == nil {
		return len(p), err
	}
	if frames := c.counter.count(p); frames > 0 && !c.onFrames(frames) {
		c.failed = true
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return len(p), err
}

// Write takes a control frame from websocket.Conn.
//
// A pong waits for data that is being written to end, and Write returns at
// once: otherwise a ping from a peer that doesn't read would block the reader
// and end the connection after coder/websocket's five seconds. Of several pongs
// that wait only the last is sent, which RFC 6455 section 5.5.3 allows. A close
// frame is the last thing that happens, and is waited for.
func (c *rawConn) Write(p []byte) (int, error) {
	n, err := c.writeControl(p)
	c.failed = c.failed || err != nil
	return n, err
}

func (c *rawConn) writeControl(p []byte) (int, error) {
	last := len(p) > 0 && Opcode(p[0]&^fin) == opClose
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return len(p), nil
	}
	c.closed = last
	if !last {
		c.waiting = append(c.waiting[:0], p...)
		c.mu.Unlock()
		return len(p), c.writeWaiting()
	}
	c.mu.Unlock()
	if c.protocolError != 0 && len(p) >= 4 && binary.BigEndian.Uint16(p[2:]) == uint16(websocket.StatusProtocolError) {
		binary.BigEndian.PutUint16(p[2:], uint16(c.protocolError)) // p is coder/websocket's buffer, done with
	}
	c.hurry(closeTimeout)
	c.writing.Lock()
	defer c.writing.Unlock()
	return len(p), c.write(p)
}

// closeTimeout bounds the writing of coder/websocket's close frames, which has
// the same bound.
const closeTimeout = 5 * time.Second

// writeWaiting writes the waiting pong unless somebody else is
// writing, who will see it when done.
func (c *rawConn) writeWaiting() error {
	for c.writing.TryLock() {
		c.mu.Lock()
		p, closed := c.waiting, c.closed
		c.waiting = nil
		c.mu.Unlock()
		var err error
		if len(p) > 0 && !closed {
			err = c.write(p)
		}
		c.writing.Unlock()
		if err != nil {
			return err
		}
		c.mu.Lock()
		done := len(c.waiting) == 0
		c.mu.Unlock()
		if done {
			return nil
		}
	}
	return nil
}

// coalesce is up to how many bytes frames are copied together for one system
// call. Copying was measured to be cheaper than writev for frames of a few
// hundred bytes.
const coalesce = 64 << 10

var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, coalesce)
	return &b
}}

func (c *rawConn) writeFrames(frames [][]byte) error {
	c.writing.Lock()
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	var err error
	if closed {
		err = net.ErrClosed
	} else {
		err = c.writeAll(frames)
	}
	c.writing.Unlock()
	if err == nil {
		// The frames are out; if a pong can't follow the reader will know.
		_ = c.writeWaiting()
	}
	return err
}

func (c *rawConn) writeAll(frames [][]byte) error {
	if len(frames) == 1 {
		return c.write(c.deflater.compress(frames[0]))
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	b := (*buffer)[:0]
	for _, f := range frames {
		f = c.deflater.compress(f)
		if len(b)+len(f) > coalesce && len(b) > 0 {
			if err := c.write(b); err != nil {
				return err
			}
			b = b[:0]
		}
		if len(f) > coalesce {
			if err := c.write(f); err != nil {
				return err
			}
			continue
		}
		b = append(b, f...)
	}
	if len(b) == 0 {
		return nil
	}
	return c.write(b)
}

// write writes p while bytes move. writing must be held.
func (c *rawConn) write(p []byte) error {
	for {
		c.extendDeadline()
		n, err := c.Conn.Write(p)
		p = p[n:]
		if len(p) == 0 {
			return nil
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("write %d bytes: %w", len(p), err)
		}
		if n == 0 || !c.resetDeadline() {
			return ErrNoProgress
		}
	}
}

// extendDeadline puts the write deadline at least the timeout ahead. Setting
// it costs a fair part of a write, so it is set an eighth further and then
// left alone for as long.
func (c *rawConn) extendDeadline() {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hurried || c.deadline.Sub(now) >= c.timeout {
		return
	}
	c.deadline = now.Add(c.timeout + c.timeout/8)
	_ = c.SetWriteDeadline(c.deadline)
}

// resetDeadline makes extendDeadline set the deadline anew, and is false when
// it is final.
func (c *rawConn) resetDeadline() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = time.Time{}
	return !c.hurried
}

func (c *rawConn) hurry(grace time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurried = true
	_ = c.SetWriteDeadline(time.Now().Add(grace))
}

func (c *rawConn) shutdown(frame []byte, grace time.Duration) error {
	c.hurry(grace)
	_ = c.SetReadDeadline(time.Now().Add(grace))
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.waiting = nil
	c.mu.Unlock()
	if closed {
		return nil
	}
	return c.write(frame)
}

// closeFrame builds a close frame; a reason that is too long is cut.
func closeFrame(code websocket.StatusCode, reason string) []byte {
	if code == websocket.StatusNoStatusRcvd {
		return AppendHeader(nil, opClose, 0)
	}
	reason = reason[:min(len(reason), 123)]
	frame := AppendHeader(make([]byte, 0, 4+len(reason)), opClose, 2+len(reason))
	frame = binary.BigEndian.AppendUint16(frame, uint16(code))
	return append(frame, reason...)
}
