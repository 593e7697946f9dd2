package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// memSessions is a SessionStore in memory.
type memSessions struct {
	mu    sync.Mutex // guards rooms
	rooms map[string]SessionRooms
	saves atomic.Int32
	// saving and loading, unless nil, are called before, and may take their
	// time or fail.
	saving, loading func() error
}

func (s *memSessions) Load(_ context.Context, sid string, _ time.Time) (SessionRooms, error) {
	if s.loading != nil {
		if err := s.loading(); err != nil {
			return SessionRooms{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[sid], nil
}

func (s *memSessions) Save(_ context.Context, sid string, rooms SessionRooms) error {
	s.saves.Add(1)
	if s.saving != nil {
		if err := s.saving(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rooms[sid] = rooms
	return nil
}

func Test_a_recovered_session_has_the_rooms_that_it_had(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memSessions{rooms: map[string]SessionRooms{}}
		h := newHouse(t, func(c *HubConfig) { c.Sessions = store })
		again := func(c *client, id domain.Identity, cursor string) *client {
			t.Helper()
			got, recovered := h.connectAs(c.conn.sid, id, cursor, 1<<10)
			if !recovered {
				t.Fatal("recovered false, want true")
			}
			return got
		}
		start := h.sell("b3")
		c, _ := h.connect(staff("u1", "b1", "b2"), start)
		root, _ := h.connect(admin("root"), start)
		ask(t, c, "room:leave", `"branch:b2"`)
		ask(t, c, "room:leave", `"user:u1"`)
		ask(t, root, "room:leave", `"branch:b1"`)
		zero := h.sell("b1") // root has left it
		ask(t, root, "room:join", `"branch:b1"`)
		ask(t, root, "room:join", `"user:u9"`)
		c.leave()
		root.leave()
		one, two := h.sell("b1"), h.sell("b2")
		change := h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionCreated, Role: domain.RoleStaff, Branches: []string{"b1", "b2", "b3"}})
		three := h.sell("b3")
		c, root = again(c, staff("u1", "b1", "b2"), start), again(root, admin("root"), start)
		synctest.Wait()
		wantEvents(t, "staff", c.leave(), []string{zero, one, three})
		wantEvents(t, "admin", root.leave(), []string{one, two, change, three})
		if rooms := root.conn.hub.RoomInfos(); slices.ContainsFunc(rooms, func(r RoomInfo) bool { return strings.HasPrefix(r.Room, "branch:") }) {
			t.Fatalf("rooms %v have members, want none", rooms)
		}
		h.hub.Close()
	})
}

// A room that was left and joined again is a room like any other, but for what
// came in between.
func Test_rooms_left_and_joined_again_are_there_after_a_resume(t *testing.T) {
	for _, id := range []domain.Identity{staff("u1", "b1", "b2"), admin("root")} {
		synctest.Test(t, func(t *testing.T) {
			store := &memSessions{rooms: map[string]SessionRooms{}}
			h := newHouse(t, func(c *HubConfig) { c.Sessions = store })
			start := h.sell("b3")
			c, _ := h.connect(id, start)
			ask(t, c, "room:leave", `"branch:b2"`)
			h.sell("b2") // while it is out
			ask(t, c, "room:join", `"branch:b2"`)
			c.leave()
			want := []string{h.sell("b2")}
			again, _ := h.connectAs(c.conn.sid, id, start, 1<<10)
			synctest.Wait()
			wantEvents(t, "resumed "+id.UserID, again.leave(), want)
			// The choice is the session's, not the connection's.
			again, _ = h.connectAs(c.conn.sid, id, start, 1<<10)
			synctest.Wait()
			wantEvents(t, "resumed again "+id.UserID, again.leave(), want)
			h.hub.Close()
		})
	}
}

func Test_rooms_left_and_joined_again_are_there_when_the_right_comes_back(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		c, _ := h.connect(staff("u1", "b1", "b2"), "")
		ask(t, c, "room:leave", `"branch:b2"`)
		ask(t, c, "room:join", `"branch:b2"`)
		want := []string{h.sell("b2")}
		want = append(want, h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionCreated, Role: domain.RoleStaff, Branches: []string{"b1"}}))
		h.sell("b2")
		want = append(want, h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionUpdated, Role: domain.RoleStaff, Branches: []string{"b1", "b2"}}))
		want = append(want, h.sell("b2"))
		synctest.Wait()
		wantEvents(t, "u1", c.leave(), want)
		h.hub.Close()
	})
}

