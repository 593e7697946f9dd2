package actors

import (
	"context"
	"encoding/json"
	"errors"
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
	handled           struct{} // the first of Connection.asked is done
	connectionExpired struct{ at time.Time }
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
		if c.asked = append(c.asked, m); len(c.asked) == 1 {
			c.handle(m)
		}
	case handled:
		if c.asked = c.asked[1:]; len(c.asked) > 0 {
			c.handle(c.asked[0])
		} else {
			c.asked = nil
		}
	case connectionExpired:
		if c.expiresAt(m.at) {
			c.transport.Close(EndTokenExpired)
		}
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

// handle handles what a client asks for off the actor, since it may take its
// time, and behind the same fence. The next one waits for it.
func (c *Connection) handle(m inbound) {
	if !c.hub.ran.begin(func() {
		defer func() {
			if reason := recover(); reason != nil {
				c.hub.cfg.System.caught("connection/"+c.sid, m.name, reason)
				c.Panicked(reason)
			}
		}()
		var answer any
		if m.name == "auth:refresh" {
			answer = c.refresh(m)
		} else {
			answer = c.changeRoom(m)
		}
		c.Release()
		m.ack(answer)
		c.ref.Send(handled{})
	}) {
		c.Release() // the hub is closing, and with it the connection
	}
}

// changeRoom handles room:join and room:leave.
func (c *Connection) changeRoom(m inbound) any {
	var name string
	if len(m.args) != 1 || json.Unmarshal(m.args[0], &name) != nil {
		return Refusal(domain.Invalid(domain.FieldError{Field: "room", Message: "give one room's name as a string"}))
	}
	plan := c.joinLocked
	if m.name == "room:leave" {
		plan = c.leaveLocked
	}
	c.mu.Lock()
	over := c.ending != ""
	next, changed, no := plan(name)
	c.mu.Unlock()
	switch {
	case over:
		return Refusal(ending())
	case no != nil:
		return Refusal(no)
	}
	if changed {
		if c.keepRooms {
			switch err := c.keep(next.rooms()); {
			case errors.Is(err, errNotItsSession):
				return Refusal(ending())
			case err != nil:
				c.hub.cfg.Logger.Error("the rooms of a session could not be kept", "sid", c.sid, "error", err)
				return Refusal(domain.Reject(domain.CodeOverloaded, "the change could not be kept, and was not made; try again"))
			}
		}
		if !c.choose(next) && !c.keepRooms { // what is kept holds when the session comes back
			return Refusal(ending())
		}
	}
	return okAnswer{OK: true, Rooms: c.roomNames(c.hub.cfg.Branches)}
}

func ending() error { return domain.Reject(domain.CodeUnauthorized, "the connection is ending") }

// choose puts choices in force, unless the connection is ending.
func (c *Connection) choose(next choices) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != "" {
		return false
	}
	c.chosen = next
	c.settleLocked(c.hub.cfg.Log.Head())
	return true
}

// refresh has a new token judged and put in the old one's place.
func (c *Connection) refresh(m inbound) any {
	var arg struct {
		Token string `json:"token"`
	}
	if len(m.args) != 1 || json.Unmarshal(m.args[0], &arg) != nil || arg.Token == "" || c.hub.cfg.Verify == nil {
		return Refusal(domain.Invalid(domain.FieldError{Field: "token", Message: "give {token} with a signed token"}))
	}
	ctx, cancel := context.WithTimeout(c.hub.ctx, refreshTimeout)
	defer cancel()
	identity, expiresAt, err := c.hub.cfg.Verify(ctx, arg.Token)
	if err == nil {
		err = c.renew(identity, expiresAt)
	}
	if err != nil {
		return Refusal(err)
	}
	return okAnswer{OK: true, Rooms: c.roomNames(c.hub.cfg.Branches)}
}

// renew puts a new token's claims in the place of the old one's. A token of
// another user, or one that doesn't allow the namespace, ends the connection.
func (c *Connection) renew(identity domain.Identity, expiresAt time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != "" {
		return ending()
	}
	if identity.UserID != c.userID {
		c.ending = EndUnauthorized
		c.finishLocked()
		return domain.Reject(domain.CodeUnauthorized, "the token is another user's")
	}
	c.claims = identity
	c.judgeLocked(c.cursor) // as it would if it came back with that token
	if c.ending != "" {
		c.finishLocked()
		return domain.Reject(domain.CodeForbiddenNamespace, "the new token does not allow %s", c.namespace)
	}
	c.expireLocked(expiresAt)
	return nil
}

// expireLocked (re)arms the end of the connection at the token's end.
func (c *Connection) expireLocked(at time.Time) {
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	c.expires = at
	if !at.IsZero() {
		c.expiry = time.AfterFunc(at.Sub(c.hub.cfg.Now()), func() { c.ref.Send(connectionExpired{at}) })
	}
}

// expiresAt reports whether a token's end is still that of the connection's: it
// may have been on its way to the actor while the token was renewed.
func (c *Connection) expiresAt(at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expires.Equal(at)
}
