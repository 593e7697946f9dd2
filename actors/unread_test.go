package actors

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"bms/domain"
)

// unreadUpTo is a read model of unread notifications that has folded the log up
// to a position, all of it if that is zero.
func (h *house) unreadUpTo(at *domain.Position) func(context.Context, string, domain.Position, int) ([]*domain.Event, error) {
	return func(ctx context.Context, userID string, after domain.Position, limit int) ([]*domain.Event, error) {
		var unread []*domain.Event
		commits, err := h.log.ReadStream(ctx, domain.StreamNotifications, 0, 1<<20)
		for _, c := range commits {
			for i := range c.Events {
				e := &c.Events[i]
				mine := slices.Contains(domain.AppendRooms(nil, e), domain.RoomOfUserNotifications(userID))
				if mine && e.Pos.After(after) && (at.Seq == 0 || !e.Pos.After(*at)) && len(unread) < limit {
					unread = append(unread, e)
				}
			}
		}
		return unread, err
	}
}

func (h *house) notify(user string) string {
	h.t.Helper()
	return h.put(domain.StreamNotifications, domain.Fact{Payload: domain.SystemNotification{Audience: domain.RoomOfUserNotifications(user), Severity: "info"}})
}

func newInbox(t *testing.T) *house {
	t.Helper()
	var h *house
	h = newHouse(t, func(c *HubConfig) {
		c.Unread = func(ctx context.Context, user string, after domain.Position, limit int) ([]*domain.Event, error) {
			return h.unreadUpTo(&domain.Position{})(ctx, user, after, limit)
		}
	})
	return h
}

func Test_unread_notifications_come_between_the_session_and_the_log(t *testing.T) {
	for _, count := range []int{0, 1, 3, unreadPage, unreadPage + 1, 3*unreadPage + 7} {
		synctest.Test(t, func(t *testing.T) {
			h := newInbox(t)
			h.sell("b1")
			var want []string
			for range count {
				want = append(want, h.notify("u1"))
				h.sell("b1")
			}
			head := h.log.Head().String()
			c, _ := h.connect(staff("u1", "b1"), "")
			late := h.notify("u1") // while the backlog is being read: from the log, once
			sale := h.sell("b1")
			session := head
			if count > 0 {
				session = fmt.Sprint(domain.Position{Epoch: h.log.Head().Epoch, Seq: 1, Index: domain.MaxEventsPerCommit - 1})
				want[count-1] += ">" + head
			}
			want = append(want, late, sale)
			synctest.Wait()
			c.leave()
			if got := c.frames[0]; !strings.HasPrefix(got, "session "+session) || !strings.Contains(got, `"pos":"`+head+`"`) {
				t.Fatalf("%d unread: first %q, want the session at %s, the log from %s on", count, got, session, head)
			}
			if got := c.frames[1:]; !slices.Equal(got, want) {
				t.Fatalf("%d unread: got %d %v,\nwant %d %v", count, len(got), got, len(want), want)
			}
			// With a cursor it goes on from there: no backlog.
			again, _ := h.connect(staff("u1", "b1"), c.cursor())
			synctest.Wait()
			if got := again.leave(); len(got) != 0 || len(again.frames) != 1 {
				t.Fatalf("resumed: got %v, want the session only", again.frames)
			}
			h.hub.Close()
		})
	}
}

// What was acknowledged while the page before it was being read may have been
// the last: the one before it says where the log goes on.
func Test_unread_notifications_that_are_acknowledged_meanwhile_leave_nobody_in_the_past(t *testing.T) {
	for _, codec := range []int{0, plainText} {
		synctest.Test(t, func(t *testing.T) {
			var h *house
			h = newHouse(t, func(c *HubConfig) {
				c.Unread = func(ctx context.Context, user string, after domain.Position, limit int) ([]*domain.Event, error) {
					if after.Seq > 0 {
						return nil, nil
					}
					return h.unreadUpTo(&domain.Position{})(ctx, user, after, limit)
				}
			})
			h.codec = codec
			var want []string
			for range unreadPage {
				want = append(want, h.notify("u1"))
			}
			h.notify("u1")
			h.sell("b1")
			head := h.log.Head().String()
			c, _ := h.connect(staff("u1", "b1"), "")
			synctest.Wait()
			wantEvents(t, "u1", c.leave(), want)
			if got := c.cursor(); got != head {
				t.Fatalf("codec %d: left at %s, want %s", codec, got, head)
			}
			h.hub.Close()
		})
	}
}

