package projections

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"bms/domain"
)

// notify sends a notification and returns its event.
func (s *shop) notify(audience, title, expiresAt string) *domain.Event {
	s.t.Helper()
	c := s.must(domain.CommandSendNotification, "", domain.SendNotification{
		Audience: audience, Severity: domain.SeverityInfo, Title: title, Message: "<hello> & \"goodbye\"", ExpiresAt: expiresAt,
	})
	return &c.Events[0]
}

// ack acknowledges a user's notifications.
func (s *shop) ack(userID string, upTo domain.Position) {
	s.t.Helper()
	s.n++
	if _, r := s.decide(domain.Command{
		ID: fmt.Sprintf("ack%d", s.n), Type: domain.CommandAckNotifications, At: s.now,
		Identity: domain.Identity{UserID: userID, Role: domain.RoleStaff}, Body: domain.AckNotifications{Pos: upTo.String()},
	}); r != nil {
		s.t.Fatalf("ack of %s: %v", userID, r)
	}
}

// unread reads a user's unread notifications, as envelopes.
func (r *running) unread(userID string, after domain.Position, limit int) []string {
	r.t.Helper()
	r.wait(r.config.Log.Head())
	events, pos, err := r.Unread(r.t.Context(), userID, after, limit)
	if err != nil {
		r.t.Fatal(err)
	}
	if head := r.config.Log.Head(); pos != head {
		r.t.Errorf("unread notifications are known up to %s, want %s", pos, head)
	}
	return envelopes(events...)
}

func envelopes(events ...*domain.Event) []string {
	var all []string
	for _, e := range events {
		all = append(all, string(e.AppendEnvelope(nil)))
	}
	return all
}

func TestUnreadNotificationsAreTheEventsAsTheyWereSent(t *testing.T) {
	shop := newShop(t)
	var ann []*domain.Event
	for i := range 5 {
		ann = append(ann, shop.notify("notifications:ann", fmt.Sprintf("Nötice %d", i), ""))
		shop.notify("notifications:bob", "to Bob", "")
		shop.notify(domain.RoomNotifications, "to all", "")
		shop.notify("user-role:staff", "to the staff", "")
		shop.notify("branch:b1", "to a branch", "")
	}
	dir := t.TempDir()
	r := run(t, config(dir, shop.log))
	check := func(when string, got []string, want ...*domain.Event) {
		t.Helper()
		if w := envelopes(want...); !slices.Equal(got, w) {
			t.Errorf("%s: unread are\n%q\nwant\n%q", when, got, w)
		}
	}
	check("all", r.unread("ann", domain.Position{}, 100), ann...)
	check("the oldest two", r.unread("ann", domain.Position{}, 2), ann[:2]...)
	check("two after the second", r.unread("ann", ann[1].Pos, 2), ann[2:4]...)
	check("after the last", r.unread("ann", ann[4].Pos, 2))
	check("of a stranger", r.unread("eve", domain.Position{}, 2))
	shop.ack("ann", ann[1].Pos)
	check("acknowledged up to the second", r.unread("ann", domain.Position{}, 100), ann[2:]...)
	shop.ack("ann", ann[0].Pos)
	check("an older acknowledgement", r.unread("ann", domain.Position{}, 100), ann[2:]...)
	r.close()

	r = run(t, config(dir, shop.log))
	check("after a restart", r.unread("ann", domain.Position{}, 100), ann[2:]...)
	again := run(t, config(t.TempDir(), shop.log))
	check("folded anew", again.unread("ann", domain.Position{}, 100), ann[2:]...)
	compare(t, r.digests(), again.digests())
	shop.ack("ann", shop.log.Head())
	late := shop.notify("notifications:ann", "late", "")
	check("all acknowledged, then one", r.unread("ann", domain.Position{}, 100), late)
	if got := r.unread("bob", domain.Position{}, 100); len(got) != 5 {
		t.Errorf("Bob has %d unread, want 5: he has acknowledged none", len(got))
	}
}

