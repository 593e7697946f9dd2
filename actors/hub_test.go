package actors

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// textCodec encodes an event as its position and a message as its name: what
// the tests compare.
type textCodec struct{}

func (textCodec) Event(e *domain.Event) []byte { return []byte(e.Pos.String()) }

func (textCodec) Message(name string, data json.RawMessage, cursor domain.Position) []byte {
	return []byte(name + " " + cursor.String() + " " + string(data))
}

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
	for _, f := range frames {
		if strings.Contains(string(f), " ") {
			c.messages = append(c.messages, string(f))
		} else {
			c.got = append(c.got, string(f))
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
	log *memLog
	hub *Hub
	sid int
}

func newHouse(t *testing.T, change func(*HubConfig)) *house {
	t.Helper()
	h := &house{t: t, log: newMemLog()}
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
	cfg := HubConfig{System: system, Log: h.log, Codecs: []Codec{textCodec{}}, Logger: logger}
	if change != nil {
		change(&cfg)
	}
	if h.hub, err = NewHub(cfg); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) connect(id domain.Identity, cursor string) (*client, bool) {
	h.t.Helper()
	return h.connectSized(id, cursor, 1<<10)
}

func (h *house) connectSized(id domain.Identity, cursor string, size int) (*client, bool) {
	h.t.Helper()
	h.sid++
	c := &client{hub: h.hub, size: size, wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	conn, recovered, err := h.hub.Connect(context.Background(), ConnectRequest{
		Identity: id, Namespace: domain.NamespaceAll, SID: fmt.Sprintf("s%d", h.sid), Cursor: cursor, Transport: c,
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

func (h *house) setUser(p domain.UserUpdated) string {
	h.t.Helper()
	return h.put(domain.StreamOfUser(p.UserID), domain.Fact{Payload: p})
}

func (h *house) put(stream string, facts ...domain.Fact) string {
	h.t.Helper()
	version := h.log.version(stream) + 1
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

func Test_a_connection_sees_the_events_of_its_rooms_and_no_others(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		b1, _ := h.connect(staff("u1", "b1"), "")
		both, _ := h.connect(staff("u2", "b1", "b2"), "")
		all, _ := h.connect(admin("root"), "")
		var one, two []string
		for range 50 {
			p := h.sell("b1")
			one, two = append(one, p), append(two, p)
			two = append(two, h.sell("b2"))
		}
		extra := h.sell("b3")
		synctest.Wait()
		wantEvents(t, "staff of b1", b1.leave(), one)
		wantEvents(t, "staff of b1 and b2", both.leave(), two)
		wantEvents(t, "admin", all.leave(), append(slices.Clone(two), extra))
		h.hub.Close()
	})
}

func Test_a_cursor_is_resumed_without_gap_or_double_from_tails_from_recent_and_from_the_log(t *testing.T) {
	for name, change := range map[string]func(*HubConfig){
		"tails":    nil,
		"recent":   func(c *HubConfig) { c.TailFrames = 1 },
		"segments": func(c *HubConfig) { c.TailFrames, c.RecentFrames = 1, 1 },
		"evicted":  func(c *HubConfig) { c.TailFrames, c.RecentFrames, c.SegmentBytes = 1, 1, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, change)
				keeper, _ := h.connect(staff("keeper", "b1"), "") // keeps the room's tail alive
				var want []string
				for range 700 {
					want = append(want, h.sell("b1"))
					h.sell("b2")
				}
				for i, have := range []int{1, 1, 2, 255, 400, 699, 700} {
					c, recovered := h.connectSized(staff("u1", "b1"), want[have-1], 1<<(10+10*(i%2)))
					if !recovered {
						t.Fatalf("resume behind event %d: recovered false, want true", have)
					}
					synctest.Wait()
					wantEvents(t, fmt.Sprintf("resumed behind %d", have), c.leave(), want[have:])
				}
				synctest.Wait()
				wantEvents(t, "the one that stayed", keeper.leave(), want)
				h.hub.Close()
			})
		})
	}
}

