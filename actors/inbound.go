package actors

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"bms/domain"
)

// refreshTimeout bounds the judging of a refreshed token.
const refreshTimeout = 10 * time.Second

// Messages of the connection's actor.
type (
	inbound struct {
		name string
		args []json.RawMessage
		ack  func(any)
	}
	refreshed struct {
		identity  domain.Identity
		expiresAt time.Time
		err       error
		ack       func(any)
	}
	connectionExpired struct{}
	connectionEnd     struct{ reason EndReason }
)

// Event hands over an event that the client sent; ack, unless nil, answers it
// and is called once at most. At the bound of events being handled Event waits,
// and with it the transport's reader: that is the backpressure on a client.
// It reports false when the name is none of the connection's own.
func (c *Connection) Event(name string, args []json.RawMessage, ack func(any)) bool {
	switch name {
	case "room:join", "room:leave", "auth:refresh":
	default:
		return false
	}
	if !c.Take() {
		return true
	}
	if ack == nil {
		ack = func(any) {}
	}
	if !c.ref.Send(inbound{name, args, ack}) {
		c.Release()
	}
	return true
}

// Take takes one of the connection's places for events being handled, waiting
// for one; false means that the connection is gone. Release gives it back.
func (c *Connection) Take() bool {
	select {
	case c.places <- struct{}{}:
		return true
	case <-c.done:
		return false
	}
}

// Release gives back a place.
func (c *Connection) Release() { <-c.places }

// Receive handles the actor's messages.
func (c *Connection) Receive(msg any) {
	switch m := msg.(type) {
	case inbound:
		if m.name == "auth:refresh" {
			c.refresh(m) // gives its place back itself
			return
		}
		answer := c.changeRoom(m)
		if _, done := answer.(okAnswer); done && c.hub.cfg.Sessions != nil {
			if !c.hub.ran.begin(func() { c.keepRooms(); c.Release(); m.ack(answer) }) {
				c.Release() // the hub is closing, and with it the connection
			}
			return
		}
		c.Release()
		m.ack(answer)
	case refreshed:
		defer c.Release()
		m.ack(c.applyRefresh(m))
	case connectionExpired:
		c.transport.Close(EndTokenExpired)
	case connectionEnd:
		c.transport.Close(m.reason)
	}
}

// Panicked ends the connection: the client comes back with its cursor and
// misses nothing.
func (c *Connection) Panicked(any) { c.transport.Close(EndPanicked) }

// okAnswer and errorAnswer are the forms of every ack.
type okAnswer struct {
	OK    bool     `json:"ok"`
	Rooms []string `json:"rooms,omitempty"`
}

type errorAnswer struct {
	OK    bool           `json:"ok"`
	Error map[string]any `json:"error"`
}

// Refusal is the ack that says no: {ok:false, error:{code, message, …}}.
// Anything but a *domain.Rejection is shown as an internal error.
func Refusal(err error) any {
	var no *domain.Rejection
	if !errors.As(err, &no) {
		no = domain.Reject("internal", "the server made a mistake; it is in its log")
	}
	fields := map[string]any{"code": no.Code, "message": no.Message}
	for k, v := range no.Details {
		fields[k] = v
	}
	return errorAnswer{Error: fields}
}