// A client may be cut anywhere, and go on after what it has got to.
func Test_unread_notifications_survive_a_cut_at_any_frame(t *testing.T) {
	const count = unreadPage // whose second page is empty
	for cut := 1; cut < count+2; cut += 1 + cut/3*20 {
		synctest.Test(t, func(t *testing.T) {
			h := newInbox(t)
			var want []string
			for range count {
				want = append(want, h.notify("u1"))
			}
			c := h.pull(staff("u1", "b1"), domain.NamespaceAll, "")
			var frames [][]byte
			for len(frames) < cut {
				if frames = c.conn.Next(frames, 1); c.conn.Cursor().String() != cursorOf(string(frames[len(frames)-1])) {
					t.Fatalf("cut at %d: a ping is answered with %s, want %s", cut, c.conn.Cursor(), cursorOf(string(frames[len(frames)-1])))
				}
			}
			var got []string
			for _, f := range frames[:cut] {
				if !strings.Contains(string(f), " ") {
					got = append(got, string(f[:domain.PositionLen]))
				}
			}
			c.conn.Closed("transport close")
			again, recovered := h.connect(staff("u1", "b1"), cursorOf(string(frames[cut-1])))
			if !recovered {
				t.Fatalf("cut at %d: recovered false, want true", cut)
			}
			synctest.Wait()
			wantEvents(t, fmt.Sprintf("cut at %d", cut), append(got, again.leave()...), want)
			h.hub.Close()
		})
	}
}

func Test_unread_notifications_that_are_not_known_yet_bring_nobody_into_the_past(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *house
		stalled := domain.Position{}
		h = newHouse(t, func(c *HubConfig) {
			c.Unread = func(ctx context.Context, user string, after domain.Position, limit int) ([]*domain.Event, error) {
				return h.unreadUpTo(&stalled)(ctx, user, after, limit)
			}
		})
		known := h.notify("u1")
		stalled = h.log.Head()
		h.sell("b1")
		h.notify("u1") // not known yet
		h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionCreated, Role: domain.RoleStaff, Branches: []string{"b1"}, Disabled: true})
		h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionUpdated, Role: domain.RoleStaff, Branches: []string{"b1"}})
		h.sell("b1")
		c, _ := h.connect(staff("u1", "b1"), "")
		want := []string{known, h.sell("b1")}
		synctest.Wait()
		if got := c.endReason(); got != "" {
			t.Fatalf("ended for %q, want it alive", got)
		}
		wantEvents(t, "u1", c.leave(), want)
		stalled = domain.Position{}
		h.hub.Close()
	})
}

// The session that follows on a plain socket says how things are then, and not
// once more that the client has missed something.
func Test_the_session_behind_unread_notifications_is_the_one_of_that_moment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInbox(t)
		h.notify("u1")
		h.notify("u1")
		p := h.pull(staff("u1", "b1", "b2"), domain.NamespaceAll, "")
		p.conn.codec = plainText
		first := p.conn.Next(nil, 1)
		left := make(chan any, 1)
		p.conn.Event("room:leave", []json.RawMessage{json.RawMessage(`"branch:b1"`)}, func(v any) { left <- v })
		<-left
		rest := p.conn.Next(nil, 1)
		_, again, ok := strings.Cut(string(rest[len(rest)-1]), "\n")
		if s := string(first[0]); !strings.Contains(s, `"branch:b1"`) || !strings.Contains(s, `"recovered":false`) {
			t.Errorf("first %s, want branch b1, not recovered", s)
		}
		if !ok || strings.Contains(again, `"branch:b1"`) || !strings.Contains(again, `"branch:b2"`) || !strings.Contains(again, `"recovered":true`) {
			t.Errorf("behind the notifications %q, want the session without branch b1, recovered", again)
		}
		h.hub.Close()
	})
}

func Test_a_client_of_an_empty_log_can_resume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInbox(t)
		c, _ := h.connect(staff("u1", "b1"), "")
		synctest.Wait()
		c.leave()
		p := h.sell("b1")
		again, recovered := h.connect(staff("u1", "b1"), c.cursor())
		if !recovered {
			t.Fatalf("resume at %s: recovered false, want true", c.cursor())
		}
		synctest.Wait()
		wantEvents(t, "resumed", again.leave(), []string{p})
		h.hub.Close()
	})
}