func Test_a_cursor_inside_a_commit_goes_on_inside_it(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *HubConfig) { c.TailFrames, c.RecentFrames = 2, 2 })
		fact := domain.Fact{BranchID: "b1", Payload: domain.InventoryUpdated{ProductID: "p1", Delta: 1}}
		for range 3 {
			h.put(domain.StreamOfBranch("b1"), fact, fact, fact, fact)
		}
		c, _ := h.connect(staff("u1", "b1"), domain.Position{Epoch: h.log.Head().Epoch, Seq: 2, Index: 1}.String())
		synctest.Wait()
		got := c.leave()
		if want := 2 + 4; len(got) != want {
			t.Fatalf("got %d events %v, want %d", len(got), got, want)
		}
		h.hub.Close()
	})
}

func Test_a_cursor_that_is_not_of_this_log_is_not_recovered_and_gets_live_events(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.sell("b1")
		epoch := h.log.Head().Epoch
		for _, cursor := range []string{
			"garbage", "-1", strings.Repeat("0", domain.PositionLen),
			domain.Position{Epoch: epoch, Seq: 99}.String(), domain.Position{Epoch: epoch + 1, Seq: 1}.String(),
		} {
			c, recovered := h.connect(staff("u1", "b1"), cursor)
			if recovered {
				t.Fatalf("cursor %q: recovered true, want false", cursor)
			}
			p := h.sell("b1")
			synctest.Wait()
			wantEvents(t, "cursor "+cursor, c.leave(), []string{p})
		}
		h.hub.Close()
	})
}

func Test_the_session_comes_first_and_says_where_it_stands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *HubConfig) { c.Branches = func() []string { return []string{"b1", "b2"} } })
		at := h.sell("b1")
		synctest.Wait()
		c, _ := h.connect(admin("root"), "")
		synctest.Wait()
		want := `session ` + at + ` {"sid":"s1","userId":"root","role":"admin","rooms":["branch:b1","branch:b2","notifications:root","system:alerts","system:notifications","user-role:admin","user:root"],"pos":"` + at + `","recovered":false}`
		if len(c.messages) != 1 || c.messages[0] != want {
			t.Fatalf("got %q,\nwant %q", c.messages, want)
		}
		c.leave()
		h.hub.Close()
	})
}

func Test_a_stuck_client_delays_nobody_and_gets_everything_later(t *testing.T) { // invariants 4 and 5
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *HubConfig) { c.TailFrames, c.RecentFrames = 16, 64 })
		slow, _ := h.connect(staff("slow", "b1"), "")
		fast, _ := h.connect(staff("fast", "b1"), "")
		synctest.Wait()
		slow.setStuck(true)
		var want []string
		for range 2000 {
			want = append(want, h.sell("b1"))
		}
		synctest.Wait()
		wantEvents(t, "fast", fast.received(), want)
		wantEvents(t, "slow while stuck", slow.received(), nil)
		if lag := h.hub.Stats().Lag; lag != 2000 {
			t.Fatalf("lag %d, want 2000", lag)
		}
		slow.setStuck(false)
		synctest.Wait()
		wantEvents(t, "slow", slow.leave(), want)
		fast.leave()
		h.hub.Close()
	})
}

func Test_rights_change_at_the_position_of_the_change_live_and_on_replay(t *testing.T) {
	for _, size := range []int{1, 1 << 20} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, nil)
			live, _ := h.connect(staff("u1", "b1"), "")
			live.setSize(size)
			start := h.hub.Head()
			var want []string
			want = append(want, h.sell("b1"))
			h.sell("b2")
			want = append(want, h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionCreated, Role: domain.RoleStaff, Branches: []string{"b2"}}))
			h.sell("b1")
			want = append(want, h.sell("b2"))
			want = append(want, h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionUpdated, Role: domain.RoleAdmin}))
			want = append(want, h.sell("b1"), h.sell("b3"))
			want = append(want, h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionUpdated, Role: domain.RoleStaff, Branches: []string{"b3"}}))
			h.sell("b1")
			want = append(want, h.sell("b3"))
			synctest.Wait()
			wantEvents(t, "live", live.leave(), want)
			again, recovered := h.connect(staff("u1", "b1"), start.String())
			again.setSize(size)
			if !recovered {
				t.Fatal("replay: recovered false, want true")
			}
			synctest.Wait()
			wantEvents(t, "on replay", again.leave(), want)
			h.hub.Close()
		})
	}
}

