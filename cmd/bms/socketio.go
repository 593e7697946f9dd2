package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"bms/actors"
	"bms/domain"
	"bms/transport/socketio"
	"bms/transport/telemetry"
)

// newSocketIO makes the Socket.IO server.
func (s *sockets) newSocketIO(a *App) (*socketio.Server, error) {
	server, err := socketio.New(socketio.Config{
		Config:           a.wsConfig(),
		NewConnection:    func() any { return &peer{} },
		UnknownNamespace: unknownNamespace,
		Observer: socketio.Observer{
			Refused: func(reason string) {
				if reason != "connect refused" { // counted by its code
					s.refusals.connection(telemetry.ProtocolSocketIO, reason)
				}
			},
			Closed: func(transport socketio.Transport, reason socketio.Reason) {
				a.metrics.SessionClosed(string(transport), string(reason))
			},
		},
	})
	if err != nil {
		return nil, err
	}
	for i, ns := range namespaces {
		server.Of(ns, socketio.NamespaceFunc(func(ctx context.Context, sock *socketio.Socket, h socketio.Handshake) (socketio.Session, error) {
			session, err := s.connectSocketIO(ctx, sock, h, i)
			if err != nil {
				s.refusals.connectionError(telemetry.ProtocolSocketIO, err)
				return socketio.Session{}, connectError(err)
			}
			return session, nil
		}))
	}
	return server, nil
}

// unknownNamespace refuses who asks for another namespace than there are, such
// as a client that gives none.
var unknownNamespace = &socketio.ConnectError{
	Message: "Invalid namespace, there are " + strings.Join(namespaces, ", "),
	Data:    map[string]any{"code": domain.CodeForbiddenNamespace},
}

// readAuth takes what a client says when it connects: {token, since?}. since is
// for clients that keep their cursor themselves; stock ones send pid and offset.
// One that is no text is no position, as is any text that is none, and keeps
// nobody out.
func readAuth(auth []byte) (token, since string, err error) {
	if len(auth) == 0 {
		return "", "", nil
	}
	if members, err := domain.Members(auth); err == nil {
		said, ok := members["token"]
		if !ok || json.Unmarshal(said, &token) == nil {
			_ = json.Unmarshal(members["since"], &since)
			return token, since, nil
		}
	}
	return "", "", domain.Reject(domain.CodeUnauthorized, "auth must be {token} with a signed token")
}

// connectSocketIO answers a client that asks for a namespace.
func (s *sockets) connectSocketIO(ctx context.Context, sock *socketio.Socket, h socketio.Handshake, codec int) (socketio.Session, error) {
	said, since, err := readAuth(h.Auth)
	if err != nil {
		return socketio.Session{}, err
	}
	token, err := s.verifier.Verify(ctx, said)
	if err != nil {
		return socketio.Session{}, err
	}
	user := token.Identity.UserID

	asked, began, ok := s.ids.open(h.PID, user, h.Namespace)
	cursor := since
	if ok {
		cursor = h.Offset
	}
	client, recovered, err := s.join(ctx, joinRequest{
		protocol: telemetry.ProtocolSocketIO, peer: h.Connection.(*peer), namespace: h.Namespace, token: token,
		sid: asked, began: began, cursor: cursor, keepRooms: true, codec: codec, transport: socketioTransport{sock},
	})
	if err != nil {
		return socketio.Session{}, err
	}
	sid, pid := client.conn.SID(), h.PID
	if !recovered || sid != asked {
		// The client takes itself as recovered exactly when its own pid
		// comes back.
		pid = s.ids.newPID(sid, user, h.Namespace, s.now())
	}
	return socketio.Session{SID: sid, PID: pid, Source: client.conn, Receiver: socketioReceiver{client}}, nil
}

// connectError is a CONNECT_ERROR: {message, data: {code, …}}.
func connectError(err error) error {
	no, ok := errors.AsType[*domain.Rejection](err)
	if !ok {
		return err
	}
	data := map[string]any{"code": no.Code}
	for k, v := range no.Details {
		data[k] = v
	}
	return &socketio.ConnectError{Message: no.Message, Data: data}
}

// socketioTransport is a Socket.IO socket as the hub knows it.
type socketioTransport struct{ socket *socketio.Socket }

func (t socketioTransport) Wake() { t.socket.Wake() }

// Close tells a client that is not to come back unchanged so ("io server
// disconnect": it stays away until the program connects again), and only drops
// the connection of one that is to come back by itself.
//
// One whose token has ended comes back, too: with a new token, if its program
// gives one by a function, or it is told token_expired. There is no way to end
// its namespace alone that says as much, so the other namespaces of the client
// come back with it, each with its cursor, and miss nothing.
func (t socketioTransport) Close(reason actors.EndReason) {
	switch reason {
	case actors.EndKicked, actors.EndRights, actors.EndUnauthorized:
		t.socket.Disconnect(false)
	default:
		t.socket.CloseEngine(socketio.Reason(reason))
	}
}

// socketioReceiver takes what a client sends.
type socketioReceiver struct{ client *socketClient }

func (r socketioReceiver) Event(name string, args []json.RawMessage, _ [][]byte, ack func(...any)) {
	if ack == nil {
		r.client.op(name, args, nil)
		return
	}
	r.client.op(name, args, func(v any) { ack(v) })
}

func (r socketioReceiver) Closed(reason socketio.Reason) { r.client.closed(string(reason)) }

// socketioCodec encodes for Socket.IO: an event is the event's name, the
// envelope and the position, which stock clients send back as their offset.
// Everything that is not an ack carries a position, since the client takes
// whatever string comes last for one.
type socketioCodec struct{ namespace string }

func (c socketioCodec) Event(e *domain.Event) []byte { return c.event(e, e.Pos) }

func (c socketioCodec) LastUnread(e *domain.Event, s *actors.Session) []byte {
	return c.event(e, s.Pos)
}

func (c socketioCodec) Session(s *actors.Session, cursor domain.Position) []byte {
	return c.Message("session", s.JSON(), cursor)
}

func (c socketioCodec) Message(name string, data json.RawMessage, cursor domain.Position) []byte {
	return socketio.AppendEvent(nil, c.namespace, name, data, quoted(cursor))
}

func (c socketioCodec) event(e *domain.Event, cursor domain.Position) []byte {
	envelope := e.AppendEnvelope(make([]byte, 0, 256+len(e.Data)))
	return socketio.AppendEvent(nil, c.namespace, e.Type, envelope, quoted(cursor))
}

func quoted(p domain.Position) json.RawMessage {
	b := append(make([]byte, 0, domain.PositionLen+2), '"')
	return append(p.AppendTo(b), '"')
}
