package actors

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

// textCodec encodes an event as its position, with the cursor if that is another,
// and a message as its name: what the tests compare.
type textCodec struct{}

func (textCodec) Event(e *domain.Event) []byte { return []byte(e.Pos.String()) }

func (textCodec) LastUnread(e *domain.Event, s *Session) []byte {
	return []byte(e.Pos.String() + ">" + s.Pos.String())
}

func (c textCodec) Session(s *Session, cursor domain.Position) []byte {
	return c.Message("session", s.JSON(), cursor)
}

func (textCodec) Message(name string, data json.RawMessage, cursor domain.Position) []byte {
	return []byte(name + " " + cursor.String() + " " + string(data))
}

// plainTextCodec is one whose events carry no other cursor than their own
// position: a session follows the last unread notification.
type plainTextCodec struct{ textCodec }

func (c plainTextCodec) LastUnread(e *domain.Event, s *Session) []byte {
	return append(append(c.Event(e), '\n'), c.Session(s, s.Pos)...)
}

// plainText is its index in the house's hub.
const plainText = 1

// client is a transport whose flusher is a goroutine: it pulls when woken,
// unless the client is stuck.
type client struct {
	hub  *Hub
	conn *Connection

	wake    chan struct{}
	stop    chan struct{}
	stopped chan struct{}

	mu       sync.Mutex // guards what follows
	size     int        // bytes asked of Next at a time
	stuck    bool
	frames   []string // all that came
	got      []string // positions of events, in the order of arrival
	messages []string
	ended    EndReason
}

func (c *client) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *client) Close(reason EndReason) {
	c.mu.Lock()
	c.ended = reason
	c.mu.Unlock()
	c.conn.Closed(string(reason))
}

func (c *client) flush() {
	defer close(c.stopped)
	for {
		select {
		case <-c.wake:
		case <-c.stop:
			return
		}
		for c.pull() {
		}
	}
}

func (c *client) pull() bool {
	c.mu.Lock()
	stuck, size := c.stuck, c.size
	c.mu.Unlock()
	if stuck {
		return false
	}
	frames := c.conn.Next(nil, size)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, several := range frames {
		for f := range strings.SplitSeq(string(several), "\n") {
			c.frames = append(c.frames, f)
			if strings.Contains(f, " ") {
				c.messages = append(c.messages, f)
			} else {
				c.got = append(c.got, f[:domain.PositionLen])
			}
		}
	}
	return len(frames) > 0
}

func (c *client) setStuck(stuck bool) {
	c.mu.Lock()
	c.stuck = stuck
	c.mu.Unlock()
	c.Wake()
}

func (c *client) setSize(size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size = size
}

// leave ends the connection from the client's side and returns what it got.
func (c *client) leave() []string {
	c.conn.Closed("transport close")
	close(c.stop)
	<-c.stopped
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got
}

// cursor is where the client goes on, by the last frame that it got.
func (c *client) cursor() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.frames) == 0 {
		return ""
	}
	return cursorOf(c.frames[len(c.frames)-1])
}

// cursorOf is the position that a frame of textCodec carries.
func cursorOf(frame string) string {
	if _, rest, message := strings.Cut(frame, " "); message {
		return rest[:domain.PositionLen]
	}
	return frame[len(frame)-domain.PositionLen:]
}

func (c *client) received() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

func (c *client) endReason() EndReason {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// house is a hub on a log, with the clock of the bubble.
type house struct {
	t   *testing.T
	log *eventlogtest.Memory
	hub *Hub
	sid int
	// namespace that clients connect to, empty means /ws, and their codec
	namespace string
	codec     int
}

func newHouse(t *testing.T, change func(*HubConfig)) *house {
	t.Helper()
	h := &house{t: t, log: eventlogtest.NewMemory()}
	h.start(change)
	return h
}

func (h *house) start(change func(*HubConfig)) {
	h.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	system, err := NewSystem(logger)
	if err != nil {
		h.t.Fatal(err)
	}
	cfg := HubConfig{System: system, Log: h.log, Codecs: []Codec{textCodec{}, plainTextCodec{}}, Logger: logger}
	if change != nil {
		change(&cfg)
	}
	if h.hub, err = NewHub(cfg); err != nil {
		h.t.Fatal(err)
	}
	go func() { _ = h.hub.Run(context.Background()) }() // until Close, which waits for it
}

func (h *house) connect(id domain.Identity, cursor string) (*client, bool) {
	h.t.Helper()
	return h.connectSized(id, cursor, 1<<10)
}

func (h *house) connectSized(id domain.Identity, cursor string, size int) (*client, bool) {
	h.t.Helper()
	return h.connectAs("", id, cursor, size)
}

func (h *house) newSID() string {
	h.sid++
	return fmt.Sprintf("s%d", h.sid)
}

// connectAs connects with what a client has of its session; if that can't be
// gone on with it gets the next one.
func (h *house) connectAs(sid string, id domain.Identity, cursor string, size int) (*client, bool) {
	h.t.Helper()
	c := &client{hub: h.hub, size: size, wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	conn, recovered, err := h.hub.Connect(context.Background(), ConnectRequest{
		Identity: id, Namespace: cmp.Or(h.namespace, domain.NamespaceAll), SID: sid, NewSID: h.newSID, Cursor: cursor, KeepRooms: true, Codec: h.codec, Transport: c,
	})
	if err != nil {
		h.t.Fatalf("connect %s: %v", id.UserID, err)
	}
	c.conn = conn
	go c.flush()
	c.Wake()
	return c, recovered
}

// sell appends an event of a branch and returns its position.
func (h *house) sell(branch string) string {
	h.t.Helper()
	return h.put(domain.StreamOfBranch(branch), domain.Fact{BranchID: branch, Payload: domain.InventoryUpdated{ProductID: "p1", Delta: -1, Reason: "sale"}})
}

// forget waits until the feed has all, and puts it out of a memory of one frame.
func (h *house) forget() {
	h.t.Helper()
	synctest.Wait()
	h.sell("b9") // nobody's, in a batch of its own
	synctest.Wait()
}

// count appends a commit of so many events of a branch, and returns their
// positions.
func (h *house) count(branch string, events int) (positions []string) {
	h.t.Helper()
	lines := make([]domain.Fact, events)
	for i := range lines {
		lines[i] = domain.Fact{BranchID: branch, Payload: domain.InventoryUpdated{ProductID: "p1", Delta: -1, Reason: "count"}}
	}
	h.put(domain.StreamOfBranch(branch), lines...)
	last := h.log.Head()
	for i := range lines {
		last.Index = uint32(i)
		positions = append(positions, last.String())
	}
	return positions
}

func (h *house) setUser(p domain.UserUpdated) string {
	h.t.Helper()
	return h.put(domain.StreamOfUser(p.UserID), domain.Fact{Payload: p})
}

func (h *house) put(stream string, facts ...domain.Fact) string {
	h.t.Helper()
	version := h.log.Version(stream) + 1
	c, err := domain.NewCommit(stream, version, domain.Command{ID: fmt.Sprintf("%s-%d", stream, version), Type: "test", At: time.Now()}, domain.Decision{Events: facts})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.log.Append(context.Background(), c); err != nil {
		h.t.Fatal(err)
	}
	return c.Position.String()
}

func staff(user string, branches ...string) domain.Identity {
	return domain.Identity{UserID: user, Role: domain.RoleStaff, Branches: branches}
}

func admin(user string) domain.Identity { return domain.Identity{UserID: user, Role: domain.RoleAdmin} }

func wantEvents(t *testing.T, who string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s got %d events %v,\nwant %d: %v", who, len(got), got, len(want), want)
	}
}
