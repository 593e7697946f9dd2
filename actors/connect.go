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

// session is the first message on every connection.
type session struct {
	SID       string          `json:"sid"`
	UserID    string          `json:"userId"`
	Role      string          `json:"role"`
	Rooms     []string        `json:"rooms"`
	Pos       domain.Position `json:"pos"`
	Recovered bool            `json:"recovered"`
}

// beginning is where in the log, and as whom, a connection begins.
type beginning struct {
	recovered bool
	sid       string
	cursor    domain.Position
	user      *domain.User // as of the cursor
	rooms     SessionRooms
	unread    *backlog
}

// Connect makes a connection, whose transport may call Next at once; its first
// frame is the session message. recovered is true when a cursor was given and
// delivery goes on behind it without a gap. The error is a *domain.Rejection
// (unauthorized, forbidden_namespace, draining) or a fault of the log.
func (h *Hub) Connect(ctx context.Context, r ConnectRequest) (c *Connection, recovered bool, err error) {
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
	c = &Connection{
		hub: h, transport: r.Transport, sid: b.sid, userID: r.Identity.UserID, namespace: r.Namespace, codec: r.Codec,
		places: make(chan struct{}, h.cfg.Inbound), done: make(chan struct{}), since: h.cfg.Now(), keepRooms: r.KeepRooms,
		claims: r.Identity, user: b.user, cursor: b.cursor, chosen: choicesOf(b.rooms), unread: b.unread,
	}
	c.ref = h.cfg.System.Spawn("connection", c.sid, 2, c)
	replaced, ok := h.remember(c)
	if !ok {
		c.ref.Stop()
		return nil, false, domain.Reject(domain.CodeDraining, "the node is stopping, connect again")
	}
	if replaced != nil {
		replaced.end(EndReplaced)
	}
	c.mu.Lock()
	c.judgeLocked(c.cursor)
	c.mu.Unlock()
	rooms := c.roomNames(h.cfg.Branches)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greeting, err = json.Marshal(session{
		SID: c.sid, UserID: c.userID, Role: c.identity.Role, Rooms: rooms, Pos: c.cursor, Recovered: b.recovered,
	})
	if err != nil {
		return nil, false, fmt.Errorf("encode session: %w", err)
	}
	c.expireLocked(r.ExpiresAt)
	h.cfg.Logger.InfoContext(ctx, "connected", "sid", c.sid, "user", c.userID, "role", c.identity.Role, "namespace", c.namespace, "recovered", b.recovered, "resumed", r.Cursor != "")
	return c, b.recovered, nil
}

// resume begins behind the client's cursor. It leaves recovered false where
// there is no going on from there.
func (h *Hub) resume(ctx context.Context, r ConnectRequest) (b beginning, err error) {
	cursor, err := domain.ParsePosition(r.Cursor)
	if err != nil || h.cfg.Log.Check(cursor) != nil {
		return b, nil //nolint:nilerr // a cursor that isn't one of this log is none
	}
	user, now, err := h.userAt(ctx, r.Identity.UserID, cursor)
	if err != nil {
		return b, err
	}
	// Who comes back is judged twice: as he is now, for the door, and as he
	// was at the cursor, for what he missed; the changes in between are in
	// what he missed.
	if no := door(now.Overlay(r.Identity), r.Namespace); no != nil {
		return b, no
	}
	if door(user.Overlay(r.Identity), r.Namespace) != nil {
		return b, nil
	}
	if r.SID == "" {
		r.SID = r.NewSID()
	} else if r.KeepRooms {
		if b.rooms, err = h.cfg.Sessions.Load(ctx, r.SID); err != nil {
			return b, fmt.Errorf("load the rooms of session %s: %w", r.SID, err)
		}
	}
	b.recovered, b.sid, b.cursor, b.user = true, r.SID, cursor, user
	return b, nil
}

// afresh begins at the log's end.
func (h *Hub) afresh(ctx context.Context, r ConnectRequest) (b beginning, err error) {
	b.sid = r.NewSID()
	if b.unread, b.cursor, err = h.unread(ctx, r.Identity.UserID, h.cfg.Log.Head()); err != nil {
		return b, err
	}
	var now *domain.User
	if b.user, now, err = h.userAt(ctx, r.Identity.UserID, b.cursor); err != nil {
		return b, err
	}
	if no := door(now.Overlay(r.Identity), r.Namespace); no != nil {
		return b, no
	}
	return b, nil
}

// door says why an identity may not come in.
func door(id domain.Identity, namespace string) error {
	if no := domain.MayConnect(id, namespace); no != nil {
		return no
	}
	return nil
}

// userAt reads what the log says of a user: up to a position, and now.
func (h *Hub) userAt(ctx context.Context, userID string, at domain.Position) (then, now *domain.User, err error) {
	stream := domain.StreamOfUser(userID)
	states := [2]*domain.User{}
	for i := range states {
		s, err := domain.NewState(stream)
		if err != nil {
			return nil, nil, err
		}
		states[i] = s.(*domain.User)
	}
	for after := uint64(0); ; {
		commits, err := h.cfg.Log.ReadStream(ctx, stream, after, 1000)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", stream, err)
		}
		if len(commits) == 0 {
			return states[0], states[1], nil
		}
		for _, commit := range commits {
			for i := range commit.Events {
				e := &commit.Events[i]
				if !e.Pos.After(at) {
					err = errors.Join(err, states[0].Evolve(e))
				}
				err = errors.Join(err, states[1].Evolve(e))
			}
			after = commit.Version
		}
		if err != nil {
			return nil, nil, fmt.Errorf("fold %s: %w", stream, err)
		}
	}
}
