package actors

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"runtime"
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
	batch    uint64     // the number of the feed's last batch; the feed's own
	touched  []*room    // likewise, kept for reuse
	traced   []fedTrace // likewise

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ran    group

	events     atomic.Uint64
	deliveries atomic.Uint64
	frozen     atomic.Pointer[error] // nil while the feed runs

	keeping keyLock // held for a session while its rooms are loaded or saved

	mu         sync.Mutex // guards what follows
	sessions   map[string]*Connection
	namespaces map[string]int // of the sessions
	draining   bool
}

// NewHub makes a hub at the present end of the log. Connections can be made at
// once; they get no events before Run.
func NewHub(cfg HubConfig) (*Hub, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.defaults()
	h := &Hub{cfg: cfg, sessions: map[string]*Connection{}, namespaces: map[string]int{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	head := cfg.Log.Head()
	h.rooms = newRooms(cfg.System, tailBound{cfg.TailFrames, cfg.TailBytes}, cfg.RoomIdle, cfg.Now, head)
	h.recent = newTail(tailBound{cfg.RecentFrames, cfg.RecentBytes}, head)
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

// Turn waits for a turn at the processors, for what lets a client in: an HTTP
// upgrade, Connect. Call end when it is done. It fails when ctx or the hub ends.
func (h *Hub) Turn(ctx context.Context) (end func(), err error) {
	t, err := h.turns.take(ctx.Done(), turnToJoin)
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	return t.end, nil
}

func (h *Hub) remember(c *Connection) (replaced *Connection, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return nil, false
	}
	replaced = h.sessions[c.sid]
	h.sessions[c.sid] = c
	if replaced != nil {
		h.namespaces[replaced.namespace]--
	}
	h.namespaces[c.namespace]++
	return replaced, true
}

func (h *Hub) forget(c *Connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[c.sid] == c {
		delete(h.sessions, c.sid)
		h.namespaces[c.namespace]--
	}
}

// knows reports whether the connection is the one that has its session.
func (h *Hub) knows(c *Connection) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[c.sid] == c
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
}

// Stats returns the hub's counts. It costs the same however many connections
// there are.
func (h *Hub) Stats() HubStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return HubStats{
		Events: h.events.Load(), Deliveries: h.deliveries.Load(),
		Connections: len(h.sessions), Rooms: h.rooms.inhabited(), Namespaces: maps.Clone(h.namespaces),
	}
}

// Lags calls f with each connection's lag (ConnectionInfo). It looks at every
// connection and its rooms.
func (h *Hub) Lags(f func(records uint64)) {
	head := h.Head()
	for i, c := range h.all() {
		c.mu.Lock()
		lag := c.lagLocked(head)
		c.mu.Unlock()
		f(lag)
		if i%256 == 255 { // tens of thousands take milliseconds
			runtime.Gosched()
		}
	}
}

// Connections describes all connections, in no order.
func (h *Hub) Connections() []ConnectionInfo {
	head := h.Head()
	branches := sync.OnceValue(h.cfg.Branches)
	all := h.all()
	infos := make([]ConnectionInfo, 0, len(all))
	for _, c := range all {
		infos = append(infos, c.info(head, branches))
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
			c.post(name, data)
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
