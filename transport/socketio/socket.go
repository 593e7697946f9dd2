package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
)

// Errors of [Socket]'s methods.
var (
	// ErrClosed is returned when the socket has ended.
	ErrClosed = errors.New("socketio: socket closed")
	// ErrTooSlow is returned when the connection's control lane is full; the
	// connection is closed by then.
	ErrTooSlow = errors.New("socketio: control lane full, connection closed")
	// ErrManyAcks is returned by EmitWithAck when too many acks of the socket
	// are awaited.
	ErrManyAcks = errors.New("socketio: too many acks awaited")
)

// Socket is one client's connection to one namespace.
type Socket struct {
	engine    *engine
	namespace string
	awake     atomic.Bool // the source has to be asked

	// Guarded by engine.mu.
	state    socketState
	reason   Reason             // once ended
	early    [][]byte           // emitted before the client was answered
	cancel   context.CancelFunc // of the running Connect
	acks     map[uint64]chan Reply
	lastAck  uint64
	source   Source   // set once, before connected
	receiver Receiver // likewise
}

type socketState uint8

const (
	socketConnecting socketState = iota
	socketConnected
	socketEnded
)

// Namespace is the one the socket is connected to.
func (s *Socket) Namespace() string { return s.namespace }

// Wake says that the socket's source has something. It costs one atomic load
// when the socket is awake already, and never blocks.
func (s *Socket) Wake() {
	if s.awake.Load() || s.awake.Swap(true) {
		return
	}
	s.engine.wake()
}

// Send sends prepared frames (package wsframe) ahead of events. They become
// the connection's and must not be changed. If its lane is full the connection
// is closed, as a client that doesn't take its answers is of no use. Errors:
// [ErrClosed], [ErrTooSlow].
func (s *Socket) Send(frames []byte) error {
	e := s.engine
	e.mu.Lock()
	switch s.state {
	case socketEnded:
		e.mu.Unlock()
		return ErrClosed
	case socketConnecting:
		fits := len(s.early) < e.server.config.ControlFrames
		if fits {
			s.early = append(s.early, frames)
		}
		e.mu.Unlock()
		if !fits {
			e.close(TooSlow)
			return ErrTooSlow
		}
		return nil
	}
	e.mu.Unlock()
	return e.send(frames)
}

// Emit sends an event to the client, as [Socket.Send] does. Arguments are
// encoded as JSON; a json.RawMessage is taken as it is, a [Binary] goes as an
// attachment.
func (s *Socket) Emit(name string, args ...any) error {
	raw, attachments, err := encodeArgs(args)
	if err != nil {
		return fmt.Errorf("emit %q: %w", name, err)
	}
	return s.Send(AppendBinaryEvent(nil, s.namespace, name, attachments, raw...))
}

// Disconnect ends the socket, or all sockets of the connection and the
// connection itself if all is true. The client is told and will not come back
// by itself; see [Socket.CloseEngine] for that.
func (s *Socket) Disconnect(all bool) {
	e := s.engine
	e.mu.Lock()
	if s.state == socketEnded || e.closed {
		e.mu.Unlock()
		return
	}
	ended := []*Socket{s}
	if all {
		ended = append([]*Socket(nil), e.sockets...)
	}
	fits := true
	for _, each := range ended {
		if each.state == socketConnected {
			o := outgoing{kind: packetDisconnect, namespace: each.namespace}
			fits = e.lane.Put(o.append(nil), &e.server.config.Config) && fits
		}
		e.detach(each)
	}
	e.mu.Unlock()
	for _, each := range ended {
		each.ended(ServerNamespaceDisconnect)
	}
	switch {
	case !fits:
		e.close(TooSlow)
	case all:
		e.close(ForcedServerClose)
	default:
		e.wake()
	}
}

// CloseEngine closes the client's whole connection without telling the client
// that it is unwelcome: it comes back by itself. reason may be one of the
// caller's own. What was sent to the socket before is still delivered, unless
// the reason is [TooSlow] or [TransportError].
func (s *Socket) CloseEngine(reason Reason) { s.engine.close(reason) }

// detach takes a socket out of the engine. e.mu must be held.
func (e *engine) detach(s *Socket) {
	for i, each := range e.sockets {
		if each == s {
			// A copy, as end may be walking the old one.
			e.sockets = append(append([]*Socket(nil), e.sockets[:i]...), e.sockets[i+1:]...)
			e.outside()
			return
		}
	}
}

// find is the engine's socket of a namespace, or nil. e.mu must be held.
func (e *engine) find(namespace []byte) *Socket {
	for _, s := range e.sockets {
		if s.namespace == string(namespace) {
			return s
		}
	}
	return nil
}

// ended tells whoever holds the socket that it is over. The socket has been
// detached.
func (s *Socket) ended(reason Reason) {
	e := s.engine
	e.mu.Lock()
	if s.state == socketEnded {
		e.mu.Unlock()
		return
	}
	connected := s.state == socketConnected
	s.state, s.reason = socketEnded, reason
	s.early = nil
	acks := s.acks
	s.acks = nil
	cancel := s.cancel
	s.cancel = nil
	e.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	for _, reply := range acks {
		close(reply)
	}
	if connected {
		e.tell(s.receiver, reason)
	}
}

// tell calls Closed.
func (e *engine) tell(r Receiver, reason Reason) {
	if r == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			e.server.config.Logger.Error("receiver panicked in Closed", "connection", e.number,
				"error", v, "stack", string(debug.Stack()))
		}
	}()
	r.Closed(reason)
}

// event hands an event to the receiver.
func (s *Socket) event(name string, args []json.RawMessage, attachments [][]byte, ack func(...any)) (err error) {
	if s.receiver == nil {
		return nil
	}
	defer func() {
		if reason := recover(); reason != nil {
			err = &panicError{reason, debug.Stack()}
		}
	}()
	s.receiver.Event(name, args, attachments, ack)
	return nil
}

// panicError is a panic in a Receiver.
type panicError struct {
	reason any
	stack  []byte
}

func (e *panicError) Error() string {
	return fmt.Sprintf("receiver panicked: %v\n%s", e.reason, e.stack)
}