func Test_rooms_that_a_client_stays_out_of_are_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *HubConfig) { c.RoomsPerConnection = 10 })
		root, _ := h.connect(admin("root"), "")
		left := 0
		for i := range 20 {
			if strings.Contains(ask(t, root, "room:leave", fmt.Sprintf(`"branch:x%d"`, i)), `"ok":true`) {
				left++
			}
		}
		if left != 10 {
			t.Fatalf("left %d branches, want 10", left)
		}
		for i := range 100 { // coming and going is not
			room := fmt.Sprintf(`"branch:x%d"`, i%10)
			for _, op := range []string{"room:join", "room:leave"} {
				if got := ask(t, root, op, room); !strings.Contains(got, `"ok":true`) {
					t.Fatalf("%s %s: %s, want ok", op, room, got)
				}
			}
			synctest.Wait()
		}
		clerk, _ := h.connect(staff("u1", "b1"), "")
		for _, room := range []string{"branch:*", "nonsense", ""} {
			for _, c := range []*client{clerk, root} {
				if got := ask(t, c, "room:leave", fmt.Sprintf("%q", room)); !strings.Contains(got, `"ok":false`) {
					t.Fatalf("leave %q: %s, want a refusal", room, got)
				}
			}
		}
		for i := range 20 { // left already
			ask(t, clerk, "room:leave", fmt.Sprintf(`"branch:x%d"`, i))
		}
		if got := len(clerk.conn.chosen.left); got != 0 {
			t.Fatalf("%d rooms noted as left, want none", got)
		}
		one := h.sell("b1")
		synctest.Wait()
		wantEvents(t, "clerk", clerk.leave(), []string{one})
		wantEvents(t, "root", root.leave(), []string{one})
		h.hub.Close()
	})
}

// A power cut may take the log's end and leave the rooms that were saved then:
// what comes in the place of what was lost is for them.
func Test_rooms_joined_beyond_what_is_left_of_the_log_are_joined(t *testing.T) {
	for name, id := range map[string]domain.Identity{"beside": {UserID: "u1", Role: domain.RoleManager, Branches: []string{"b1", "b2"}}, "among_all": admin("root")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &memSessions{rooms: map[string]SessionRooms{}}
				h := newHouse(t, func(c *HubConfig) { c.Sessions = store })
				start := h.sell("b1")
				lost := h.log.Head()
				lost.Seq += 10
				h.log.BeginEpoch()
				store.rooms["s9"] = SessionRooms{Joined: map[string]domain.Position{"branch:b1": lost}, Left: []string{"branch:b2"}}
				c, recovered := h.connectAs("s9", id, start, 1<<10)
				if !recovered {
					t.Fatal("recovered false, want true")
				}
				var want []string
				for range 10 {
					want = append(want, h.sell("b1"))
					h.sell("b2")
				}
				synctest.Wait()
				wantEvents(t, name, c.leave(), want)
				if got := store.rooms["s9"].Joined["branch:b1"]; got != lost {
					t.Errorf("what the store keeps is changed to %s, want it as it was", got)
				}
				h.hub.Close()
			})
		})
	}
}

// Invariant 4: what is being saved when a client goes is there when it comes
// back, and what it asked for after that is not made half.
func Test_a_session_that_comes_back_waits_for_what_is_being_saved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		store := &memSessions{rooms: map[string]SessionRooms{}}
		store.saving = func() error { <-held; return nil }
		h := newHouse(t, func(c *HubConfig) { c.Sessions = store })
		id := staff("u1", "b1", "b2", "b3")
		start := h.sell("b4")
		c, _ := h.connect(id, start)
		for _, room := range []string{`"branch:b2"`, `"branch:b3"`} {
			c.conn.Event("room:leave", []json.RawMessage{json.RawMessage(room)}, nil)
		}
		synctest.Wait()
		c.leave()
		back := make(chan *client)
		go func() {
			again, _ := h.connectAs(c.conn.sid, id, start, 1<<10)
			back <- again
		}()
		synctest.Wait()
		select {
		case <-back:
			t.Fatal("the session came back before its rooms were saved")
		default:
		}
		close(held)
		again := <-back
		ask(t, again, "room:leave", `"branch:b1"`)
		h.sell("b1")
		h.sell("b2")
		want := []string{h.sell("b3")}
		synctest.Wait()
		wantEvents(t, "back", again.leave(), want)
		if got, want := store.rooms[c.conn.sid].Left, []string{"branch:b1", "branch:b2"}; !slices.Equal(got, want) {
			t.Fatalf("saved %v, want %v", got, want)
		}
		h.hub.Close()
	})
}