func Test_a_disabled_user_gets_the_change_and_then_the_end(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		c, _ := h.connect(staff("u1", "b1"), "")
		want := []string{h.sell("b1"), h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionCreated, Role: domain.RoleStaff, Branches: []string{"b1"}, Disabled: true})}
		h.sell("b1")
		synctest.Wait()
		wantEvents(t, "disabled", c.received(), want)
		if c.endReason() != EndRights {
			t.Fatalf("ended for %q, want %q", c.endReason(), EndRights)
		}
		_, _, err := h.hub.Connect(context.Background(), ConnectRequest{Identity: staff("u1", "b1"), Namespace: domain.NamespaceAll, SID: "again", Transport: c})
		if no, ok := err.(*domain.Rejection); !ok || no.Code != domain.CodeUnauthorized {
			t.Fatalf("connect of a disabled user: %v, want %s", err, domain.CodeUnauthorized)
		}
		close(c.stop)
		h.hub.Close()
	})
}

// ask sends an inbound event and returns the ack as JSON.
func ask(t *testing.T, c *client, name string, args ...string) string {
	t.Helper()
	raw := make([]json.RawMessage, len(args))
	for i, a := range args {
		raw[i] = json.RawMessage(a)
	}
	answer := make(chan any, 1)
	if !c.conn.Event(name, raw, func(v any) { answer <- v }) {
		t.Fatalf("%s is not handled", name)
	}
	b, err := json.Marshal(<-answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func Test_rooms_are_joined_and_left_within_the_rights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		c, _ := h.connect(staff("u1", "b1"), "")
		root, _ := h.connect(admin("root"), "")
		for _, room := range []string{`"branch:b2"`, `"user-role:admin"`, `"user:u2"`, `"branch:*"`, `"branch:b1\u0000"`, `"system:alerts"`, `7`} {
			if got := ask(t, c, "room:join", room); !strings.Contains(got, `"ok":false`) || !strings.Contains(got, `"code"`) {
				t.Fatalf("join %s: %s, want a refusal", room, got)
			}
		}
		h.sell("b2")
		ask(t, root, "room:leave", `"branch:b2"`)
		h.sell("b2")
		missed := h.sell("b1")
		ask(t, c, "room:leave", `"branch:b1"`)
		synctest.Wait()
		h.sell("b1")
		ask(t, c, "room:join", `"branch:b1"`)
		ask(t, root, "room:join", `"branch:b2"`)
		last := h.sell("b1")
		b2 := h.sell("b2")
		synctest.Wait()
		if got := c.leave(); got[len(got)-1] != last || slices.Contains(got, missed) && len(got) != 2 {
			t.Fatalf("staff got %v, want %s last and nothing of the time outside", got, last)
		}
		got := root.leave()
		if got[len(got)-1] != b2 || len(got) < 4 {
			t.Fatalf("admin got %v, want %s last", got, b2)
		}
		h.hub.Close()
	})
}

func Test_the_rights_of_a_user_who_left_his_own_room_change_all_the_same(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		c, _ := h.connect(staff("u1", "b1"), "")
		ask(t, c, "room:leave", `"user:u1"`)
		h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionCreated, Role: domain.RoleStaff, Branches: []string{"b2"}})
		h.sell("b1")
		want := []string{h.sell("b2")}
		synctest.Wait()
		wantEvents(t, "u1", c.leave(), want)
		h.hub.Close()
	})
}

