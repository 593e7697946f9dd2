package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// Test_schedules runs seeded schedules of publishing, connecting, resuming,
// stalling, disconnecting, replacing, changes of rooms, tokens and rights, and
// the passing of time, all at once, and compares what came on each connection
// with what the log, and what its client had asked for, say was to come
// (invariant 4). A failing seed is printed; run it again with TEST_SEED.
// TEST_SEEDS runs as many as it says.
func Test_schedules(t *testing.T) {
	first, n := uint64(1), uint64(1000)
	if testing.Short() {
		n = 80
	}
	if s := os.Getenv("TEST_SEEDS"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("TEST_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &first); err != nil {
			t.Fatal(err)
		}
		n = 1
	}
	for seed := first; seed < first+n; seed++ {
		if !t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := newSchedule(t, seed).run(); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			})
		}) {
			return
		}
	}
}

// schedule is a hub with a few users who do this and that.
type schedule struct {
	t        *testing.T
	r        *rand.Rand
	h        *house
	store    *memSessions
	subs     []*subscriber
	folded   domain.Position // by the read model of unread notifications
	branches []string
	turn     func() // ends a turn at the processors that somebody has; nil for none
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	s := &schedule{t: t, r: rand.New(rand.NewPCG(seed, 7)), branches: []string{"b1", "b2", "b3"}}
	s.store = &memSessions{rooms: map[string]SessionRooms{}}
	saves := rand.New(rand.NewPCG(seed, 8)) // one connection saves at a time, or none of the same schedule would be
	s.store.saving = func() error {
		s.store.mu.Lock()
		roll := saves.IntN(40)
		s.store.mu.Unlock()
		time.Sleep(time.Duration(max(0, roll-20)) * time.Millisecond)
		if roll == 0 {
			return errors.New("disk full")
		}
		return nil
	}
	s.h = newHouse(t, func(c *HubConfig) {
		c.TailFrames = 1 + s.r.IntN(20)
		c.TailBytes = 1 + s.r.IntN(20_000)
		c.RecentFrames = 1 + s.r.IntN(60)
		c.RecentBytes = 1 + s.r.IntN(60_000)
		c.SegmentBytes = 1 + s.r.IntN(100_000)
		c.Turns = 1 + s.r.IntN(2)
		c.RoomIdle = time.Duration(1+s.r.IntN(100)) * time.Millisecond
		c.Sessions = s.store
		c.Verify = func(_ context.Context, token string) (domain.Identity, time.Time, error) {
			var id domain.Identity
			err := json.Unmarshal([]byte(token), &id)
			return id, time.Time{}, err
		}
		c.Unread = func(ctx context.Context, user string, after domain.Position, limit int) ([]*domain.Event, error) {
			return s.h.unreadUpTo(&s.folded)(ctx, user, after, limit)
		}
	})
	for i := range 5 {
		sub := &subscriber{h: s.h, id: staff(fmt.Sprintf("u%d", i), s.some()...), namespace: domain.NamespaceAll}
		switch i {
		case 0:
			sub.id = admin("u0")
		case 1:
			sub.id.Role = domain.RoleManager
		case 2:
			sub.namespace = domain.NamespacePOS
			sub.id.Branches = []string{"b1"}
		default:
			sub.codec = plainText
		}
		s.subs = append(s.subs, sub)
	}
	return s
}

// some are branches.
func (s *schedule) some() []string {
	var own []string
	for _, b := range s.branches {
		if s.r.IntN(2) == 0 {
			own = append(own, b)
		}
	}
	return own
}

func (s *schedule) branch() string { return s.branches[s.r.IntN(len(s.branches))] }

func (s *schedule) run() error {
	defer s.close()
	for range 150 + s.r.IntN(400) {
		if err := s.step(s.subs[s.r.IntN(len(s.subs))]); err != nil {
			return err
		}
	}
	return s.end()
}

func (s *schedule) step(sub *subscriber) error {
	switch s.r.IntN(20) {
	case 0, 1, 2:
		return s.connect(sub)
	case 3, 4:
		if sub.conn != nil {
			return sub.cut(false)
		}
	case 5:
		if sub.conn != nil {
			sub.conn.setStuck(s.r.IntN(2) == 0)
		}
	case 6:
		s.changeRights(sub)
	case 7:
		time.Sleep(time.Duration(s.r.IntN(50)) * time.Millisecond)
	case 8:
		synctest.Wait()
	case 9:
		return s.changeTurn()
	case 10: // for two rooms of a manager
		b := s.branch()
		s.h.put(domain.StreamOfAlerts(b), domain.Fact{BranchID: b, Payload: domain.LowStockAlert{ProductID: "p1"}})
	case 11, 12, 13:
		if sub.conn != nil {
			s.changeRoom(sub)
		}
	case 14:
		if sub.conn != nil {
			s.renew(sub)
		}
	case 15:
		s.h.notify(sub.id.UserID)
		if s.r.IntN(2) == 0 {
			s.folded = s.h.log.Head()
		}
	case 16:
		s.h.hub.Broadcast(sub.namespace, "stats", json.RawMessage("{}"))
	case 17:
		s.h.count(s.branch(), 1+s.r.IntN(40))
	default:
		for range 1 + s.r.IntN(8) {
			s.h.sell(s.branch())
		}
	}
	return nil
}

