package actors

import (
	"maps"
	"slices"
	"strings"

	"bms/domain"
)

// member is a connection's membership of a room, for events after since. What
// the client sees of them is for its choices to say: the connection stays in
// the user's own room, where changes of his rights arrive, whatever they are.
type member struct {
	room  *room
	since domain.Position
}

// from is where a connection at a cursor goes on in the room.
func (m member) from(cursor domain.Position) domain.Position {
	if m.since.After(cursor) {
		return m.since
	}
	return cursor
}

// choices is what the client changed of its rooms, and all that has to be kept
// of them: which rooms a connection is in follows from them and from the
// identity, at any position, live and on replay alike. It is replaced and never
// changed in place.
type choices struct {
	// joined are the rooms that the client joined, each for events after a
	// position: beside the automatic ones, or again after it had left them.
	joined map[string]domain.Position
	// left are the automatic rooms, and branches among "every branch", that
	// it left. A room is not in both.
	left map[string]struct{}
}

// with returns a copy to be changed.
func (c choices) with() choices {
	next := choices{joined: make(map[string]domain.Position, len(c.joined)+1), left: make(map[string]struct{}, len(c.left)+1)}
	maps.Copy(next.joined, c.joined)
	maps.Copy(next.left, c.left)
	return next
}

// choicesOf are those that were kept; most clients make none, and hold no maps.
func choicesOf(rooms SessionRooms) (c choices) {
	if len(rooms.Joined)+len(rooms.Left) == 0 {
		return c
	}
	c = choices{joined: rooms.Joined}.with()
	for _, name := range rooms.Left {
		c.left[name] = struct{}{}
	}
	return c
}

// rooms are what is kept of them.
func (c choices) rooms() SessionRooms {
	return SessionRooms{Joined: c.joined, Left: slices.Sorted(maps.Keys(c.left))}
}

// judge is judgeLocked as of the cursor.
func (c *Connection) judge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judgeLocked(c.cursor)
}

// judgeLocked works out identity and rooms anew from claims and user, as of a
// position: rooms that are no longer allowed are left, new ones joined from
// there on.
func (c *Connection) judgeLocked(at domain.Position) {
	c.identity = c.user.Overlay(c.claims)
	if c.identity.Disabled || domain.MayConnect(c.identity, c.namespace) != nil {
		c.ending = EndRights
		return
	}
	c.settleLocked(at)
}

// settleLocked puts the connection into the rooms that identity and choices
// say, those that are new as of a position.
func (c *Connection) settleLocked(at domain.Position) {
	names := domain.DefaultRooms(c.identity)
	everyBranch := slices.Contains(names, domain.RoomAllBranches)
	for name := range c.chosen.joined {
		if !slices.Contains(names, name) && (!everyBranch || !isBranchRoom(name)) && domain.MayJoin(c.identity, name) == nil {
			names = append(names, name)
		}
	}
	members := make([]member, 0, len(names))
	for _, name := range names {
		_, left := c.chosen.left[name]
		if left && !isOwnRoom(name, c.userID) {
			continue
		}
		if i := find(c.members, name); i >= 0 {
			members = append(members, c.members[i])
		} else {
			members = append(members, member{room: c.hub.rooms.join(name, c), since: at})
		}
	}
	for _, m := range c.members {
		if find(members, m.room.name) < 0 {
			c.hub.rooms.leave(m.room, c)
		}
	}
	c.members = members
}

// seesLocked reports whether the event is for one of the connection's rooms,
// joined before it, and within its rights.
func (c *Connection) seesLocked(f *Frame) bool {
	for i := range c.members {
		m := &c.members[i]
		if !f.pos().After(m.since) || !slices.Contains(f.rooms, m.room.name) || c.chosen.outside(m.room.name, f.event) {
			continue
		}
		return domain.MaySee(c.identity, c.namespace, f.event) && c.mayStillSeeLocked(f.event)
	}
	return false
}

