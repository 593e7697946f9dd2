package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
)

// connect handles CONNECT: the namespace decides on a goroutine of its own.
func (e *engine) connect(namespace, auth []byte) error {
	s := e.server
	handler := s.namespaces[string(namespace)]
	if handler == nil {
		s.config.Observer.Refused("unknown namespace")
		return e.refuse(string(namespace), s.config.UnknownNamespace)
	}
	if e.shared == nil {
		e.shared = s.config.NewConnection()
	}
	socket := &Socket{engine: e, namespace: string(namespace)}
	h := Handshake{
		Namespace:  socket.namespace,
		Auth:       auth,
		RemoteAddr: e.remote,
		Connection: e.shared,
	}
	h.PID, h.Offset = recovery(auth)
	ctx, cancel := context.WithTimeout(s.ctx, s.config.ConnectTimeout)
	socket.cancel = cancel
	e.mu.Lock()
	switch {
	case e.closed:
		e.mu.Unlock()
		cancel()
		return errClosed
	case e.find(namespace) != nil:
		e.mu.Unlock()
		cancel()
		return errors.New("namespace connected twice")
	}
	e.sockets = append(e.sockets[:len(e.sockets):len(e.sockets)], socket)
	e.mu.Unlock()
	if !s.goTracked(func() { e.decide(ctx, handler, socket, h) }) {
		cancel()
		return errClosed
	}
	return nil
}

// recovery takes what connection state recovery needs out of the auth object.
func recovery(auth []byte) (pid, offset string) {
	var members map[string]json.RawMessage
	if json.Unmarshal(auth, &members) != nil {
		return "", ""
	}
	var p, o *string // nil for null
	if json.Unmarshal(members["pid"], &p) != nil || json.Unmarshal(members["offset"], &o) != nil || p == nil || o == nil {
		return "", ""
	}
	return *p, *o
}

// decide asks the namespace and answers the client.
func (e *engine) decide(ctx context.Context, n Namespace, s *Socket, h Handshake) {
	session, err := ask(ctx, n, s, h)
	e.mu.Lock()
	cancel := s.cancel
	s.cancel = nil
	e.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if err != nil {
		e.mu.Lock()
		e.detach(s)
		gone := s.state == socketEnded
		s.state = socketEnded
		s.early = nil
		e.mu.Unlock()
		if gone {
			return
		}
		var refused *ConnectError
		if !errors.As(err, &refused) {
			e.server.config.Logger.Error("connect", "namespace", s.namespace, "connection", e.number, "error", err)
			refused = &ConnectError{Message: "Internal error"}
		}
		e.server.config.Observer.Refused("connect refused")
		if err := e.refuse(s.namespace, refused); err != nil {
			e.fail(err)
		}
		return
	}
	e.join(s, session)
}

func ask(ctx context.Context, n Namespace, s *Socket, h Handshake) (_ Session, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("namespace panicked: %v\n%s", reason, debug.Stack())
		}
	}()
	return n.Connect(ctx, s, h)
}

// join makes a socket a connected one and tells the client.
func (e *engine) join(s *Socket, session Session) {
	if session.SID == "" {
		session.SID = randomID()
	}
	data, err := encodeJSON(struct {
		SID string `json:"sid"`
		PID string `json:"pid,omitempty"`
	}{session.SID, session.PID})
	if err != nil { // two strings always encode
		e.fail(err)
		return
	}
	o := outgoing{kind: packetConnect, namespace: s.namespace, data: data}
	answer := o.append(nil)

	e.mu.Lock()
	if s.state == socketEnded || e.closed {
		reason := s.reason
		if reason == "" { // it is about to be ended with the engine
			reason = e.reason
		}
		e.mu.Unlock()
		e.tell(session.Receiver, reason)
		return
	}
	fits := e.lane.Put(answer, &e.server.config.Config)
	for _, frames := range s.early {
		fits = e.lane.Put(frames, &e.server.config.Config) && fits
	}
	s.early = nil
	s.source, s.receiver = session.Source, session.Receiver
	s.state = socketConnected
	s.awake.Store(true)
	first := !e.joined
	e.joined = true
	if !e.inside {
		e.inside = true
		e.server.leave(e)
	}
	if conn := e.conn.Load(); conn != nil && first {
		conn.SetReadLimit(int64(e.payload()))
	}
	if e.admission != nil {
		e.admission.Stop()
		e.admission = nil
	}
	e.mu.Unlock()
	if !fits {
		e.close(TooSlow)
		return
	}
	e.wake()
}

// refuse answers with CONNECT_ERROR.
func (e *engine) refuse(namespace string, refused *ConnectError) error {
	data, err := encodeJSON(struct {
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}{refused.Message, refused.Data})
	if err != nil {
		return fmt.Errorf("encode the refusal of %q: %w", namespace, err)
	}
	o := outgoing{kind: packetConnectError, namespace: namespace, data: data}
	return e.send(o.append(nil))
}
