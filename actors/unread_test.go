package actors

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"bms/domain"
)

// cursorCodec encodes an event as its position and the cursor it sets.
type cursorCodec struct{ textCodec }

func (cursorCodec) Event(e *domain.Event, cursor domain.Position) []byte {
	return []byte(e.Pos.String() + "/" + cursor.String())
}

func Test_unread_notifications_come_between_the_session_and_the_log(t *testing.T) {
	for _, count := range []int{0, 1, 3, unreadPage, unreadPage + 1, 3*unreadPage + 7} {
		synctest.Test(t, func(t *testing.T) {
			var h *house
			h = newHouse(t, func(c *HubConfig) {
				c.Codecs = []Codec{cursorCodec{}}
				c.Unread = func(ctx context.Context, userID string, after domain.Position, limit int) ([]*domain.Event, domain.Position, error) {
					var unread []*domain.Event
					commits, err := h.log.ReadStream(ctx, domain.StreamNotifications, 0, 1<<20)
					for _, c := range commits {
						for i := range c.Events {
							if c.Events[i].Pos.After(after) && len(unread) < limit {
								unread = append(unread, &c.Events[i])
							}
						}
					}
					return unread, h.log.Head(), err
				}
			})
			notify := func() string {
				return h.put(domain.StreamNotifications, domain.Fact{Payload: domain.SystemNotification{Audience: domain.RoomOfUserNotifications("u1"), Severity: "info"}})
			}
			var want []string
			for range count {
				p := notify()
				h.sell("b1")
				want = append(want, p+"/"+p)
			}
			head := h.log.Head().String()
			if count > 0 {
				want[count-1], _, _ = strings.Cut(want[count-1], "/")
				want[count-1] += "/" + head
			}
			c, _ := h.connect(staff("u1", "b1"), "")
			late := notify() // while the backlog is being read: from the log, once
			sale := h.sell("b1")
			want = append(want, late+"/"+late, sale+"/"+sale)
			synctest.Wait()
			got := c.leave()
			if !slices.Equal(got, want) {
				t.Fatalf("%d unread: got %d %v,\nwant %d %v", count, len(got), got, len(want), want)
			}
			if len(c.messages) != 1 || !strings.HasPrefix(c.messages[0], "session "+head) {
				t.Fatalf("messages %q, want the session at %s", c.messages, head)
			}
			// With a cursor it goes on from there: no backlog.
			_, cursor, _ := strings.Cut(got[len(got)-1], "/")
			again, _ := h.connect(staff("u1", "b1"), cursor)
			synctest.Wait()
			if got := again.leave(); len(got) != 0 {
				t.Fatalf("resumed: got %v, want nothing", got)
			}
			h.hub.Close()
		})
	}
}

func Test_a_client_of_an_empty_log_can_resume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *HubConfig) {
			c.Unread = func(context.Context, string, domain.Position, int) ([]*domain.Event, domain.Position, error) {
				return nil, domain.Position{}, nil // a read model that has folded nothing
			}
		})
		c, _ := h.connect(staff("u1", "b1"), "")
		synctest.Wait()
		_, cursor, _ := strings.Cut(c.messages[0], " ")
		c.leave()
		p := h.sell("b1")
		again, recovered := h.connect(staff("u1", "b1"), cursor[:domain.PositionLen])
		if !recovered {
			t.Fatalf("resume at %s: recovered false, want true", cursor[:domain.PositionLen])
		}
		synctest.Wait()
		wantEvents(t, "resumed", again.leave(), []string{p})
		h.hub.Close()
	})
}
