package actors

import (
	"slices"
	"time"

	"bms/domain"
)

// ConnectionInfo describes a connection. Lag is the number of log records
// between its cursor and the head, most of which may not be for it; 0 if nothing
// came in its rooms after the cursor, however long ago that was.
type ConnectionInfo struct {
	SID       string    `json:"sid"`
	UserID    string    `json:"userId"`
	Role      string    `json:"role"`
	Namespace string    `json:"namespace"`
	Rooms     []string  `json:"rooms"`
	Lag       uint64    `json:"lag"`
	Since     time.Time `json:"since"`
}

// info describes the connection; branches lists all there are, see roomNames.
func (c *Connection) info(head domain.Position, branches func() []string) ConnectionInfo {
	info := ConnectionInfo{SID: c.sid, UserID: c.userID, Namespace: c.namespace, Rooms: c.roomNames(branches), Since: c.since}
	c.mu.Lock()
	defer c.mu.Unlock()
	info.Role = c.identity.Role
	info.Lag = c.lagLocked(head)
	return info
}

func (c *Connection) lagLocked(head domain.Position) uint64 {
	for _, m := range c.members {
		if head.Seq > c.cursor.Seq && m.room.tail.last().After(m.from(c.cursor)) {
			return head.Seq - c.cursor.Seq
		}
	}
	return 0
}

// roomNames lists the rooms as the client knows them. branches, which may take
// its time, is asked for who is in every branch.
func (c *Connection) roomNames(branches func() []string) []string {
	c.mu.Lock()
	members, left := c.members, c.chosen.left
	c.mu.Unlock()
	var names []string
	for _, m := range members {
		if m.room.name != domain.RoomAllBranches {
			names = append(names, m.room.name)
			continue
		}
		for _, b := range branches() {
			names = append(names, domain.RoomOfBranch(b))
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { _, out := left[name]; return out })
	slices.Sort(names)
	return slices.Compact(names)
}
