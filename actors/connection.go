package actors

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"bms/domain"
)

// Transport is the socket under a connection: a Socket.IO namespace socket or
// a plain WebSocket. Its methods may be called from any goroutine and don't
// block.
type Transport interface {
	// Wake says that Next may have something. On a transport that is awake
	// already it must cost next to nothing; a Wake during Next must lead to
	// another Next.
	Wake()
	// Close ends the socket for that reason. The transport answers with
	// Connection.Closed, at once or later.
	Close(reason EndReason)
}

// EndReason says why the server ends a connection. Transports map it to what
// their protocol tells the client about coming back.
type EndReason string

// End reasons.
const (
	EndTokenExpired   EndReason = "token_expired"    // the token's time is over; come back with another
	EndRights         EndReason = "rights_ended"     // disabled, or the namespace is no longer allowed
	EndKicked         EndReason = "kicked"           // an admin disconnected it
	EndReplaced       EndReason = "replaced"         // the same session came back on another socket
	EndUnauthorized   EndReason = "unauthorized"     // auth:refresh with another user's token
	EndDraining       EndReason = "draining"         // the node stops; come back
	EndLogUnavailable EndReason = "log_unavailable"  // the log can't be read; come back
	EndPanicked       EndReason = "internal_failure" // the connection's own fault was fenced; come back
)

// message is something outside the log that goes out in line with the events.
type message struct {
	name string
	data json.RawMessage
}

// messagesLimit bounds the messages waiting in a connection; at the limit a
// new one takes the place of the last: they are states (stats), not history.
const messagesLimit = 8

// Connection is one namespace connection of one client: a cursor on the log.
// Under it lies no queue of events: when the transport can take more it calls
// Next, which merges the tails of the connection's rooms from the cursor on,
// or reads the log where the tails don't reach back. Live, resume and slow are
// this one path.
//
// # Concurrency properties
//
// Next is called by one goroutine at a time (the transport's flusher), Event
// by the transport's reader, Closed once by the transport. The connection's
// actor has what the client asks for done, one after the other and off the
// actor, and brings about the end. mu guards what they share; it is never held
// while the log, the list of branches or the store of sessions is asked.
type Connection struct {
	hub       *Hub
	transport Transport
	// turn is to catch up: the one that was asked for, or in which what was
	// given out last is being written; nil for none. The flusher asks for it,
	// under mu and not after the end, begins it and gives it back; Closed takes
	// it away, under mu. Anybody looks at it; it is beside transport since news
	// looks at both.
	turn      atomic.Pointer[turn]
	ref       *Ref
	sid       string
	userID    string
	namespace string
	codec     int
	places    chan struct{} // one per inbound event being handled
	done      chan struct{} // closed by Closed
	closeOnce sync.Once
	since     time.Time
	began     time.Time // the session, maybe on another connection
	keepRooms bool      // in SessionStore
	asked     []inbound // by the client, what is being handled first; the actor's own

	mu       sync.Mutex      // guards the following
	claims   domain.Identity // as the token says
	user     *domain.User    // as the log says, up to the cursor
	now      *domain.User    // as it said at connect, up to nowAt; nil once the cursor is there
	nowAt    domain.Position
	identity domain.Identity // user over claims
	expires  time.Time       // the token's end, zero for none
	expiry   *time.Timer
	cursor   domain.Position
	members  []member // replaced, never changed in place
	chosen   choices
	greeting *Session // the session message until it is given out
	unread   *backlog // until it is given out
	messages []message
	writing  *writing  // of sampled events given out last, until they are written; usually nil
	ending   EndReason // set once; Next then gives out nothing more
	told     bool      // the actor knows of ending
}

// SID is the connection's session id.
func (c *Connection) SID() string { return c.sid }

// Namespace is the namespace it is connected to.
func (c *Connection) Namespace() string { return c.namespace }

// Claims is the identity by the token alone.
func (c *Connection) Claims() domain.Identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.claims
}

