package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bms/domain"
)

// Hub is the read side of a node: the feed, the rooms and the connections.
//
//	log ── feed ──> tails of rooms ──(news)──> room actors ──(wake)──> transports
//	                      └────────── merged by Connection.Next <──(pull)──┘
//
// # Concurrency properties
//
// All methods are safe for concurrent use.
type Hub struct {
	cfg      HubConfig
	rooms    *rooms
	recent   *tail
	segments *segments
	turns    *turns
	touched  []*room    // the feed's own, kept for reuse
	traced   []fedTrace // likewise

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ran    group

	events     atomic.Uint64
	deliveries atomic.Uint64
	frozen     atomic.Pointer[error] // nil while the feed runs

	mu       sync.Mutex // guards sessions and draining
	sessions map[string]*Connection
	draining bool
}

// NewHub makes a hub at the present end of the log. Connections can be made at
// once; they get no events before Run.
func NewHub(cfg HubConfig) (*Hub, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.defaults()
	h := &Hub{cfg: cfg, sessions: map[string]*Connection{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	head := cfg.Log.Head()
	h.rooms = newRooms(cfg.System, cfg.TailFrames, cfg.RoomIdle, cfg.Now, head)
	h.recent = newTail(cfg.RecentFrames, head)
	h.segments = newSegments(h, cfg.SegmentBytes)
	h.turns = newTurns(h.ctx, cfg.Now)
	return h, nil
}

// Run follows the log and feeds the rooms until the context or the hub ends, and
// gives out turns until the hub ends. It is called once.
func (h *Hub) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	for range h.cfg.Turns {
		h.ran.begin(h.turns.place)
	}
	done := make(chan struct{})
	if h.ran.begin(func() { defer close(done); h.follow(ctx) }) {
		<-done
	}
	return nil
}

// ConnectRequest asks for a connection. Identity is the token's.
type ConnectRequest struct {
	Identity  domain.Identity
	ExpiresAt time.Time // the token's end, when the connection ends too
	Namespace string
	SID       string // unique; a connection that has it already is replaced
	// Cursor is the last position the client has, empty for none.
	Cursor    string
	Codec     int // index into HubConfig.Codecs
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

// Connect makes a connection, whose transport may call Next at once; its first
// frame is the session message. recovered is true when a cursor was given and
// delivery goes on behind it without a gap. The error is a *domain.Rejection
// (unauthorized, forbidden_namespace, draining) or a fault of the log.
func (h *Hub) Connect(ctx context.Context, r ConnectRequest) (c *Connection, recovered bool, err error) {
	cursor := h.cfg.Log.Head()
	if r.Cursor != "" {
		if p, perr := domain.ParsePosition(r.Cursor); perr == nil && h.cfg.Log.Check(p) == nil {
			cursor, recovered = p, true
		}
	}
	var unread *backlog
	if !recovered {
		if unread, cursor, err = h.unread(ctx, r.Identity.UserID, cursor); err != nil {
			return nil, false, err
		}
	}
	user, now, err := h.userAt(ctx, r.Identity.UserID, cursor)
	if err != nil {
		return nil, false, err
	}
	// Who comes back is judged twice: as he is now, for the door, and as he
	// was at the cursor, for what he missed; the changes in between are in
	// what he missed.
	current := now.Overlay(r.Identity)
	if current.Disabled {
		return nil, false, domain.Reject(domain.CodeUnauthorized, "user %s is disabled", r.Identity.UserID)
	}
	if no := domain.MayConnect(current, r.Namespace); no != nil {
		return nil, false, no
	}
	if then := user.Overlay(r.Identity); recovered && (then.Disabled || domain.MayConnect(then, r.Namespace) != nil) {
		// The cursor lies where he had no right to be connected; there is no
		// going on from there.
		cursor, recovered = h.cfg.Log.Head(), false
		if user, _, err = h.userAt(ctx, r.Identity.UserID, cursor); err != nil {
			return nil, false, err
		}
	}

	var rooms SessionRooms
	if recovered && h.cfg.Sessions != nil {
		if rooms, err = h.cfg.Sessions.Load(ctx, r.SID); err != nil {
			return nil, false, fmt.Errorf("load the rooms of session %s: %w", r.SID, err)
		}
	}
	c = &Connection{
		hub: h, transport: r.Transport, sid: r.SID, userID: r.Identity.UserID, namespace: r.Namespace, codec: r.Codec,
		places: make(chan struct{}, h.cfg.Inbound), done: make(chan struct{}), since: h.cfg.Now(),
		claims: r.Identity, user: user, cursor: cursor, left: map[string]struct{}{}, unread: unread,
	}
	for _, name := range rooms.Left {
		c.left[name] = struct{}{}
	}
	c.ref = h.cfg.System.Spawn("connection", r.SID, 2, c)
	replaced, ok := h.remember(c)
	if !ok {
		c.ref.Stop()
		return nil, false, domain.Reject(domain.CodeDraining, "the node is stopping, connect again")
	}
	if replaced != nil {
		replaced.end(EndReplaced)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.judgeLocked(cursor)
	c.rejoinLocked(rooms.Joined)
	data, err := json.Marshal(session{
		SID: c.sid, UserID: c.userID, Role: c.identity.Role, Rooms: c.roomsLocked(), Pos: cursor, Recovered: recovered,
	})
	if err != nil {
		return nil, false, fmt.Errorf("encode session: %w", err)
	}
	c.greeting = data
	c.expireLocked(r.ExpiresAt)
	h.cfg.Logger.InfoContext(ctx, "connected", "sid", c.sid, "user", c.userID, "role", c.identity.Role, "namespace", c.namespace, "recovered", recovered, "resumed", r.Cursor != "")
	return c, recovered, nil
}

// Turn waits for a turn at the processors, for what lets a client in: an HTTP
// upgrade, Connect. Call end when it is done. It fails when ctx or the hub ends.
func (h *Hub) Turn(ctx context.Context) (end func(), err error) {
	t, err := h.turns.take(ctx.Done(), turnToJoin)
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	return t.end, nil
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

func (h *Hub) remember(c *Connection) (replaced *Connection, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return nil, false
	}
	replaced = h.sessions[c.sid]
	h.sessions[c.sid] = c
	return replaced, true
}

func (h *Hub) forget(c *Connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[c.sid] == c {
		delete(h.sessions, c.sid)
	}
}

func (h *Hub) branches() []string {
	if h.cfg.Branches == nil {
		return nil
	}
	return h.cfg.Branches()
}

func (h *Hub) all() []*Connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*Connection, 0, len(h.sessions))
	for _, c := range h.sessions {
		all = append(all, c)
	}
	return all
}

// Head is the position up to which connections are served.
func (h *Hub) Head() domain.Position { return *h.rooms.head.Load() }

// Delivery is events given to a transport in one go.
type Delivery struct {
	Events, Bytes int
	// Lag is the age of the youngest of them, from its decision.
	Lag time.Duration
	// Waited is the time since the feed took it from the log, where it was
	// durable; negative for one that was read again.
	Waited time.Duration
	// Trace is that of its commit if this is one of the writes that are
	// traced, else nil.
	Trace Trace
}

func (h *Hub) delivered(events, bytes int, youngest *domain.Event, o *origin, trace Trace) {
	h.deliveries.Add(uint64(events))
	now := h.cfg.Now()
	d := Delivery{Events: events, Bytes: bytes, Lag: now.Sub(youngest.At), Waited: -1, Trace: trace}
	if o != nil && !o.fed.IsZero() {
		d.Waited = max(now.Sub(o.fed), 0)
		if d.Waited < liveFor {
			h.turns.delivered(now)
		}
	}
	h.cfg.Delivered(d)
}

// Frozen returns the error at which the feed stands still, nil when it runs.
func (h *Hub) Frozen() error {
	if err := h.frozen.Load(); err != nil {
		return *err
	}
	return nil
}

// HubStats counts since the start (Events, Deliveries) or now (the rest).
type HubStats struct {
	Events      uint64
	Deliveries  uint64
	Connections int
	Rooms       int
	Namespaces  map[string]int
	// Lag is the greatest number of log records a connection is behind.
	Lag uint64
}

// Stats returns the hub's counts.
func (h *Hub) Stats() HubStats {
	s := HubStats{Events: h.events.Load(), Deliveries: h.deliveries.Load(), Rooms: len(h.rooms.infos()), Namespaces: map[string]int{}}
	head := h.Head()
	for _, c := range h.all() {
		s.Connections++
		s.Namespaces[c.namespace]++
		c.mu.Lock()
		if head.Seq > c.cursor.Seq {
			s.Lag = max(s.Lag, head.Seq-c.cursor.Seq)
		}
		c.mu.Unlock()
	}
	return s
}

// Lags calls f with each connection's lag, in log records between its cursor
// and the head.
func (h *Hub) Lags(f func(records uint64)) {
	for _, c := range h.all() {
		head, cursor := h.Head(), c.Cursor()
		if head.Seq < cursor.Seq {
			head = cursor
		}
		f(head.Seq - cursor.Seq)
	}
}

// Connections describes all connections, in no order.
func (h *Hub) Connections() []ConnectionInfo {
	head := h.Head()
	all := h.all()
	infos := make([]ConnectionInfo, 0, len(all))
	for _, c := range all {
		infos = append(infos, c.info(head))
	}
	return infos
}

// RoomInfos describes the rooms with members, in no order.
func (h *Hub) RoomInfos() []RoomInfo { return h.rooms.infos() }

// Broadcast posts a message to every connection of a namespace, in line with
// its events.
func (h *Hub) Broadcast(namespace, name string, data json.RawMessage) {
	for _, c := range h.all() {
		if c.namespace == namespace {
			c.Post(name, data)
		}
	}
}

// Kick ends a connection and reports whether there was one of that sid.
func (h *Hub) Kick(sid string) bool {
	h.mu.Lock()
	c := h.sessions[sid]
	h.mu.Unlock()
	if c == nil {
		return false
	}
	c.end(EndKicked)
	return true
}

// Drain refuses new connections from now on. The transports end the present
// ones, at their own pace.
func (h *Hub) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// Close ends every connection, the rooms and the feed, and waits for them.
// Transports must not call Next afterwards.
func (h *Hub) Close() {
	h.Drain()
	for _, c := range h.all() {
		c.transport.Close(EndDraining)
		c.Closed(string(EndDraining))
	}
	h.cancel()
	h.ran.end()
	h.rooms.close()
}

// isOwnRoom reports whether a room is the one on which changes of the user's
// rights arrive.
func isOwnRoom(name, userID string) bool { return name == domain.RoomOfUser(userID) }

func isBranchRoom(name string) bool { return strings.HasPrefix(name, "branch:") }
