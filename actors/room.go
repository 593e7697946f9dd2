package actors

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bms/domain"
)

// room is a room that lives on this node: its tail, and the actor that owns
// the members and wakes them.
type room struct {
	name string
	hash uint32 // see stretch
	tail *tail
	ref  *Ref
	// told is true while news is on its way to the actor, so that one
	// message at most is in its mailbox however fast the feed runs.
	told atomic.Bool

	// guarded by rooms.mu
	members    int
	emptySince time.Time
}

// shown reports whether the room is one that clients know of.
func (r *room) shown() bool { return r.name != domain.RoomAllBranches }

// news tells the room's actor that the tail has grown.
func (r *room) news() {
	if r.told.CompareAndSwap(false, true) {
		r.ref.Send(roomNews{})
	}
}

// rooms is the registry of the rooms that live on this node. It alone starts
// and stops room actors. A room that nobody is in lives on for idle, so that a
// client that comes back soon finds its tail.
type rooms struct {
	system *System
	tails  tailBound
	idle   time.Duration
	now    func() time.Time

	mu     sync.RWMutex // guards byName, head and what room says; the feed holds it for reading while it publishes
	byName map[string]*room
	closed bool
	// head is the position up to which every tail is complete. The feed
	// stores it while it holds mu for reading; a new tail begins at it.
	head atomic.Pointer[domain.Position]
	// lived is the number of rooms with members, of those that are shown.
	lived atomic.Int64
}

func newRooms(system *System, tails tailBound, idle time.Duration, now func() time.Time, head domain.Position) *rooms {
	r := &rooms{system: system, tails: tails, idle: idle, now: now, byName: map[string]*room{}}
	r.head.Store(&head)
	return r
}

// join makes c a member of the named room, which starts to live if it doesn't
// yet. The room's tail is complete from the present head at the latest.
func (r *rooms) join(name string, c *Connection) *room {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.byName[name]
	if m == nil {
		m = &room{name: name, hash: roomHash(name), tail: newTail(r.tails, *r.head.Load())}
		m.ref = r.system.Spawn("room", name, 2, &roomActor{room: m})
		r.byName[name] = m
	}
	if m.members++; m.members == 1 && m.shown() {
		r.lived.Add(1)
	}
	m.ref.Send(roomJoin{c})
	return m
}

// leave takes c out of the room.
func (r *rooms) leave(m *room, c *Connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.ref.Send(roomLeave{c})
	m.members--
	if m.members == 0 && m.shown() {
		r.lived.Add(-1)
	}
	if m.members == 0 && !r.closed {
		m.emptySince = r.now()
		time.AfterFunc(r.idle, func() { r.clean(m) })
	}
}

// clean ends a room that has been empty for the idle time.
func (r *rooms) clean(m *room) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.members > 0 || r.byName[m.name] != m || r.now().Sub(m.emptySince) < r.idle {
		return
	}
	delete(r.byName, m.name)
	m.ref.Stop()
}

// close ends every room and waits for the actors.
func (r *rooms) close() {
	r.mu.Lock()
	r.closed = true
	all := r.byName
	r.byName = map[string]*room{}
	r.mu.Unlock()
	for _, m := range all {
		<-m.ref.Stop()
	}
}

// RoomInfo describes a room that lives on this node.
type RoomInfo struct {
	Room    string `json:"room"`
	Members int    `json:"members"`
}

func (r *rooms) infos() []RoomInfo {
	r.mu.RLock()
	defer r.mu.RUnlock()
	infos := make([]RoomInfo, 0, len(r.byName))
	for name, m := range r.byName {
		if m.members > 0 && m.shown() {
			infos = append(infos, RoomInfo{Room: name, Members: m.members})
		}
	}
	return infos
}

// inhabited is the number of rooms with members.
func (r *rooms) inhabited() int { return int(r.lived.Load()) }

// Messages of the room actor.
type (
	roomNews  struct{}
	roomJoin  struct{ c *Connection }
	roomLeave struct{ c *Connection }
)

// roomActor owns a room's members. On news it wakes them; one that is awake
// already costs an atomic read.
type roomActor struct {
	room    *room
	members []*Connection
	// index has the members' places once there are many: most rooms are a
	// user's own and have one or two.
	index map[*Connection]int
}

// fewMembers is how many are searched for one by one.
const fewMembers = 16

// Receive handles join, leave and news.
func (a *roomActor) Receive(msg any) {
	switch m := msg.(type) {
	case roomNews:
		a.room.told.Store(false)
		for _, c := range a.members {
			c.news()
		}
	case roomJoin:
		a.join(m.c)
		// What came between the join and now found it absent.
		m.c.news()
	case roomLeave:
		a.leave(m.c)
	}
}

func (a *roomActor) find(c *Connection) int {
	if a.index == nil {
		return slices.Index(a.members, c)
	}
	if i, ok := a.index[c]; ok {
		return i
	}
	return -1
}

func (a *roomActor) join(c *Connection) {
	if a.find(c) >= 0 {
		return
	}
	a.members = append(a.members, c)
	switch {
	case a.index != nil:
		a.index[c] = len(a.members) - 1
	case len(a.members) > fewMembers:
		a.index = make(map[*Connection]int, 2*fewMembers)
		for i, member := range a.members {
			a.index[member] = i
		}
	}
}

func (a *roomActor) leave(c *Connection) {
	i := a.find(c)
	if i < 0 {
		return
	}
	last := len(a.members) - 1
	a.members[i] = a.members[last]
	a.members[last] = nil
	a.members = a.members[:last]
	if a.index != nil {
		if i < last {
			a.index[a.members[i]] = i
		}
		delete(a.index, c)
	}
}

// Panicked wakes everybody: a wake-up too many costs nothing, one lost would
// cost an event's delay.
func (a *roomActor) Panicked(any) {
	a.room.told.Store(false)
	for _, c := range a.members {
		c.news()
	}
}
