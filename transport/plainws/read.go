package plainws

import (
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

// maxExcess is how many frames are read from a client that has been told to
// go. Closing with bytes unread would reset the connection, and the client
// might not see why: one that sends in a loop has thousands under way before it
// looks. To read them and drop them costs some milliseconds, once.
const maxExcess = 10_000

// read is the connection's reader.
func (c *Conn) read() {
	defer c.server.remove(c)
	err := c.readMessages()
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig):
		c.dismiss(StatusTooLarge, ReasonTooLarge) // coder/websocket has said so
	case errors.Is(err, wsframe.ErrProtocol):
		c.dismiss(StatusProtocolError, ReasonProtocolError)
	case wsframe.CloseStatus(err) != -1:
		c.end(statusPeerClosed, ReasonTransportClose, "")
	default:
		c.end(statusHungUp, ReasonTransportError, "")
	}
	c.frames.Abort() // lets a flusher that is blocked go
	c.flusher.Retire()
	c.frames.Close()
}

// dismiss ends the connection after an error in its frames: nothing more can
// be read but the end.
func (c *Conn) dismiss(code websocket.StatusCode, reason string) {
	c.end(code, reason, "")
	if c.shutdown() == nil {
		c.frames.Discard()
	}
}

// readMessages handles messages until the connection ends. Once it is closed
// it reads on, for the peer's close frame; Shutdown bounds that.
func (c *Conn) readMessages() error {
	for {
		op, data, err := c.frames.Read()
		if err != nil {
			return err
		}
		c.alive()
		if c.over() {
			continue
		}
		switch {
		case c.bytes != nil && !c.bytes.AllowN(time.Now(), len(data)):
			c.tooMany("bytes")
		case op != wsframe.OpText:
			c.end(StatusProtocolError, ReasonProtocolError, "a binary message")
		default:
			_ = wsframe.Aside(func() error { c.handle(data); return nil })
		}
	}
}

// over says whether the connection has ended.
func (c *Conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// allowFrames takes frames, of whatever kind, from the connection's allowance
// of messages; false drops the connection, which happens to a client that has
// been told to go and goes on regardless.
func (c *Conn) allowFrames(frames int) bool {
	if c.over() {
		c.excess += frames
		return c.excess <= maxExcess
	}
	if c.messages != nil && !c.messages.AllowN(time.Now(), frames) {
		c.tooMany("")
	}
	return true
}

// ping notes that the client is alive; the frame has been counted.
func (c *Conn) ping() bool {
	c.alive()
	return true
}

// tooMany ends the connection of a client that floods, and reads nothing more
// of it until it has been told.
func (c *Conn) tooMany(say string) {
	c.end(StatusTooMany, ReasonTooMany, say)
	_ = c.shutdown() // an error ends the next read
}

// handle hands a text message to the receiver.
func (c *Conn) handle(data []byte) {
	r, err := parseRequest(data)
	if err != nil {
		c.end(StatusProtocolError, ReasonProtocolError, err.Error())
		return
	}
	if c.receiver == nil {
		return
	}
	c.held.Store(true)
	defer func() {
		c.alive()
		c.held.Store(false)
	}()
	defer c.fence("Receiver.Op")
	var ack func(any)
	if len(r.id) > 0 {
		ack = c.answer(r.id)
	}
	c.receiver.Op(r.op, r.args, ack)
}

// answer makes the function that answers the client's operation.
func (c *Conn) answer(id json.RawMessage) func(any) {
	var done atomic.Bool
	return func(data any) {
		if done.Swap(true) {
			return
		}
		frame, err := ackFrame(id, data)
		if err != nil {
			c.server.config.Logger.Error("answer not sent", "error", err)
			return
		}
		// The client is gone or is being closed if this fails.
		_ = c.Send(frame)
	}
}
