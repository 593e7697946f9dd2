package actors

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

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
			// On replay he gets of that what he may see now, too.
			again, recovered := h.connect(staff("u1", "b1"), start.String())
			again.setSize(size)
			if !recovered {
				t.Fatal("replay: recovered false, want true")
			}
			synctest.Wait()
			wantEvents(t, "on replay", again.leave(), []string{want[1], want[3], want[5], want[6], want[7]})
			h.hub.Close()
		})
	}
}

// A cursor may be as old as one likes, and so may the token's idea of the rights.
func Test_rights_that_ended_open_no_window_into_the_past(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		start := h.sell("b9")
		own := h.sell("b1")
		h.sell("b2")
		h.put(domain.StreamNotifications, domain.Fact{Payload: domain.SystemNotification{Audience: domain.RoomOfRole(domain.RoleAdmin), Severity: "info"}})
		change := h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionCreated, Role: domain.RoleStaff, Branches: []string{"b1"}})
		c, _ := h.connect(admin("u1"), start)
		if got := ask(t, c, "room:join", `"branch:b2"`); !strings.Contains(got, `"ok":false`) {
			t.Fatalf("join on replay: %s, want a refusal", got)
		}
		h.sell("b2")
		want := []string{own, change, h.sell("b1")}
		synctest.Wait()
		wantEvents(t, "u1", c.leave(), want)
		h.hub.Close()
	})
}

// Rights that ended and came back while a client was away: it would have been
// sent away, and begins anew.
func Test_rights_that_ended_and_came_back_let_the_client_in_again(t *testing.T) {
	for namespace, without := range map[string]domain.UserUpdated{
		domain.NamespacePOS: {Role: domain.RoleStaff},
		domain.NamespaceAll: {Role: domain.RoleStaff, Branches: []string{"b1"}, Disabled: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newInbox(t)
			h.hub.cfg.Sessions = &memSessions{rooms: map[string]SessionRooms{}}
			with := domain.UserUpdated{UserID: "u1", Action: domain.ActionUpdated, Role: domain.RoleStaff, Branches: []string{"b1", "b2"}}
			without.UserID, without.Action = "u1", domain.ActionCreated
			h.namespace = namespace
			first, _ := h.connect(staff("u1", "b1", "b2"), "")
			ask(t, first, "room:leave", `"branch:b2"`)
			first.leave()
			h.setUser(without)
			h.sell("b1")
			h.setUser(with)
			unread := h.notify("u1")
			for range 2 { // whatever it comes back with
				c, recovered := h.connectAs(first.conn.sid, staff("u1", "b1", "b2"), first.cursor(), 1<<10)
				want := []string{unread, h.sell("b1"), h.sell("b2")}
				synctest.Wait()
				if recovered || c.conn.sid == first.conn.sid || c.endReason() != "" {
					t.Fatalf("%s: recovered %t in session %s, ended for %q, want a new session that lasts", namespace, recovered, c.conn.sid, c.endReason())
				}
				wantEvents(t, namespace, c.leave(), want)
			}
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
		_, _, err := h.hub.Connect(context.Background(), ConnectRequest{Identity: staff("u1", "b1"), Namespace: domain.NamespaceAll, NewSID: func() string { return "again" }, Transport: c})
		if no, ok := errors.AsType[*domain.Rejection](err); !ok || no.Code != domain.CodeUnauthorized {
			t.Fatalf("connect of a disabled user: %v, want %s", err, domain.CodeUnauthorized)
		}
		close(c.stop)
		h.hub.Close()
	})
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
		if got := c.leave(); len(got) == 0 || got[len(got)-1] != last || slices.Contains(got, missed) && len(got) != 2 {
			t.Fatalf("staff got %v, want %s last and nothing of the time outside", got, last)
		}
		got := root.leave()
		if len(got) < 4 || got[len(got)-1] != b2 {
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
				Identity: staff(user, "b1"), ExpiresAt: time.Now().Add(time.Minute), Namespace: domain.NamespaceAll, NewSID: func() string { return user }, Transport: c,
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

// A token counts from where the connection is, not from where the log is: what
// the log says in between of the rights is still to come.
func Test_rights_of_a_new_token_count_from_the_cursor_on(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *HubConfig) {
			c.Verify = func(context.Context, string) (domain.Identity, time.Time, error) {
				return staff("u1", "b1"), time.Time{}, nil
			}
		})
		c, _ := h.connect(staff("u1"), "")
		c.setStuck(true)
		want := []string{
			h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionCreated, Role: domain.RoleStaff, Branches: []string{"b1"}}),
			h.sell("b1"),
		}
		ask(t, c, "auth:refresh", `{"token":"t"}`)
		c.setStuck(false)
		synctest.Wait()
		wantEvents(t, "u1", c.leave(), want)
		h.hub.Close()
	})
}

// The end of a token may be in the actor's mailbox when the next one is there.
func Test_the_end_of_a_token_that_was_replaced_ends_nothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *HubConfig) {
			c.Verify = func(context.Context, string) (domain.Identity, time.Time, error) {
				return staff("u1", "b1"), time.Now().Add(time.Hour), nil
			}
		})
		c, _ := h.connect(staff("u1", "b1"), "")
		before := time.Now()
		ask(t, c, "auth:refresh", `{"token":"t"}`)
		c.conn.ref.Send(connectionExpired{before})
		synctest.Wait()
		if got := c.endReason(); got != "" {
			t.Fatalf("ended for %q, want it alive", got)
		}
		c.leave()
		h.hub.Close()
	})
}

func Test_a_role_that_ends_takes_its_rooms_along(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		toManagers := func() string {
			return h.put(domain.StreamNotifications, domain.Fact{Payload: domain.SystemNotification{Audience: domain.RoomOfRole(domain.RoleManager), Severity: "info"}})
		}
		c, _ := h.connect(domain.Identity{UserID: "u1", Role: domain.RoleManager, Branches: []string{"b1"}}, "")
		want := []string{toManagers()}
		want = append(want, h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionCreated, Role: domain.RoleStaff, Branches: []string{"b1"}}))
		toManagers()
		want = append(want, h.sell("b1"))
		synctest.Wait()
		wantEvents(t, "u1", c.leave(), want)
		h.hub.Close()
	})
}
