package socketio

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
)

// maxAwaited bounds the acks that one socket waits for.
const maxAwaited = 256

// Reply is a client's answer to an event.
type Reply struct {
	Args        []json.RawMessage
	Attachments [][]byte // as for Receiver.Event
}

// EmitWithAck sends an event as Emit does and waits for the client's answer.
// Errors: those of Emit, [ErrManyAcks] when 256 answers of the socket are
// awaited already, [ErrClosed] when the socket ends, and ctx's.
//
// It must not be called inside Receiver.Event, which would hold up the answer.
func (s *Socket) EmitWithAck(ctx context.Context, name string, args ...any) (Reply, error) {
	raw, attachments, err := encodeArgs(args)
	if err != nil {
		return Reply{}, fmt.Errorf("emit %q: %w", name, err)
	}
	e := s.engine
	reply := make(chan Reply, 1)
	e.mu.Lock()
	if s.state == socketEnded {
		e.mu.Unlock()
		return Reply{}, ErrClosed
	}
	if len(s.acks) >= maxAwaited {
		e.mu.Unlock()
		return Reply{}, ErrManyAcks
	}
	if s.acks == nil {
		s.acks = map[uint64]chan Reply{}
	}
	s.lastAck++
	id := s.lastAck
	s.acks[id] = reply
	e.mu.Unlock()
	o := outgoing{kind: packetEvent, namespace: s.namespace, id: id, hasID: true, name: name, named: true, args: raw, attachments: attachments}
	if err := s.Send(o.append(nil)); err != nil {
		s.forget(id)
		return Reply{}, err
	}
	select {
	case r, ok := <-reply:
		if !ok {
			return Reply{}, ErrClosed
		}
		return r, nil
	case <-ctx.Done():
		s.forget(id)
		return Reply{}, fmt.Errorf("wait for the ack of %q: %w", name, ctx.Err())
	}
}

// forget takes an awaited ack out and returns it, or nil.
func (s *Socket) forget(id uint64) chan Reply {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	reply := s.acks[id]
	delete(s.acks, id)
	return reply
}

// acked hands a client's ack to who waits for it. Nobody may: it was never
// asked for, or given up.
func (s *Socket) acked(id uint64, r Reply) {
	if reply := s.forget(id); reply != nil {
		reply <- r
	}
}

// answer makes the function that answers the client's event.
func (s *Socket) answer(id uint64) func(args ...any) {
	var done atomic.Bool
	return func(values ...any) {
		if done.Swap(true) {
			return
		}
		args, attachments, err := encodeArgs(values)
		if err != nil {
			s.engine.server.config.Logger.Error("ack not sent", "connection", s.engine.number, "error", err)
			return
		}
		o := outgoing{kind: packetAck, namespace: s.namespace, id: id, hasID: true, args: args, attachments: attachments}
		// The client is gone or is being closed if this fails.
		_ = s.Send(o.append(nil))
	}
}
