package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"bms/actors"
	"bms/domain"
	"bms/transport/auth"
)

// joinRequest is a client that asks for a namespace, its token being good.
type joinRequest struct {
	protocol  string
	peer      *peer
	namespace string
	token     auth.Token
	sid       string    // the session that goes on, empty for none
	began     time.Time // when it did
	cursor    string    // where it goes on, empty for none
	keepRooms bool      // the client may come back to its session
	codec     int
	transport actors.Transport
}

// socketClient is a client in a namespace, over either protocol. It stands
// between the hub and the protocol's connection, so that what both need is
// here once: admission, operations, metrics.
type socketClient struct {
	sockets   *sockets
	protocol  string
	namespace string
	peer      *peer
	userID    string
	resumable bool
	transport actors.Transport
	conn      *actors.Connection
	ended     atomic.Pointer[actors.EndReason] // why the hub has ended it, if it has
}

// join lets a client in, in turn. Each one that is in has to be closed, once. The
// error is or wraps a *domain.Rejection.
func (s *sockets) join(ctx context.Context, r joinRequest) (_ *socketClient, recovered bool, err error) {
	// Who gives up waiting has not connected: the turn comes first.
	end, err := s.hub.Turn(ctx)
	if err == nil {
		defer end()
		err = ctx.Err()
	} else if ctx.Err() == nil {
		err = domain.Reject(domain.CodeDraining, "the node is stopping, connect again")
	}
	if err != nil {
		return nil, false, s.notJoined(ctx, r, err)
	}
	c := &socketClient{
		sockets: s, protocol: r.protocol, namespace: r.namespace, transport: r.transport,
		peer: r.peer, userID: r.token.Identity.UserID, resumable: r.keepRooms,
	}
	instead, no := s.admission.admit(c.peer, c.userID, r.namespace, r.sid, s.valid(r.cursor))
	if no != nil {
		return nil, false, no
	}
	joined := false
	defer func() { // after a panic, too
		if joined {
			return
		}
		if c.conn != nil {
			c.conn.Closed("refused")
		}
		s.admission.release(c.peer, c.userID)
	}()
	c.conn, recovered, err = s.hub.Connect(ctx, actors.ConnectRequest{
		Identity: r.token.Identity, ExpiresAt: r.token.ExpiresAt, Namespace: r.namespace,
		SID: r.sid, Began: r.began, NewSID: s.ids.newSID, Cursor: r.cursor, KeepRooms: r.keepRooms, Codec: r.codec, Transport: c,
	})
	if err != nil {
		return nil, false, s.notJoined(ctx, r, err)
	}
	if instead && c.conn.SID() != r.sid {
		if no := s.admission.stay(c.userID); no != nil {
			return nil, false, no
		}
	}
	if c.resumable {
		s.admission.hold(c.conn.SID())
	}
	s.metrics.Connected(r.protocol, r.namespace)
	joined = true
	return c, recovered, nil
}

// errLeft is wrapped by what a client is told that has gone while it was being
// let in: it has not been refused.
var errLeft = errors.New("the client has left")

// notJoined is what a client is told that is not let in because of an error.
func (s *sockets) notJoined(ctx context.Context, r joinRequest, err error) error {
	if _, no := errors.AsType[*domain.Rejection](err); no {
		return err
	}
	switch gone := ctx.Err(); {
	case errors.Is(gone, context.DeadlineExceeded):
		return comeBack(domain.CodeOverloaded, clientsRetry, "too many clients are coming in at once")
	case gone != nil:
		return fmt.Errorf("%w: %w", errLeft, comeBack(domain.CodeOverloaded, clientsRetry, "the connection ended while it was being made"))
	}
	s.logger.Error("connect", "namespace", r.namespace, "error", err)
	return comeBack(domain.CodeOverloaded, clientsRetry, "the server cannot read its log now")
}

// valid reports whether a cursor can be gone on from.
func (s *sockets) valid(cursor string) bool {
	p, err := domain.ParsePosition(cursor)
	return err == nil && s.log.Check(p) == nil
}

// Wake passes on that there may be something to give out.
func (c *socketClient) Wake() { c.transport.Wake() }

// Close ends the client's connection on behalf of the hub.
func (c *socketClient) Close(reason actors.EndReason) {
	c.ended.CompareAndSwap(nil, &reason)
	c.transport.Close(reason)
}

// closed is called by the protocol when the connection is gone, with its own
// reason; the hub's goes before.
func (c *socketClient) closed(reason string) {
	if ended := c.ended.Load(); ended != nil {
		reason = string(*ended)
	}
	c.conn.Closed(reason)
	c.sockets.admission.release(c.peer, c.userID)
	if c.resumable {
		c.sockets.admission.letGo(c.conn.SID())
	}
	c.sockets.metrics.Disconnected(c.protocol, c.namespace, reason)
}

// op handles what a client asks for. answer is called at most once, perhaps
// later; it may be nil. At the bound of what is being handled for a client op
// waits, and with it the client's reader.
func (c *socketClient) op(name string, args []json.RawMessage, answer func(any)) {
	if answer == nil {
		answer = func(any) {}
	}
	switch {
	case c.conn.Event(name, args, answer):
	case name == "command":
		c.command(readCommand, args, answer)
	case name == "sync:submit":
		c.command(readSync, args, answer)
	case name == "notifications:ack":
		c.acknowledge(args, answer)
	case name == "ping":
		answer(pong{true, c.conn.Cursor()})
	default:
		answer(actors.Refusal(domain.Invalid(domain.FieldError{Field: "event", Message: fmt.Sprintf("%.64q is not an event that the server takes", name)})))
	}
}

// errPanicked is shown to clients as the server's own mistake.
var errPanicked = errors.New("the code for it panicked")

// beside does what a client has asked for beside its reader, answers it, and
// gives back the place that was taken for it. A panic costs the client its
// connection, once it has been told, and nobody else anything.
func (c *socketClient) beside(what string, do func() any, answer func(any)) {
	name := "client/" + c.conn.SID()
	go func() {
		defer c.conn.Release()
		result := actors.Refusal(errPanicked)
		done := c.sockets.system.Fence(name, what, func() { result = do() })
		told := c.sockets.system.Fence(name, what, func() { answer(result) })
		if !done || !told {
			c.Close(actors.EndPanicked)
		}
	}()
}

// pong answers "ping". Everything up to pos that was for the client has been
// sent before it.
type pong struct {
	OK  bool            `json:"ok"`
	Pos domain.Position `json:"pos"`
}