func Test_a_token_that_ends_closes_the_connection_unless_refreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *HubConfig) {
			c.Verify = func(_ context.Context, token string) (domain.Identity, time.Time, error) {
				return staff(token, "b2"), time.Now().Add(time.Hour), nil
			}
		})
		connect := func(user string) *client {
			c := &client{hub: h.hub, size: 1 << 10, wake: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
			conn, _, err := h.hub.Connect(context.Background(), ConnectRequest{
				Identity: staff(user, "b1"), ExpiresAt: time.Now().Add(time.Minute), Namespace: domain.NamespaceAll, SID: user, Transport: c,
			})
			if err != nil {
				t.Fatal(err)
			}
			c.conn = conn
			go c.flush()
			return c
		}
		old, fresh, other := connect("u1"), connect("u2"), connect("u3")
		if got := ask(t, fresh, "auth:refresh", `{"token":"u2"}`); !strings.Contains(got, `"ok":true`) || !strings.Contains(got, "branch:b2") || strings.Contains(got, "branch:b1") {
			t.Fatalf("refresh: %s, want ok and the new branch only", got)
		}
		if got := ask(t, other, "auth:refresh", `{"token":"u9"}`); !strings.Contains(got, domain.CodeUnauthorized) {
			t.Fatalf("refresh with another user's token: %s, want unauthorized", got)
		}
		synctest.Wait()
		if got := other.endReason(); got != EndUnauthorized {
			t.Fatalf("other ended for %q, want %q", got, EndUnauthorized)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := old.endReason(); got != EndTokenExpired {
			t.Fatalf("old ended for %q after a minute, want %q", got, EndTokenExpired)
		}
		if got := fresh.endReason(); got != "" {
			t.Fatalf("refreshed ended for %q, want it alive", got)
		}
		for _, c := range []*client{old, fresh, other} {
			c.leave()
		}
		h.hub.Close()
	})
}

func Test_an_empty_room_is_cleaned_up_after_the_idle_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		c, _ := h.connect(staff("u1", "b1"), "")
		c.leave()
		live := func() int { h.hub.rooms.mu.RLock(); defer h.hub.rooms.mu.RUnlock(); return len(h.hub.rooms.byName) }
		time.Sleep(4 * time.Minute)
		back, _ := h.connect(staff("u2", "b1"), "") // shares the branch's room
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got, want := live(), 5; got != want {
			t.Fatalf("%d rooms live, want the %d of u2", got, want)
		}
		back.leave()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := live(); got != 0 {
			t.Fatalf("%d rooms live, want none", got)
		}
		h.hub.Close()
	})
}

func Test_the_same_session_on_another_socket_replaces_the_first(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		first, _ := h.connect(staff("u1", "b1"), "")
		h.sid--
		second, _ := h.connect(staff("u1", "b1"), "")
		p := h.sell("b1")
		synctest.Wait()
		if got := first.endReason(); got != EndReplaced {
			t.Fatalf("first ended for %q, want %q", got, EndReplaced)
		}
		wantEvents(t, "second", second.leave(), []string{p})
		close(first.stop)
		if n := h.hub.Stats().Connections; n != 0 {
			t.Fatalf("%d connections left, want 0", n)
		}
		h.hub.Close()
	})
}

// Test_schedules runs seeded schedules of publishing, connecting, resuming,
// stalling, disconnecting, changes of rights and the passing of time, all at
// once, and compares what each user got over all his connections with what the
// log says he was to get (invariant 4). A failing seed is printed; run it again
// with TEST_SEED.
func Test_schedules(t *testing.T) {
	first, n := uint64(1), uint64(300)
	if testing.Short() {
		n = 50
	}
	if s := os.Getenv("TEST_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &first); err != nil {
			t.Fatal(err)
		}
		n = 1
	}
	for seed := first; seed < first+n; seed++ {
		if !t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { schedule(t, seed) })
		}) {
			return
		}
	}
}

// subscriber is a user of a schedule: one connection at a time, resumed at
// what it has.
type subscriber struct {
	id    domain.Identity
	conn  *client
	got   []string
	from  domain.Position // where its history begins
	known bool            // the log says something of it
}

func (s *subscriber) cursor() string {
	if len(s.got) > 0 {
		return s.got[len(s.got)-1]
	}
	return s.from.String()
}

