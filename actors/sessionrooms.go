package actors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"bms/domain"
)

// SessionRooms is what a client changed of its session's rooms: those joined,
// each from a position on, and those left.
type SessionRooms struct {
	Joined map[string]domain.Position
	Left   []string
}

// within returns the rooms for a session that goes on at a cursor in a log, of
// whose positions check approves. A room joined at another, which a power cut has
// taken from the log, is joined at the cursor: by now there are events of others
// where those were that came before.
func (r SessionRooms) within(check func(domain.Position) error, cursor domain.Position) SessionRooms {
	r.Joined = maps.Clone(r.Joined)
	for name, from := range r.Joined {
		if check(from) != nil {
			r.Joined[name] = cursor
		}
	}
	return r
}

// ErrSessionForgotten is returned by SessionStore.Load for a session of which
// something may have been kept once. It doesn't go on: there is no saying in
// which rooms.
var ErrSessionForgotten = errors.New("the rooms of the session may have been forgotten")

// SessionStore keeps the rooms of sessions over the end of their connections,
// and of the process, for as long as a client can be expected to come back: those
// of Hub.SessionsInUse are in use, however long ago they were saved.
// Implementations are safe for concurrent use.
type SessionStore interface {
	// Load returns what was saved, the zero value for a session of which
	// nothing ever was. began is when it began. It returns ErrSessionForgotten
	// for a session of which nothing is known any more, if anything that was
	// saved since it began has been forgotten.
	Load(ctx context.Context, sid string, began time.Time) (SessionRooms, error)
	// Save keeps the rooms, which it must not change, in the place of what
	// was saved before.
	Save(ctx context.Context, sid string, rooms SessionRooms) error
}

// SessionInUse is a session that is connected and may be recovered.
type SessionInUse struct {
	SID      string
	Began    time.Time
	HasRooms bool // in the SessionStore
}

// SessionsInUse lists the sessions that are connected and may be recovered, with
// what the client changed of their rooms.
func (h *Hub) SessionsInUse() (inUse []SessionInUse) {
	for _, c := range h.all() {
		if c.keepRooms {
			inUse = append(inUse, SessionInUse{SID: c.sid, Began: c.began, HasRooms: c.hasChosen()})
		}
	}
	return inUse
}

func (c *Connection) hasChosen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.chosen.joined)+len(c.chosen.left) > 0
}

// saveTimeout bounds the saving of a session's rooms, for which the client
// waits, and so does who comes back to the session meanwhile.
const saveTimeout = 5 * time.Second

// errNotItsSession is why a connection may not save: it has ended, or another
// has its session.
var errNotItsSession = errors.New("the connection doesn't have its session any more")

// keep saves a session's rooms. From the moment at which the connection ends, or
// another one takes the session over, it saves nothing: who has the session
// next finds what was saved before, and nothing comes after it.
func (c *Connection) keep(rooms SessionRooms) error {
	ctx, cancel := context.WithTimeout(c.hub.ctx, saveTimeout)
	defer cancel()
	unlock, err := c.hub.keeping.lock(ctx, c.sid)
	if err != nil {
		return fmt.Errorf("wait for session %s: %w", c.sid, err)
	}
	defer unlock()
	if !c.hub.knows(c) {
		return errNotItsSession
	}
	return c.hub.cfg.Sessions.Save(ctx, c.sid, rooms)
}