// Cursor is the position after which a client goes on that has got everything
// given out so far.
func (c *Connection) Cursor() domain.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resumeLocked()
}

// resumeLocked is the cursor as the client is to have it: in the backlog, while
// there is one.
func (c *Connection) resumeLocked() domain.Position {
	if c.unread != nil {
		return c.unread.at
	}
	return c.cursor
}

// post sends what is not in the log, in line with the events: after those
// given out so far, with the cursor as it is then.
func (c *Connection) post(name string, data json.RawMessage) {
	c.mu.Lock()
	if len(c.messages) < messagesLimit {
		c.messages = append(c.messages, message{name, data})
	} else {
		c.messages[messagesLimit-1] = message{name, data}
	}
	c.mu.Unlock()
	c.transport.Wake()
}

// news wakes the transport for events that have come, unless the connection
// waits for a turn to catch up: then it has its Next when that comes.
func (c *Connection) news() {
	if !c.turn.Load().comes() {
		c.transport.Wake()
	}
}

// Next appends the connection's next frames to dst, about size bytes of them,
// and moves the cursor past them. Nothing appended means that there is nothing
// now, or nothing yet; the transport will be woken. It may wait for a read of
// the log, but neither for many nor for a turn to catch up: what the transport
// itself has to say (answers, heartbeats, other connections) goes out between
// two calls.
func (c *Connection) Next(dst [][]byte, size int) [][]byte {
	started := len(dst)
	var w *[]*Frame
	defer func() {
		if w != nil {
			clear(*w)
			scratch.Put(w)
		}
	}()
	for {
		var at view
		dst, at = c.preface(dst, started)
		c.written(at.written, false)
		if at.unread {
			if dst, size = c.giveUnread(dst, size); size <= 0 {
				return dst
			}
			continue
		}
		if !at.head.After(at.cursor) {
			return dst
		}
		if w == nil {
			w = scratch.Get().(*[]*Frame)
		}
		var upTo domain.Position
		var ok bool
		if *w, upTo, ok = mergeTails((*w)[:0], at.members, at.cursor, at.head); !ok {
			return c.catchUp(dst, size, w, at)
		}
		if c.turn.Load() != nil { // there is no need of it any more
			c.giveBack()
			continue // with what came while nothing woke the transport
		}
		dst, size = c.emit(dst, size, *w, upTo)
		c.mu.Lock()
		again := c.cursor.Seq < at.head.Seq
		c.mu.Unlock()
		if size <= 0 || len(dst) > started && !again {
			return dst
		}
	}
}

// view is where a connection is, and where the log.
type view struct {
	cursor, head domain.Position
	members      []member
	unread       bool     // the backlog comes first
	written      *writing // what was given out before, where it is traced
}

// preface ends what the last Next gave out, appends what goes before the events,
// and returns what there is to follow: nothing where head is not after cursor.
func (c *Connection) preface(dst [][]byte, started int) (_ [][]byte, at view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(dst) == started { // what was given out before has been written by now
		if c.writing != nil {
			at.written, c.writing = c.writing, nil
		}
		if c.turn.Load().has() {
			c.giveBack()
		}
		if c.ending != "" {
			c.finishLocked()
		}
	}
	if c.ending != "" {
		return dst, at
	}
	if c.greeting != nil {
		dst = append(dst, c.hub.cfg.Codecs[c.codec].Session(c.greeting, c.resumeLocked()))
		c.greeting = nil
	}
	if c.unread != nil {
		at.unread = true
		return dst, at
	}
	for _, m := range c.messages {
		dst = append(dst, c.hub.cfg.Codecs[c.codec].Message(m.name, m.data, c.cursor))
	}
	c.messages = nil
	// The rooms may change from here on. That does no harm: a room joined now
	// is for events after a head that isn't before this one, hence after all
	// that follows, and one left is no longer seen.
	at.cursor, at.head, at.members = c.cursor, c.hub.Head(), c.members
	return dst, at
}

