package actors

import (
	"context"
	"slices"

	"bms/domain"
)

// SessionRooms is what a client changed of its session's rooms: those joined
// beside the automatic ones, each from a position on, and those left.
type SessionRooms struct {
	Joined map[string]domain.Position
	Left   []string
}

// SessionStore keeps the rooms of sessions over the end of their connections,
// and of the process, for as long as a client can be expected to come back.
// Implementations are safe for concurrent use.
type SessionStore interface {
	// Load returns what was saved, the zero value for a session of which
	// nothing is known.
	Load(ctx context.Context, sid string) (SessionRooms, error)
	Save(ctx context.Context, sid string, rooms SessionRooms) error
}

// keepRooms saves the rooms as they are now. Of several calls at a time the
// last one saves what all of them wanted saved.
func (c *Connection) keepRooms() {
	c.keeping.Lock()
	defer c.keeping.Unlock()
	c.mu.Lock()
	rooms := c.sessionRoomsLocked()
	c.mu.Unlock()
	if err := c.hub.cfg.Sessions.Save(c.hub.ctx, c.sid, rooms); err != nil {
		// The change holds as long as the connection does.
		c.hub.cfg.Logger.Error("the rooms of a session could not be kept", "sid", c.sid, "error", err)
	}
}

func (c *Connection) sessionRoomsLocked() SessionRooms {
	rooms := SessionRooms{Joined: map[string]domain.Position{}}
	defaults := domain.DefaultRooms(c.identity)
	for _, m := range c.members {
		if !slices.Contains(defaults, m.room.name) {
			rooms.Joined[m.room.name] = m.since
		}
	}
	for name := range c.left {
		rooms.Left = append(rooms.Left, name)
	}
	slices.Sort(rooms.Left)
	return rooms
}

// rejoinLocked joins the rooms that a recovered session was in beside the
// automatic ones, where they are still allowed: for events after the cursor
// that came after the join.
func (c *Connection) rejoinLocked(joined map[string]domain.Position) {
	for name, since := range joined {
		if len(c.members) >= c.hub.cfg.RoomsPerConnection || holds(c.members, name) || domain.MayJoin(c.identity, name) != nil {
			continue
		}
		if c.cursor.After(since) {
			since = c.cursor
		}
		c.members = append(c.members, member{room: c.hub.rooms.join(name, c), since: since})
	}
}
