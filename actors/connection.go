package actors

import (
	"encoding/json"
	"sync"
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
	ref       *Ref
	sid       string
	userID    string
	namespace string
	codec     int
	places    chan struct{} // one per inbound event being handled
	done      chan struct{} // closed by Closed
	closeOnce sync.Once
	since     time.Time
	keepRooms bool      // in SessionStore
	asked     []inbound // by the client, what is being handled first; the actor's own

	mu       sync.Mutex
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
	greeting json.RawMessage // the session message until it is given out
	unread   *backlog        // until it is given out
	messages []message
	turn     turn      // to catch up, until what it gave out is written
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

// Next appends the connection's next frames to dst, about size bytes of them,
// and moves the cursor past them. Nothing appended means that there is nothing
// now, or nothing yet; the transport will be woken. It may wait for a turn to
// catch up and a read of the log, but not for many: what the transport itself
// has to say (answers, heartbeats) goes out between two calls.
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
		c.mu.Lock()
		c.turn.end()
		if c.writing != nil && len(dst) == started { // what was given out before has been written by now
			w := c.writing
			c.writing = nil
			c.mu.Unlock()
			c.written(w, false)
			continue
		}
		if c.ending != "" {
			if len(dst) == started { // what was given out before has been written by now
				c.finishLocked()
			}
			c.mu.Unlock()
			return dst
		}
		if c.greeting != nil {
			dst = append(dst, c.hub.cfg.Codecs[c.codec].Message("session", c.greeting, c.resumeLocked()))
			c.greeting = nil
		}
		if c.unread != nil {
			c.mu.Unlock()
			if dst, size = c.giveUnread(dst, size); size <= 0 {
				return dst
			}
			continue
		}
		for _, m := range c.messages {
			dst = append(dst, c.hub.cfg.Codecs[c.codec].Message(m.name, m.data, c.cursor))
		}
		c.messages = nil
		// The rooms may change from here on. That does no harm: a room joined
		// now is for events after a head that isn't before this one, hence
		// after upTo, and one left is no longer seen.
		cursor, members, head := c.cursor, c.members, c.hub.Head()
		c.mu.Unlock()

		if !head.After(cursor) {
			return dst
		}
		if w == nil {
			w = scratch.Get().(*[]*Frame)
		}
		var ok bool
		if *w, ok = mergeTails((*w)[:0], members, cursor, head); !ok {
			return c.catchUp(dst, size, w, members, cursor, head)
		}
		dst, size = c.emit(dst, size, *w, head)
		c.mu.Lock()
		again := c.cursor.Seq < head.Seq
		c.mu.Unlock()
		if size <= 0 || len(dst) > started && !again {
			return dst
		}
	}
}

// catchUp gives out from behind the tails, in a turn that ends when that has
// been written: however many connections catch up at once, few of them are at
// it at any moment, and those that are up to date don't wait behind them.
func (c *Connection) catchUp(dst [][]byte, size int, w *[]*Frame, members []member, cursor, head domain.Position) [][]byte {
	t, err := c.hub.turns.take(c.done, turnToCatchUp)
	if err != nil { // the connection or the hub has closed
		return dst
	}
	frames, upTo, err := c.hub.behind((*w)[:0], members, cursor, head)
	*w = frames
	if err != nil {
		t.end()
		c.hub.cfg.Logger.Error("connection can't read the log", "sid", c.sid, "error", err)
		c.end(EndLogUnavailable)
		return dst
	}
	given, _ := c.emit(dst, size, frames, upTo)
	c.mu.Lock()
	c.turn = t
	select {
	case <-c.done: // nobody will call Next
		c.turn.end()
	default:
	}
	c.mu.Unlock()
	if len(given) == len(dst) { // it was of no concern: go on, when the transport has had its say
		c.transport.Wake()
	}
	return given
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
		c.turn.end()
		w := c.writing
		c.writing = nil
		c.mu.Unlock()
		c.written(w, true)
		c.hub.forget(c)
		c.ref.Stop()
		c.hub.cfg.Logger.Info("disconnected", "sid", c.sid, "user", c.userID, "namespace", c.namespace, "reason", reason)
	})
}
