package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bms/domain"
)

// ConnectRequest asks for a connection. Identity is the token's.
type ConnectRequest struct {
	Identity  domain.Identity
	ExpiresAt time.Time // the token's end, when the connection ends too
	Namespace string
	// SID is the session that the client asks to go on with, empty for none.
	// A connection that has it is replaced.
	SID string
	// Began is when that session began.
	Began time.Time
	// NewSID makes the id of a session that begins: where none goes on.
	NewSID func() string
	// Cursor is the last position the client has, empty for none.
	Cursor string
	Codec  int // index into HubConfig.Codecs
	// KeepRooms has what the client changes of its rooms kept, for clients
	// that can ask for their session again.
	KeepRooms bool
	Transport Transport
}

// Session is the data of the message session, the first on every connection. It
// comes again behind unread notifications where the protocol needs it
// (Codec.LastUnread). It is immutable once it is there.
type Session struct {
	SID    string   `json:"sid"`
	UserID string   `json:"userId"`
	Role   string   `json:"role"`
	Rooms  []string `json:"rooms"`
	// Pos is where the log begins or goes on: read models at it miss nothing.
	// A client that gets unread notifications before is told apart from it
	// where it is in them.
	Pos       domain.Position `json:"pos"`
	Recovered bool            `json:"recovered"`
}

// JSON encodes the session.
func (s *Session) JSON() json.RawMessage {
	data, err := json.Marshal(s)
	if err != nil { // strings, a position, a truth value
		panic(err)
	}
	return data
}

// beginning is where in the log, and as whom, a connection begins.
type beginning struct {
	recovered bool
	sid       string
	began     time.Time // the session
	cursor    domain.Position
	standing
	rooms  SessionRooms
	unread *backlog
}

// Connect makes a connection, whose transport may call Next at once; its first
// frame is the session message. recovered is true when a cursor was given and
// delivery goes on behind it without a gap. The error is a *domain.Rejection
// (unauthorized, forbidden_namespace, draining) or a fault of the log.
func (h *Hub) Connect(ctx context.Context, r ConnectRequest) (_ *Connection, recovered bool, err error) {
	r.KeepRooms = r.KeepRooms && h.cfg.Sessions != nil
	if r.SID != "" {
		// Whoever has the session saves what it is at, and nothing once it
		// is replaced.
		unlock, err := h.keeping.lock(ctx, r.SID)
		if err != nil {
			return nil, false, fmt.Errorf("wait for session %s: %w", r.SID, err)
		}
		defer unlock()
	}
	b, err := h.resume(ctx, r)
	if err == nil && !b.recovered {
		b, err = h.afresh(ctx, r)
	}
	if err != nil {
		return nil, false, err
	}
	c := &Connection{
		hub: h, transport: r.Transport, sid: b.sid, userID: r.Identity.UserID, namespace: r.Namespace, codec: r.Codec,
		places: make(chan struct{}, h.cfg.Inbound), done: make(chan struct{}), since: h.cfg.Now(), began: b.began, keepRooms: r.KeepRooms,
		claims: r.Identity, user: b.then, cursor: b.cursor, chosen: choicesOf(b.rooms), unread: b.unread,
	}
	if b.changed.After(b.cursor) {
		c.now, c.nowAt = b.now, b.changed
	}
	c.ref = h.cfg.System.Spawn("connection", c.sid, 2, c)
	replaced, ok := h.remember(c)
	if !ok {
		c.ref.Stop()
		return nil, false, domain.Reject(domain.CodeDraining, "the node is stopping, connect again")
	}
	began := false
	defer func() {
		if !began { // who called doesn't get it, and will not close it
			c.Closed(string(EndPanicked))
		}
	}()
	if replaced != nil {
		replaced.end(EndReplaced)
	}
	c.begin(ctx, r, b.recovered)
	began = true
	return c, b.recovered, nil
}

// begin puts a new connection into its rooms, and makes what it says first.
func (c *Connection) begin(ctx context.Context, r ConnectRequest, recovered bool) {
	c.judge()
	greeting := c.session(recovered)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greeting = greeting
	c.expireLocked(r.ExpiresAt)
	c.hub.cfg.Logger.InfoContext(ctx, "connected", "sid", c.sid, "user", c.userID, "role", c.identity.Role, "namespace", c.namespace, "recovered", recovered, "resumed", r.Cursor != "")
}