func Test_a_session_is_saved_by_the_connection_that_has_it_alone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memSessions{rooms: map[string]SessionRooms{}}
		h := newHouse(t, func(c *HubConfig) { c.Sessions = store })
		id := staff("u1", "b1", "b2")
		start := h.sell("b4")
		old, _ := h.connect(id, start)
		fresh, _ := h.connectAs(old.conn.sid, id, start, 1<<10)
		if err := old.conn.keep(SessionRooms{Left: []string{"branch:b1"}}); !errors.Is(err, errNotItsSession) {
			t.Fatalf("got %v, want %v", err, errNotItsSession)
		}
		fresh.leave()
		if err := fresh.conn.keep(SessionRooms{}); !errors.Is(err, errNotItsSession) {
			t.Fatalf("after its end: got %v, want %v", err, errNotItsSession)
		}
		close(old.stop)
		h.hub.Close()
	})
}

func Test_a_change_of_rooms_that_can_not_be_kept_is_refused_and_not_made(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memSessions{rooms: map[string]SessionRooms{}, saving: func() error { return errors.New("disk full") }}
		h := newHouse(t, func(c *HubConfig) { c.Sessions = store })
		c, _ := h.connect(staff("u1", "b1"), "")
		if got := ask(t, c, "room:leave", `"branch:b1"`); !strings.Contains(got, `"ok":false`) {
			t.Fatalf("leave: %s, want a refusal", got)
		}
		if got := ask(t, c, "room:join", `"branch:b1"`); !strings.Contains(got, `"ok":true`) || store.saves.Load() != 1 {
			t.Fatalf("join of a room that it is in: %s and %d saves, want ok and nothing saved", got, store.saves.Load()-1)
		}
		want := []string{h.sell("b1")}
		synctest.Wait()
		wantEvents(t, "u1", c.leave(), want)
		h.hub.Close()
	})
}

func Test_a_session_whose_store_panics_ends_alone(t *testing.T) { // invariant 7
	synctest.Test(t, func(t *testing.T) {
		store := &memSessions{rooms: map[string]SessionRooms{}, saving: func() error { panic("driver") }}
		h := newHouse(t, func(c *HubConfig) { c.Sessions = store })
		start := h.sell("b1")
		c, _ := h.connect(staff("u1", "b1"), start)
		other, _ := h.connect(staff("u2", "b1"), start)
		c.conn.Event("room:leave", []json.RawMessage{json.RawMessage(`"branch:b1"`)}, nil)
		synctest.Wait()
		if got := c.endReason(); got != EndPanicked {
			t.Fatalf("ended for %q, want %q", got, EndPanicked)
		}
		store.saving = nil
		again, recovered := h.connectAs(c.conn.sid, staff("u1", "b1"), start, 1<<10)
		if !recovered {
			t.Fatal("recovered false, want true")
		}
		ask(t, again, "room:leave", `"branch:b1"`) // the session isn't held
		want := []string{h.sell("b1")}
		synctest.Wait()
		wantEvents(t, "who left", again.leave(), nil)
		wantEvents(t, "the other", other.leave(), want)
		close(c.stop)
		h.hub.Close()
	})
}

func Test_a_session_in_use_began_when_it_did_on_its_first_connection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memSessions{rooms: map[string]SessionRooms{}}
		h := newHouse(t, func(c *HubConfig) { c.Sessions = store })
		start := h.sell("b1")
		first := time.Now()
		time.Sleep(time.Hour)
		join := func(r ConnectRequest) {
			t.Helper()
			p := &puller{t: t, wake: make(chan struct{}, 1)}
			r.Identity, r.Namespace, r.NewSID, r.KeepRooms, r.Transport = staff("u1", "b1"), domain.NamespaceAll, h.newSID, true, p
			var err error
			if p.conn, _, err = h.hub.Connect(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		store.rooms["old"] = SessionRooms{Left: []string{"branch:b1"}}
		join(ConnectRequest{SID: "old", Began: first, Cursor: start})
		join(ConnectRequest{SID: "lost", Began: first, Cursor: "no position"})
		join(ConnectRequest{Cursor: start})
		got := h.hub.SessionsInUse()
		slices.SortFunc(got, func(a, b SessionInUse) int { return strings.Compare(a.SID, b.SID) })
		want := []SessionInUse{{"old", first, true}, {"s1", time.Now(), false}, {"s2", time.Now(), false}}
		if !slices.EqualFunc(got, want, func(a, b SessionInUse) bool {
			return a.SID == b.SID && a.Began.Equal(b.Began) && a.HasRooms == b.HasRooms
		}) {
			t.Errorf("in use: %v, want %v", got, want)
		}
		h.hub.Close()
	})
}
