package socketio

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

// The states of engine.flusher. At most one goroutine at a time has the right
// to take from the lane and the sources: it moved idle to running and gives
// the right back when it moves running to idle. A wake-up that comes meanwhile
// moves running to again, which makes the holder look once more. retired ends
// it all: no flusher starts any more.
const (
	flusherIdle int32 = iota
	flusherRunning
	flusherAgain
	flusherRetired
)

// turnBytes is about how much one turn of the flusher writes, shared by the
// connection's sockets that are awake.
const turnBytes = 64 << 10

// turn is a flusher's memory, shared by all that run.
type turn struct {
	frames  [][]byte
	sockets []*Socket
}

var turns = sync.Pool{New: func() any { return new(turn) }}

// reset forgets what the turn referred to.
func (t *turn) reset() {
	clear(t.frames)
	clear(t.sockets)
	t.frames, t.sockets = t.frames[:0], t.sockets[:0]
}

// wake makes sure that the lane and the sockets that are awake are looked at
// after this call, as soon as the transport can take more. It never blocks.
func (e *engine) wake() {
	if e.conn.Load() == nil {
		e.mu.Lock()
		if e.poll != nil {
			e.poll.signal()
		}
		e.mu.Unlock()
		if e.conn.Load() == nil {
			return
		}
	}
	for {
		switch e.flusher.Load() {
		case flusherIdle:
			if e.flusher.CompareAndSwap(flusherIdle, flusherRunning) {
				go e.flush()
				return
			}
		case flusherRunning:
			if e.flusher.CompareAndSwap(flusherRunning, flusherAgain) {
				return
			}
		default:
			return
		}
	}
}

// flush writes until there is nothing to write.
func (e *engine) flush() {
	t := turns.Get().(*turn)
	for {
		for e.flushTurn(t) {
		}
		if e.release() {
			break
		}
	}
	t.reset()
	turns.Put(t)
}

// release gives the flusher's right back, unless somebody has asked to look
// once more: then it is false and the caller still has it.
func (e *engine) release() bool {
	if e.flusher.CompareAndSwap(flusherRunning, flusherIdle) {
		return true
	}
	if e.flusher.CompareAndSwap(flusherAgain, flusherRunning) {
		return false
	}
	close(e.flushed) // retired
	return true
}

// retire waits for the flusher to end and lets none start again. Only the
// WebSocket's reader calls it, once.
func (e *engine) retire() {
	e.flushed = make(chan struct{})
	if e.flusher.Swap(flusherRetired) != flusherIdle {
		<-e.flushed
	}
}

// flushTurn writes one turn and says whether there may be more.
func (e *engine) flushTurn(t *turn) bool {
	t.reset()
	conn := e.conn.Load()
	e.mu.Lock()
	closed := e.closed
	e.collect(t)
	e.mu.Unlock()
	if closed {
		if len(t.frames) > 0 && e.write(conn, t) != nil ||
			conn.Shutdown(websocket.StatusNoStatusRcvd, "", closeGrace) != nil {
			conn.Abort()
		}
		return false
	}
	if err := e.pull(t, turnBytes); err != nil {
		e.fault(err)
		return false
	}
	if len(t.frames) == 0 {
		return false
	}
	if err := e.write(conn, t); err != nil {
		if errors.Is(err, wsframe.ErrNoProgress) {
			e.close(TooSlow)
		} else if !errors.Is(err, net.ErrClosed) {
			e.close(TransportError)
		}
		// A close frame that went out says that the reader is about to close.
		return false
	}
	return true
}

// collect takes the lane, and notes the sockets to be pulled from. e.mu must
// be held, and the flusher's right.
func (e *engine) collect(t *turn) {
	t.frames = e.lane.take(t.frames)
	for _, s := range e.sockets {
		if s.source != nil && s.awake.Load() {
			t.sockets = append(t.sockets, s)
		}
	}
}

// pull asks the noted sockets for up to about limit bytes in all.
func (e *engine) pull(t *turn, limit int) (err error) {
	if len(t.sockets) == 0 {
		return nil
	}
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("source panicked: %v\n%s", reason, debug.Stack())
		}
	}()
	share := max(limit/len(t.sockets), 1)
	for _, s := range t.sockets {
		// In this order: what is made before a Wake that finds the flag still
		// set is seen by Next, and after it the Wake sets the flag again.
		s.awake.Store(false)
		before := len(t.frames)
		t.frames = s.source.Next(t.frames, share)
		if len(t.frames) > before {
			s.awake.Store(true) // there may be more
		}
	}
	return nil
}

// write writes the turn's frames.
func (e *engine) write(conn *wsframe.Conn, t *turn) error {
	size := 0
	for _, f := range t.frames {
		size += len(f)
	}
	if err := conn.Write(t.frames...); err != nil {
		return err
	}
	e.server.config.Observer.Sent(len(t.frames), size)
	return nil
}

// fault closes the session after a panic in a Source or a Receiver, which is
// a mistake in the program and must not end the process or any other client.
func (e *engine) fault(err error) {
	e.server.config.Logger.Error("socket closed after a panic", "connection", e.number, "error", err)
	e.close(ServerError)
}