// changeRoom handles room:join and room:leave.
func (c *Connection) changeRoom(m inbound) any {
	var name string
	if len(m.args) != 1 || json.Unmarshal(m.args[0], &name) != nil {
		return Refusal(domain.Invalid(domain.FieldError{Field: "room", Message: "give one room's name as a string"}))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != "" {
		return Refusal(domain.Reject(domain.CodeUnauthorized, "the connection is ending"))
	}
	var no *domain.Rejection
	if m.name == "room:join" {
		no = c.joinLocked(name)
	} else {
		c.leaveLocked(name)
	}
	if no != nil {
		return Refusal(no)
	}
	return okAnswer{OK: true, Rooms: c.roomsLocked()}
}

// joinLocked joins a room from the present head on.
func (c *Connection) joinLocked(name string) *domain.Rejection {
	if no := domain.MayJoin(c.identity, name); no != nil {
		return no
	}
	members := slices.Clone(c.members)
	for i := range members {
		if members[i].room.name == name {
			if members[i].hidden {
				members[i].hidden, members[i].since = false, c.hub.cfg.Log.Head()
				delete(c.left, name)
				c.members = members
			}
			return nil
		}
	}
	_, gone := c.left[name]
	if !gone && c.coversLocked(name) {
		return nil
	}
	if len(members) >= c.hub.cfg.RoomsPerConnection {
		return domain.Reject(domain.CodeOverloaded, "a connection may be in %d rooms; leave one first", c.hub.cfg.RoomsPerConnection)
	}
	room := c.hub.rooms.join(name, c)
	c.members = append(members, member{room: room, since: c.hub.cfg.Log.Head()})
	// A branch left before stays left as part of "every branch": what came
	// meanwhile is not to be delivered. The room joined now stands for it.
	if !isBranchRoom(name) {
		delete(c.left, name)
	}
	return nil
}

// coversLocked reports whether a branch's room is in "every branch" already.
func (c *Connection) coversLocked(name string) bool {
	return isBranchRoom(name) && holds(c.members, domain.RoomAllBranches)
}

// leaveLocked leaves a room; one that the connection isn't in is left already.
func (c *Connection) leaveLocked(name string) {
	members := make([]member, 0, len(c.members))
	for _, m := range c.members {
		switch {
		case m.room.name != name:
			members = append(members, m)
		case isOwnRoom(name, c.userID):
			m.hidden = true
			members = append(members, m)
		default:
			c.hub.rooms.leave(m.room, c)
		}
	}
	if holds(c.members, name) || c.coversLocked(name) {
		c.left[name] = struct{}{}
	}
	c.members = members
}

// refresh has a new token judged, off the actor.
func (c *Connection) refresh(m inbound) {
	var arg struct {
		Token string `json:"token"`
	}
	if len(m.args) != 1 || json.Unmarshal(m.args[0], &arg) != nil || arg.Token == "" || c.hub.cfg.Verify == nil {
		defer c.Release()
		m.ack(Refusal(domain.Invalid(domain.FieldError{Field: "token", Message: "give {token} with a signed token"})))
		return
	}
	if !c.hub.ran.begin(func() {
		ctx, cancel := context.WithTimeout(c.hub.ctx, refreshTimeout)
		defer cancel()
		identity, expiresAt, err := c.hub.cfg.Verify(ctx, arg.Token)
		if !c.ref.Send(refreshed{identity, expiresAt, err, m.ack}) {
			c.Release()
		}
	}) {
		c.Release() // the hub is closing, and with it the connection
	}
}

// applyRefresh puts a new token's claims in the place of the old one's. A
// token of another user ends the connection.
func (c *Connection) applyRefresh(m refreshed) any {
	if m.err != nil {
		return Refusal(m.err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.identity.UserID != c.userID {
		c.ending = EndUnauthorized
		c.finishLocked()
		return Refusal(domain.Reject(domain.CodeUnauthorized, "the token is another user's"))
	}
	if c.ending != "" {
		return Refusal(domain.Reject(domain.CodeUnauthorized, "the connection is ending"))
	}
	c.claims = m.identity
	c.judgeLocked(c.hub.cfg.Log.Head())
	if c.ending != "" {
		c.finishLocked()
		return Refusal(domain.Reject(domain.CodeForbiddenNamespace, "the new token does not allow %s", c.namespace))
	}
	c.expireLocked(m.expiresAt)
	return okAnswer{OK: true, Rooms: c.roomsLocked()}
}

// expireLocked (re)arms the end of the connection at the token's end.
func (c *Connection) expireLocked(at time.Time) {
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	if !at.IsZero() {
		c.expiry = time.AfterFunc(at.Sub(c.hub.cfg.Now()), func() { c.ref.Send(connectionExpired{}) })
	}
}