func TestExpiredNotificationsAreNotShown(t *testing.T) {
	shop := newShop(t)
	expiring := shop.notify("notifications:ann", "soon", shop.now.Add(time.Minute).Format(time.RFC3339))
	lasting := shop.notify("notifications:ann", "later", shop.now.Add(time.Hour).Format("2006-01-02T15:04:05+00:00"))
	var now atomic.Int64 // milliseconds
	now.Store(shop.now.UnixMilli())
	c := config(t.TempDir(), shop.log)
	c.Now = func() time.Time { return time.UnixMilli(now.Load()) }
	r := run(t, c)
	for _, tt := range []struct {
		after time.Duration
		want  []string
		any   bool
	}{
		{0, envelopes(expiring, lasting), true},
		{time.Minute, envelopes(lasting), true},
		{2 * time.Hour, nil, false},
	} {
		now.Store(shop.now.Add(tt.after).UnixMilli())
		if got := r.unread("ann", domain.Position{}, 9); !slices.Equal(got, tt.want) {
			t.Errorf("after %v: unread %q, want %q", tt.after, got, tt.want)
		}
		page, err := r.Notifications(t.Context(), NotificationsQuery{UserID: "ann"})
		if err != nil || !slices.Equal(envelopes(page.Items...), tt.want) {
			t.Errorf("after %v: list %q, %v; want %q", tt.after, envelopes(page.Items...), err, tt.want)
		}
		if got, err := r.AnyUnread(t.Context(), "ann", lasting.Pos); got != tt.any || err != nil {
			t.Errorf("after %v: any unread is %t, %v; want %t", tt.after, got, err, tt.any)
		}
	}
	// What has expired leaves the file with the next notification.
	shop.now = shop.now.Add(2 * time.Hour)
	shop.notify("notifications:ann", "new", "")
	r.wait(shop.log.Head())
	rows := int64(0)
	if _, err := r.view(t.Context(), Notifications, func(v *snapshot) error {
		_, err := v.one(t.Context(), func(r row) error {
			rows = r.int(0)
			return nil
		}, "SELECT count(*) FROM unread")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if rows != 1 {
		t.Errorf("%d notifications are kept, want 1", rows)
	}
}

// A time that is none, as the log may hold it, is one that never comes.
func TestANotificationThatExpiresAtNoTimeIsKept(t *testing.T) {
	shop := newShop(t)
	c := shop.forge(domain.CommandSendNotification, "", domain.SystemNotification{
		NotificationID: "n1", Severity: domain.SeverityInfo, Title: "T", Message: "M", Audience: "notifications:ann", ExpiresAt: "10000-01-01T04:59:59.000Z",
	})
	next := shop.notify("notifications:ann", "next", "")
	r := run(t, config(t.TempDir(), shop.log))
	if got, want := r.unread("ann", domain.Position{}, 9), envelopes(&c.Events[0], next); !slices.Equal(got, want) {
		t.Errorf("unread %q, want %q", got, want)
	}
	if got := r.status(Notifications).Parked; got != 0 {
		t.Errorf("%d are parked, want 0", got)
	}
}

func TestNotificationsComeInPages(t *testing.T) {
	shop := newShop(t)
	var want []*domain.Event
	for i := range 7 {
		want = append(want, shop.notify("notifications:ann", fmt.Sprint(i), ""))
	}
	r := run(t, config(t.TempDir(), shop.log))
	r.wait(shop.log.Head())
	got, sizes := pages(t, func(c string) (Page[*domain.Event], error) {
		return r.Notifications(t.Context(), NotificationsQuery{UserID: "ann", Cursor: c, Limit: 3})
	})
	if !slices.Equal(envelopes(got...), envelopes(want...)) || !slices.Equal(sizes, []int{3, 3, 1}) {
		t.Errorf("pages of %v: %q, want pages of 3, 3, 1: %q", sizes, envelopes(got...), envelopes(want...))
	}
	for _, bad := range []string{"x", cursor("alerts", "a"), cursor("notifications", "no position")} {
		if _, err := r.Notifications(t.Context(), NotificationsQuery{UserID: "ann", Cursor: bad}); !errors.Is(err, ErrBadCursor) {
			t.Errorf("cursor %q: %v, want ErrBadCursor", bad, err)
		}
	}
	for pos, want := range map[domain.Position]bool{{}: false, want[0].Pos: true, shop.log.Head(): true} {
		if got, err := r.AnyUnread(t.Context(), "ann", pos); got != want || err != nil {
			t.Errorf("any unread up to %s is %t, %v; want %t", pos, got, err, want)
		}
	}
	r.close()
	if _, _, err := r.Unread(t.Context(), "ann", domain.Position{}, 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("unread of a closed set: %v, want ErrUnavailable", err)
	}
}

// What is acknowledged while it waits behind a parked one stays acknowledged, and
// nobody else's notifications wait.
func TestNotificationsThatWaitCanBeAcknowledged(t *testing.T) {
	shop, bad := newShop(t), newTouchy()
	first := shop.notify("notifications:ann", "one", "")
	bad.bad[first.Pos.Seq] = "error"
	second := shop.notify("notifications:ann", "two", "")
	other := shop.notify("notifications:bob", "to Bob", "")
	all := shop.notify(domain.RoomNotifications, "to all", "")
	if first.Pos.Seq != 1 || all.Pos.Seq != 4 {
		t.Fatalf("sent at %d and %d, want 1 and 4", first.Pos.Seq, all.Pos.Seq)
	}
	open := func() *running {
		r := only(t, config(t.TempDir(), shop.log), bad.around(notificationsDefinition()))
		r.wait(shop.log.Head())
		return r
	}
	r := open()
	if got, want := r.parked(Notifications), "1! 2"; got != want {
		t.Errorf("parked are %q, want %q", got, want)
	}
	for user, want := range map[string]bool{"ann": true, "an": false, "nn": false, "bob": false} {
		if got, err := r.AnyUnread(t.Context(), user, second.Pos); got != want || err != nil {
			t.Errorf("any unread of %s up to the second: %t, %v; want %t", user, got, err, want)
		}
	}
	if got, err := r.AnyUnread(t.Context(), "ann", domain.Position{}); got || err != nil {
		t.Errorf("any unread of ann up to the beginning: %t, %v; want none", got, err)
	}
	shop.ack("ann", second.Pos)
	r.wait(shop.log.Head())
	fresh := open()
	for name, r := range map[string]*running{"live": r, "fresh": fresh} {
		if err := r.SkipParked(t.Context(), Notifications, first.Pos); err != nil {
			t.Fatal(err)
		}
		if got := r.unread("ann", domain.Position{}, 9); len(got) != 0 {
			t.Errorf("%s: unread %q, want none", name, got)
		}
		if got, want := r.unread("bob", domain.Position{}, 9), envelopes(other); !slices.Equal(got, want) {
			t.Errorf("%s: unread of Bob %q, want %q", name, got, want)
		}
	}
	compare(t, r.digests(), fresh.digests())
}

// A position that is read back from a row says its epoch, also after the log
// has begun a new one.
func TestUnreadNotificationsOfTwoEpochs(t *testing.T) {
	shop := newShop(t)
	first := shop.notify("notifications:ann", "one", "")
	shop.log.BeginEpoch()
	second := shop.notify("notifications:ann", "two", "")
	r := run(t, config(t.TempDir(), shop.log))
	got := r.unread("ann", domain.Position{}, 9)
	if !slices.Equal(got, envelopes(first, second)) || bytes.Equal(first.Pos.AppendTo(nil)[:9], second.Pos.AppendTo(nil)[:9]) {
		t.Errorf("unread %q, want %q", got, envelopes(first, second))
	}
}
