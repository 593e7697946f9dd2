package actors

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"bms/domain"
)

// memSessions is a SessionStore in memory.
type memSessions struct {
	mu    sync.Mutex // guards rooms
	rooms map[string]SessionRooms
}

func (s *memSessions) Load(_ context.Context, sid string) (SessionRooms, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[sid], nil
}

func (s *memSessions) Save(_ context.Context, sid string, rooms SessionRooms) error {
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
