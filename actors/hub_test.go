package actors

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

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
		for range 5 {
			h.put(domain.StreamOfBranch("b1"), fact, fact, fact, fact)
			synctest.Wait() // each is a batch of its own
		}
		c, _ := h.connect(staff("u1", "b1"), domain.Position{Epoch: h.log.Head().Epoch, Seq: 2, Index: 1}.String())
		synctest.Wait()
		got := c.leave()
		if want := 2 + 4*3; len(got) != want {
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
		var lags []uint64
		h.hub.Lags(func(records uint64) { lags = append(lags, records) })
		if slices.Sort(lags); !slices.Equal(lags, []uint64{0, 2000}) {
			t.Fatalf("lags %d, want 0 and 2000", lags)
		}
		slow.setStuck(false)
		synctest.Wait()
		wantEvents(t, "slow", slow.leave(), want)
		fast.leave()
		h.hub.Close()
	})
}

// A store that can't be read shuts nobody out.
func Test_a_session_whose_rooms_are_lost_begins_anew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.hub.cfg.Sessions = &memSessions{rooms: map[string]SessionRooms{}, loading: func() error { return errors.New("damaged") }}
		first, _ := h.connect(staff("u1", "b1"), h.sell("b1"))
		first.leave()
		h.sell("b1")
		c, recovered := h.connectAs(first.conn.sid, staff("u1", "b1"), first.cursor(), 1<<10)
		if recovered || c.conn.sid == first.conn.sid {
			t.Fatalf("recovered %t in session %s, want a new one", recovered, c.conn.sid)
		}
		want := []string{h.sell("b1")}
		synctest.Wait()
		wantEvents(t, "u1", c.leave(), want)
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

func Test_a_quiet_connection_is_not_behind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *HubConfig) { c.TailFrames, c.RecentFrames = 2, 2 })
		lag := func(c *client) uint64 {
			t.Helper()
			synctest.Wait()
			for _, info := range h.hub.Connections() {
				if info.SID == c.conn.sid {
					return info.Lag
				}
			}
			t.Fatalf("%s is not connected", c.conn.sid)
			return 0
		}
		start := h.sell("b1")
		quiet, _ := h.connect(staff("u1", "b1"), "")
		synctest.Wait()
		for range 10 {
			h.sell("b2")
		}
		if got := lag(quiet); got != 0 {
			t.Errorf("lag %d with nothing in its rooms, want 0", got)
		}
		quiet.setStuck(true)
		h.sell("b1")
		if got := lag(quiet); got != 11 {
			t.Errorf("lag %d with one event, want the 11 records to the head", got)
		}
		quiet.setStuck(false)
		if got := lag(quiet); got != 0 {
			t.Errorf("lag %d after it, want 0", got)
		}
		// In a room that is made for it, what came before isn't known.
		old, _ := h.connect(staff("u2", "b2"), start)
		old.setStuck(true)
		if got := lag(old); got != 0 && got != 11 {
			t.Errorf("lag %d, want 0 or 11", got)
		}
		old.leave()
		quiet.leave()
		h.hub.Close()
	})
}

func Test_connections_and_rooms_are_counted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		check := func(when string, connections int, namespaces map[string]int) {
			t.Helper()
			s := h.hub.Stats()
			for ns, want := range namespaces {
				if got := s.Namespaces[ns]; got != want {
					t.Errorf("%s: %d in %s, want %d", when, got, ns, want)
				}
			}
			if rooms := len(h.hub.RoomInfos()); s.Connections != connections || s.Rooms != rooms {
				t.Errorf("%s: %d connections and %d rooms, want %d and %d", when, s.Connections, s.Rooms, connections, rooms)
			}
		}
		at := h.sell("b1")
		one, _ := h.connect(admin("root"), at)
		h.namespace = domain.NamespacePOS
		two, _ := h.connect(staff("u1", "b1"), at)
		check("two", 2, map[string]int{domain.NamespaceAll: 1, domain.NamespacePOS: 1})
		again, _ := h.connectAs(two.conn.sid, staff("u1", "b1"), at, 1<<10)
		check("one replaced", 2, map[string]int{domain.NamespaceAll: 1, domain.NamespacePOS: 1})
		ask(t, again, "room:leave", `"branch:b1"`)
		check("a room left", 2, nil)
		synctest.Wait()
		close(two.stop)
		one.leave()
		again.leave()
		check("none", 0, map[string]int{domain.NamespaceAll: 0, domain.NamespacePOS: 0})
		h.hub.Close()
	})
}

func Test_the_list_of_branches_holds_up_no_connection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *house
		asked := 0
		h = newHouse(t, func(c *HubConfig) {
			c.Branches = func() []string {
				asked++
				for _, c := range h.hub.all() {
					c.Cursor() // waits for the connection's mutex
				}
				return []string{"b1"}
			}
		})
		one, _ := h.connect(admin("root"), "")
		two, _ := h.connect(admin("boss"), "")
		ask(t, one, "room:leave", `"branch:b1"`)
		asked = 0
		if got := h.hub.Connections(); len(got) != 2 || asked != 1 {
			t.Fatalf("%d connections by %d lists of branches, want 2 by one", len(got), asked)
		}
		one.leave()
		two.leave()
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

func Test_a_room_of_many_finds_those_who_leave(t *testing.T) {
	a := &roomActor{room: &room{}}
	all := make([]*Connection, 5*fewMembers)
	for i := range all {
		all[i] = &Connection{}
		a.join(all[i])
		a.join(all[i]) // once is enough
	}
	for i := 0; i < len(all); i += 2 {
		a.leave(all[i])
		a.leave(all[i])
	}
	if got, want := len(a.members), len(all)/2; got != want {
		t.Fatalf("%d members, want %d", got, want)
	}
	for i, c := range all {
		if got, want := slices.Contains(a.members, c), i%2 == 1; got != want {
			t.Fatalf("member %d is in: %t, want %t", i, got, want)
		}
	}
	for _, c := range all {
		a.leave(c)
	}
	if len(a.members) != 0 {
		t.Fatalf("%d members, want none", len(a.members))
	}
}

// Invariant 7: a client whose connecting panics leaves nothing behind, and comes
// back when that is over.
func Test_a_connection_that_panics_in_the_making_leaves_nothing_behind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		h := newHouse(t, func(c *HubConfig) {
			c.Branches = func() []string {
				if broken {
					panic("read model's mistake")
				}
				return []string{"b1"}
			}
		})
		start := h.sell("b1")
		connect := func() {
			defer func() {
				if recover() == nil {
					t.Error("connected, want the panic")
				}
			}()
			h.connectAs("s9", admin("root"), start, 1<<10)
		}
		for range 3 {
			connect()
		}
		synctest.Wait()
		if s := h.hub.Stats(); s.Connections != 0 || s.Rooms != 0 || s.Namespaces[domain.NamespaceAll] != 0 {
			t.Errorf("%d connections in %d rooms, %v, are left, want none", s.Connections, s.Rooms, s.Namespaces)
		}
		broken = false
		c, recovered := h.connectAs("s9", admin("root"), start, 1<<10)
		if !recovered {
			t.Error("recovered false, want true")
		}
		want := []string{h.sell("b1")}
		synctest.Wait()
		wantEvents(t, "root", c.leave(), want)
		h.hub.Close()
	})
}