// mayStillSeeLocked reports whether an event from before the last change of the
// user's rights that was known at connect is within them as they were then: what
// the API doesn't show him any more is not replayed either.
func (c *Connection) mayStillSeeLocked(e *domain.Event) bool {
	if c.now == nil {
		return true
	}
	id := c.now.Overlay(c.claims)
	return domain.MaySee(id, c.namespace, e) && domain.MayRead(id, e)
}

// outside reports whether the client has left a room, or came back to it after
// the event. "Every branch" is left by the branch.
func (c choices) outside(name string, e *domain.Event) bool {
	if len(c.left)+len(c.joined) == 0 {
		return false
	}
	if name == domain.RoomAllBranches {
		name = domain.RoomOfBranch(e.BranchID)
	}
	_, left := c.left[name]
	return left || !e.Pos.After(c.joined[name])
}

// joinLocked is what the client's choices are once it has joined a room, from
// the log's present end on. changed is false where it is in it already.
func (c *Connection) joinLocked(name string) (next choices, changed bool, no *domain.Rejection) {
	if no := domain.MayJoin(c.identity, name); no != nil {
		return next, false, no
	}
	if no := domain.MayJoin(c.now.Overlay(c.claims), name); c.now != nil && no != nil {
		return next, false, no
	}
	_, left := c.chosen.left[name]
	if !left && c.inLocked(name) {
		return next, false, nil
	}
	next = c.chosen.with()
	delete(next.left, name)
	limit := c.hub.cfg.RoomsPerConnection
	if len(next.joined) >= limit {
		// What the connection is past says nothing any more of a branch.
		maps.DeleteFunc(next.joined, func(name string, from domain.Position) bool {
			return isBranchRoom(name) && !from.After(c.cursor)
		})
	}
	covered := isBranchRoom(name) && find(c.members, domain.RoomAllBranches) >= 0
	if len(next.joined) >= limit || !covered && len(c.members) >= limit {
		return next, false, domain.Reject(domain.CodeOverloaded, "a connection may be in %d rooms; leave one first", limit)
	}
	next.joined[name] = c.hub.cfg.Log.Head()
	return next, true, nil
}

// leaveLocked is what the client's choices are once it has left a room; changed
// is false for one that it isn't in.
func (c *Connection) leaveLocked(name string) (next choices, changed bool, no *domain.Rejection) {
	if no := domain.MayJoin(c.identity, name); no != nil {
		if no.Code == domain.CodeValidation {
			return next, false, no
		}
		return next, false, nil
	}
	if _, left := c.chosen.left[name]; left || !c.inLocked(name) {
		return next, false, nil
	}
	next = c.chosen.with()
	delete(next.joined, name)
	if c.automaticLocked(name) {
		if limit := c.hub.cfg.RoomsPerConnection; len(next.left) >= limit {
			return next, false, domain.Reject(domain.CodeOverloaded, "a connection may stay out of %d rooms; join one first", limit)
		}
		next.left[name] = struct{}{}
	}
	return next, true, nil
}

// automaticLocked reports whether the connection is in a room without having
// joined it.
func (c *Connection) automaticLocked(name string) bool {
	defaults := domain.DefaultRooms(c.identity)
	return slices.Contains(defaults, name) || isBranchRoom(name) && slices.Contains(defaults, domain.RoomAllBranches)
}

// inLocked reports whether the connection is in a room, leaving aside what the
// client left.
func (c *Connection) inLocked(name string) bool {
	return find(c.members, name) >= 0 || isBranchRoom(name) && find(c.members, domain.RoomAllBranches) >= 0
}

// find returns the place of a room among members, -1 if it isn't there.
func find(members []member, name string) int {
	return slices.IndexFunc(members, func(m member) bool { return m.room.name == name })
}

// isOwnRoom reports whether a room is the one on which changes of the user's
// rights arrive.
func isOwnRoom(name, userID string) bool { return name == domain.RoomOfUser(userID) }

func isBranchRoom(name string) bool { return strings.HasPrefix(name, "branch:") }