// session makes the session message of this moment, for where the log goes on.
func (c *Connection) session(recovered bool) *Session {
	rooms := c.roomNames(c.hub.cfg.Branches)
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Session{
		SID: c.sid, UserID: c.userID, Role: c.identity.Role, Rooms: rooms, Pos: c.cursor, Recovered: recovered,
	}
}

// resume begins behind the client's cursor. It leaves recovered false where
// there is no going on from there.
func (h *Hub) resume(ctx context.Context, r ConnectRequest) (b beginning, err error) {
	cursor, err := domain.ParsePosition(r.Cursor)
	if err != nil || h.cfg.Log.Check(cursor) != nil {
		return b, nil //nolint:nilerr // a cursor that isn't one of this log is none
	}
	// Who comes back is judged twice: as he is now, for the door, and as he
	// was from the cursor on, for what he missed. If he would have been sent
	// away in between, he can't have missed what came then.
	if b.standing, err = h.standing(ctx, r, cursor); err != nil || b.barred {
		return b, err
	}
	b.sid, b.began, b.cursor = r.SID, r.Began, cursor
	switch {
	case r.SID == "":
		b.sid, b.began = r.NewSID(), h.cfg.Now()
	case r.KeepRooms:
		rooms, err := h.cfg.Sessions.Load(ctx, r.SID, r.Began)
		if errors.Is(err, ErrSessionForgotten) {
			return b, nil
		}
		if err != nil {
			h.cfg.Logger.ErrorContext(ctx, "the rooms of a session are lost", "sid", r.SID, "error", err)
			return b, ctx.Err()
		}
		b.rooms = rooms.within(h.cfg.Log.Check, cursor)
	}
	b.recovered = true
	return b, nil
}

// afresh begins at the log's end, in a session of its own: what was left of
// another one's rooms is not this one's.
func (h *Hub) afresh(ctx context.Context, r ConnectRequest) (b beginning, err error) {
	b.cursor = h.cfg.Log.Head()
	if b.standing, err = h.standing(ctx, r, b.cursor); err != nil {
		return b, err
	}
	if b.changed.After(b.cursor) { // since just now
		b.then, b.cursor = b.now, b.changed
	}
	if b.unread, err = h.unread(ctx, r.Identity.UserID, b.cursor); err != nil {
		return b, err
	}
	b.sid, b.began = r.NewSID(), h.cfg.Now()
	return b, nil
}

// standing is what the log says of a user.
type standing struct {
	then    *domain.User    // at a position
	now     *domain.User    // at present
	changed domain.Position // the last change of now
	// barred is true when he might not have been connected at that position,
	// or somewhere between it and now.
	barred bool
}

// standing reads what the log says of a user from a position on. The error is a
// *domain.Rejection if he may not be connected now.
func (h *Hub) standing(ctx context.Context, r ConnectRequest, at domain.Position) (s standing, err error) {
	stream := domain.StreamOfUser(r.Identity.UserID)
	state, err := domain.NewState(stream)
	if err != nil {
		return s, err
	}
	s.now = state.(*domain.User)
	judge := func() *domain.Rejection { return domain.MayConnect(s.now.Overlay(r.Identity), r.Namespace) }
	pass := func() {
		then := *s.now
		s.then = &then
		s.barred = judge() != nil
	}
	for after := uint64(0); ; {
		commits, err := h.cfg.Log.ReadStream(ctx, stream, after, 1000)
		if err != nil {
			return s, fmt.Errorf("read %s: %w", stream, err)
		}
		if len(commits) == 0 {
			break
		}
		for _, commit := range commits {
			for i := range commit.Events {
				e := &commit.Events[i]
				if s.then == nil && e.Pos.After(at) {
					pass()
				}
				if err := s.now.Evolve(e); err != nil {
					return s, fmt.Errorf("fold %s: %w", stream, err)
				}
				s.changed = e.Pos
				s.barred = s.barred || s.then != nil && judge() != nil
			}
			after = commit.Version
		}
	}
	if s.then == nil {
		pass()
	}
	if no := judge(); no != nil {
		return s, no
	}
	return s, nil
}