func schedule(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	h := newHouse(t, func(c *HubConfig) {
		c.TailFrames = 1 + r.IntN(20)
		c.RecentFrames = 1 + r.IntN(60)
		c.SegmentBytes = 1 + r.IntN(100_000)
		c.RoomIdle = time.Duration(1+r.IntN(100)) * time.Millisecond
	})
	branches := []string{"b1", "b2", "b3"}
	some := func() []string {
		var own []string
		for _, b := range branches {
			if r.IntN(2) == 0 {
				own = append(own, b)
			}
		}
		return own
	}
	subs := make([]*subscriber, 4)
	for i := range subs {
		subs[i] = &subscriber{id: staff(fmt.Sprintf("u%d", i), some()...), from: h.hub.Head()}
		switch i {
		case 0:
			subs[i].id = admin("u0")
		case 1:
			subs[i].id.Role = domain.RoleManager
		}
	}
	for range 150 + r.IntN(400) {
		s := subs[r.IntN(len(subs))]
		switch r.IntN(12) {
		case 0, 1:
			if s.conn == nil {
				c, recovered := h.connectSized(s.id, s.cursor(), 1+r.IntN(2)*r.IntN(100_000))
				if !recovered {
					t.Fatalf("%s resumes at %s: recovered false, want true", s.id.UserID, s.cursor())
				}
				s.conn = c
			}
		case 2:
			if s.conn != nil {
				s.got = append(s.got, s.conn.leave()...)
				s.conn = nil
			}
		case 3:
			if s.conn != nil {
				s.conn.setStuck(r.IntN(2) == 0)
			}
		case 4:
			if s.id.UserID != "u0" && r.IntN(3) == 0 {
				p := domain.UserUpdated{UserID: s.id.UserID, Action: domain.ActionUpdated, Role: domain.RoleStaff, Branches: some()}
				if !s.known {
					p.Action, s.known = domain.ActionCreated, true
				}
				if r.IntN(4) == 0 {
					p.Role = domain.RoleManager
				}
				h.setUser(p)
			}
		case 5:
			time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
		case 6:
			synctest.Wait()
		case 7: // for two rooms of a manager
			b := branches[r.IntN(len(branches))]
			h.put(domain.StreamOfAlerts(b), domain.Fact{BranchID: b, Payload: domain.LowStockAlert{ProductID: "p1"}})
		default:
			for range 1 + r.IntN(8) {
				h.sell(branches[r.IntN(len(branches))])
			}
		}
	}
	// In the end everybody is there, and reads.
	for _, s := range subs {
		if s.conn == nil {
			s.conn, _ = h.connect(s.id, s.cursor())
		}
		s.conn.setStuck(false)
	}
	synctest.Wait()
	for _, s := range subs {
		s.got = append(s.got, s.conn.leave()...)
		wantEvents(t, fmt.Sprintf("seed %d: %s", seed, s.id.UserID), s.got, h.owed(s))
	}
	h.hub.Close()
}

// owed works out from the log alone what a user was to get.
func (h *house) owed(s *subscriber) []string {
	h.t.Helper()
	commits, err := h.log.Read(context.Background(), s.from.Seq, 1<<20)
	if err != nil {
		h.t.Fatal(err)
	}
	state, err := domain.NewState(domain.StreamOfUser(s.id.UserID))
	if err != nil {
		h.t.Fatal(err)
	}
	user := state.(*domain.User)
	var owed []string
	for _, c := range commits {
		for i := range c.Events {
			e := &c.Events[i]
			id := user.Overlay(s.id)
			rooms := domain.DefaultRooms(id)
			in := slices.ContainsFunc(domain.AppendRooms(nil, e), func(room string) bool { return slices.Contains(rooms, room) })
			if in && domain.MaySee(id, domain.NamespaceAll, e) {
				owed = append(owed, e.Pos.String())
			}
			if c.Stream == domain.StreamOfUser(s.id.UserID) {
				if err := user.Evolve(e); err != nil {
					h.t.Fatal(err)
				}
			}
		}
	}
	return owed
}