// view is where they are now; there is nothing to follow once it ends.
func (c *Connection) view() (at view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending == "" {
		at.cursor, at.head, at.members = c.cursor, c.hub.Head(), c.members
	}
	return at
}

// scratch holds the slices in which Next gathers frames, so that an idle
// connection holds none.
var scratch = sync.Pool{New: func() any { s := make([]*Frame, 0, 64); return &s }}

// emit gives out those of the frames that the connection sees and moves the
// cursor: to the last frame looked at when size bytes are full or the
// connection's rights changed, to upTo otherwise.
func (c *Connection) emit(dst [][]byte, size int, frames []*Frame, upTo domain.Position) ([][]byte, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != "" { // nothing is owed any more, and no room to be joined
		return dst, size
	}
	var given, bytes int
	var youngest *Frame
	defer func() {
		if given == 0 {
			return
		}
		var trace Trace
		if c.writing != nil {
			c.writing.Events, c.writing.Bytes = c.writing.Events+given, c.writing.Bytes+bytes
			if c.writing.last == youngest.origin {
				trace = youngest.origin.trace
			}
		}
		c.hub.delivered(given, bytes, youngest.event, youngest.origin, trace)
	}()
	for _, f := range frames {
		if !f.pos().After(c.cursor) {
			continue // the same event through another room
		}
		if c.seesLocked(f) {
			b := f.encoded(c.hub, c.codec)
			dst = append(dst, b)
			size -= len(b)
			given, bytes, youngest = given+1, bytes+len(b), f
			if f.origin != nil && f.origin.trace != nil {
				c.traceLocked(f.origin)
			}
		}
		c.cursor = f.pos()
		if f.event.Type == domain.TypeUserUpdated && c.rejudgeLocked(f.event) {
			return dst, size
		}
		if size <= 0 {
			return dst, size
		}
	}
	c.cursor = upTo
	return dst, size
}

// rejudgeLocked applies an event about a user's rights if it is about this
// connection's user, and reports whether it was.
func (c *Connection) rejudgeLocked(e *domain.Event) bool {
	p, err := e.Payload()
	if err != nil {
		c.ending = EndLogUnavailable
		return true
	}
	if p.(domain.UserUpdated).UserID != c.userID {
		return false
	}
	if err := c.user.Evolve(e); err != nil {
		c.ending = EndLogUnavailable
		return true
	}
	if c.now != nil && !c.nowAt.After(e.Pos) {
		c.now = nil
	}
	c.judgeLocked(e.Pos)
	return true
}

// end stops the giving out of events and has the actor close the socket.
func (c *Connection) end(reason EndReason) {
	c.mu.Lock()
	if c.ending == "" {
		c.ending = reason
	}
	c.finishLocked()
	c.mu.Unlock()
}

// finishLocked tells the actor, once, that everything owed has been given out.
func (c *Connection) finishLocked() {
	if !c.told {
		c.told = true
		c.ref.Send(connectionEnd{c.ending})
	}
}

// Closed is called by the transport when the socket is gone, for whatever
// reason. It ends the connection: its rooms are left, its actor stops.
func (c *Connection) Closed(reason string) {
	c.closeOnce.Do(func() {
		close(c.done)
		c.mu.Lock()
		if c.ending == "" {
			c.ending = EndReason(reason)
		}
		c.told = true
		if c.expiry != nil {
			c.expiry.Stop()
		}
		for _, m := range c.members {
			c.hub.rooms.leave(m.room, c)
		}
		c.members = nil
		c.giveBack()
		w := c.writing
		c.writing = nil
		c.mu.Unlock()
		c.written(w, true)
		c.hub.forget(c)
		c.ref.Stop()
		c.hub.cfg.Logger.Info("disconnected", "sid", c.sid, "user", c.userID, "namespace", c.namespace, "reason", reason)
	})
}