// connect connects, perhaps while the last connection is there still, anew, or
// without the session.
func (s *schedule) connect(sub *subscriber) error {
	old := sub.conn
	if old != nil {
		if s.r.IntN(4) > 0 {
			return nil
		}
		sub.conn = nil
		old.mu.Lock()
		frames := slices.Clone(old.frames)
		old.mu.Unlock()
		defer old.leave() // what came since doesn't count
		if err := sub.saw(frames, false); err != nil {
			return err
		}
	}
	switch s.r.IntN(12) {
	case 0: // another device
		sub.cursor, sub.sid = "", ""
	case 1: // one that keeps its cursor itself
		sub.sid = ""
	}
	lost := s.r.IntN(20) == 0
	s.store.loading = func() error {
		switch {
		case !lost:
			return nil
		case len(sub.changes) == 0: // it may have been in any rooms, for all that is known
			return ErrSessionForgotten
		}
		return errors.New("damaged")
	}
	if s.folded.Seq == 0 { // it is up to date, or has folded something
		s.folded = s.h.log.Head()
	}
	unread, err := s.h.unreadUpTo(&s.folded)(context.Background(), sub.id.UserID, domain.Position{}, 1<<20)
	if err != nil {
		return err
	}
	var positions []string
	for _, e := range unread {
		if s.folded.Seq > 0 {
			positions = append(positions, e.Pos.String())
		}
	}
	sub.connect(s.t, positions, lost, 1+s.r.IntN(2)*s.r.IntN(100_000))
	return nil
}

// changeTurn has somebody who comes in take a turn, and keep it until time passes
// or it is ended. Who catches up waits meanwhile.
func (s *schedule) changeTurn() (err error) {
	if s.turn != nil {
		s.turn()
		s.turn = nil
		return nil
	}
	s.turn, err = s.h.hub.Turn(context.Background())
	return err
}

func (s *schedule) changeRights(sub *subscriber) {
	if sub.id.UserID == "u0" || s.r.IntN(2) == 0 {
		return
	}
	p := domain.UserUpdated{UserID: sub.id.UserID, Action: domain.ActionUpdated, Role: domain.RoleStaff, Branches: s.some()}
	if !sub.known {
		p.Action, sub.known = domain.ActionCreated, true
	}
	switch s.r.IntN(8) {
	case 0, 1:
		p.Role = domain.RoleManager
	case 2:
		p.Role = domain.RoleAdmin
	case 3:
		p.Disabled = true
	}
	s.h.setUser(p)
}

// ask has the client ask for something, and goes on.
func (s *schedule) ask(sub *subscriber, r *request, arg string) {
	r.asked = s.h.log.Head()
	r.by = []domain.Identity{sub.open.claims}
	for _, renewal := range sub.renewals {
		r.by = append(r.by, renewal.claims)
	}
	if cursor, err := domain.ParsePosition(sub.conn.cursor()); err == nil { // else nothing came so far
		r.cursor = cursor
	}
	sub.conn.conn.Event(r.name, []json.RawMessage{json.RawMessage(arg)}, func(v any) {
		b, err := json.Marshal(v)
		r.answer(err == nil && strings.Contains(string(b), `"ok":true`), s.h.log.Head())
	})
	if s.r.IntN(2) == 0 {
		synctest.Wait()
	}
}

func (s *schedule) changeRoom(sub *subscriber) {
	rooms := []string{
		domain.RoomOfBranch(s.branch()), domain.RoomOfBranch(s.branch()), domain.RoomAlerts, domain.RoomNotifications,
		domain.RoomOfUser(sub.id.UserID), domain.RoomOfUserNotifications(sub.id.UserID), "user:u1",
	}
	r := &request{name: []string{"room:leave", "room:join"}[s.r.IntN(2)], room: rooms[s.r.IntN(len(rooms))]}
	sub.changes = append(sub.changes, r)
	s.ask(sub, r, strconv.Quote(r.room))
}

// renew renews the token, perhaps with other branches.
func (s *schedule) renew(sub *subscriber) {
	if sub.id.Role != domain.RoleAdmin {
		if sub.id.Branches = s.some(); len(sub.id.Branches) == 0 {
			sub.id.Branches = []string{"b1"}
		}
	}
	r := &request{name: "auth:refresh", claims: sub.id}
	sub.renewals = append(sub.renewals, r)
	token, err := json.Marshal(sub.id)
	if err != nil {
		s.t.Fatal(err)
	}
	s.ask(sub, r, fmt.Sprintf(`{"token":%q}`, token))
}

// end has everybody there, and reading, unless he may not be.
func (s *schedule) end() error {
	for _, sub := range s.subs {
		if sub.conn != nil && sub.conn.endReason() != "" {
			if err := sub.cut(false); err != nil {
				return err
			}
		}
		if sub.conn == nil {
			if err := s.connect(sub); err != nil {
				return err
			}
		}
		if sub.conn != nil {
			sub.conn.setStuck(false)
		}
	}
	time.Sleep(time.Second) // until all is saved
	synctest.Wait()
	for _, sub := range s.subs {
		if sub.conn == nil {
			continue
		}
		if ended := sub.conn.endReason(); ended != "" && ended != EndRights {
			return fmt.Errorf("%s ended for %q", sub.id.UserID, ended)
		}
		if err := sub.cut(true); err != nil {
			return err
		}
	}
	return nil
}

func (s *schedule) close() {
	if s.turn != nil {
		s.turn()
	}
	for _, sub := range s.subs {
		if sub.conn != nil {
			sub.conn.leave()
		}
	}
	s.h.hub.Close()
}
