package socketio

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

// turnBytes is about how much one turn of the flusher writes, shared by the
// connection's sockets that are awake.
const turnBytes = 64 << 10

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
	e.flusher.Wake(e)
}

// fewSockets is for how many sockets a turn needs no memory of the heap.
const fewSockets = 8

// Turn implements [wsframe.Turner]: it writes the lane and about turnBytes of
// events to the WebSocket.
func (e *engine) Turn(frames [][]byte) (used [][]byte, more bool) {
	conn := e.conn.Load()
	var few [fewSockets]*Socket
	e.mu.Lock()
	closed := e.closed
	frames, sockets := e.collect(frames, few[:0])
	e.mu.Unlock()
	if closed {
		if len(frames) > 0 && conn.Write(frames...) != nil ||
			conn.Shutdown(websocket.StatusNoStatusRcvd, "", closeGrace) != nil {
			conn.Abort()
		}
		return frames, false
	}
	frames, err := e.pull(frames, sockets, turnBytes)
	if err != nil {
		e.fault(err)
		return frames, false
	}
	if len(frames) == 0 {
		return frames, false
	}
	switch err := conn.Write(frames...); {
	case err == nil:
		return frames, true
	case errors.Is(err, net.ErrClosed):
		// A close frame that went out says that the reader is about to close.
		return frames, false
	case errors.Is(err, wsframe.ErrNoProgress):
		e.close(TooSlow)
	default:
		e.close(TransportError)
	}
	// Nothing more can be said, also if it has been closed with a close frame
	// to come: what was being written is not whole.
	conn.Abort()
	return frames, false
}

// collect takes the lane, and lists the sockets to be pulled from. e.mu must
// be held, and the flusher's right.
func (e *engine) collect(frames [][]byte, sockets []*Socket) ([][]byte, []*Socket) {
	for _, s := range e.sockets {
		if s.source != nil && s.awake.Load() {
			sockets = append(sockets, s)
		}
	}
	return e.lane.Take(frames), sockets
}

// pull asks sockets for up to about limit bytes in all.
func (e *engine) pull(frames [][]byte, sockets []*Socket, limit int) (_ [][]byte, err error) {
	if len(sockets) == 0 {
		return frames, nil
	}
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("source panicked: %v\n%s", reason, debug.Stack())
		}
	}()
	share := max(limit/len(sockets), 1)
	for _, s := range sockets {
		// In this order: what is made before a Wake that finds the flag still
		// set is seen by Next, and after it the Wake sets the flag again.
		s.awake.Store(false)
		before := len(frames)
		frames = s.source.Next(frames, share)
		if len(frames) > before {
			s.awake.Store(true) // there may be more
		}
	}
	return frames, nil
}

// fault closes the session after a panic in a Source or a Receiver, which is
// a mistake in the program and must not end the process or any other client.
func (e *engine) fault(err error) {
	e.server.config.Logger.Error("socket closed after a panic", "connection", e.number, "error", err)
	e.close(ServerError)
}

// send queues frames and wakes the flusher. An engine whose lane is full is
// closed.
func (e *engine) send(frames []byte) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return ErrClosed
	}
	ok := e.lane.Put(frames, &e.server.config.Config)
	e.mu.Unlock()
	if !ok {
		e.close(TooSlow)
		return ErrTooSlow
	}
	e.wake()
	return nil
}
