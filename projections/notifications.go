package projections

import (
	"context"
	"time"

	"bms/domain"
)

// notificationsDefinition keeps the notifications to a single user that he
// hasn't acknowledged, as events that read as they were sent.
func notificationsDefinition() definition {
	return definition{
		name: Notifications, version: 1,
		schema: `
CREATE TABLE unread (
	user TEXT NOT NULL, pos INTEGER NOT NULL, expires INTEGER,
	id TEXT NOT NULL, version INTEGER NOT NULL, branch TEXT NOT NULL, sender TEXT NOT NULL, at INTEGER NOT NULL, data TEXT NOT NULL,
	PRIMARY KEY (user, pos)
) WITHOUT ROWID;
`,
		types: []string{domain.TypeSystemNotification, domain.TypeNotificationsAcked},
		keys:  inboxKeys,
		start: func(f *file) (fold, error) { return &notifications{file: f}, nil },
	}
}

// inboxKeys adds the users to whom notifications go, or who acknowledge: what was
// acknowledged while it waited must not be there again afterwards. One to nobody
// in particular leaves nothing here and has nothing to wait for.
func inboxKeys(c *domain.Commit, add func(string)) {
	for i := range c.Events {
		payload, err := c.Events[i].Payload()
		if err != nil {
			continue // and can't be folded either
		}
		switch p := payload.(type) {
		case domain.SystemNotification:
			if user, ok := domain.UserOfNotifications(p.Audience); ok {
				add(inboxKey(user))
			}
		case domain.NotificationsAcked:
			add(inboxKey(p.UserID))
		}
	}
}

func inboxKey(userID string) string { return "user/" + userID }

type notifications struct {
	basic
	file *file
}

func (n *notifications) apply(_ *domain.Commit, e *domain.Event, payload domain.Payload) error {
	switch p := payload.(type) {
	case domain.SystemNotification:
		return n.sent(e, p)
	case domain.NotificationsAcked:
		return n.file.writer.exec("DELETE FROM unread WHERE user = ? AND pos <= ?", p.UserID, key(p.Pos))
	}
	return nil
}

// sent keeps a notification to a user, and lets go of those that he won't be
// shown any more. Which these are follows from the log alone: queries, which
// go by the clock, are stricter.
func (n *notifications) sent(e *domain.Event, p domain.SystemNotification) error {
	user, ok := domain.UserOfNotifications(p.Audience)
	if !ok {
		return nil
	}
	var expires any
	if p.ExpiresAt != "" {
		// The log may hold times that are none, of years beyond 9999: they
		// never come.
		if at, err := time.Parse(time.RFC3339, p.ExpiresAt); err == nil {
			expires = at.UnixMilli()
		}
	}
	if err := n.file.writer.exec("DELETE FROM unread WHERE user = ? AND expires <= ?", user, e.At.UnixMilli()); err != nil {
		return err
	}
	return n.file.writer.exec("INSERT INTO unread VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		user, key(e.Pos), expires, e.ID, int64(e.Version), e.BranchID, e.UserID, e.At.UnixMilli(), string(e.Data))
}

func (n *notifications) flush() error  { return nil }
func (n *notifications) forget() error { return nil }

// unread calls add for notifications after a position's key, oldest first.
func (v *snapshot) unread(ctx context.Context, userID string, after int64, now time.Time, limit int64, add func(*domain.Event)) error {
	return v.query(ctx, func(r row) error {
		add(&domain.Event{
			Pos: v.at(r.int(0)), ID: r.text(1), Type: domain.TypeSystemNotification, Version: int(r.int(2)),
			BranchID: r.text(3), UserID: r.text(4), At: time.UnixMilli(r.int(5)).UTC(), Data: []byte(r.text(6)),
		})
		return nil
	}, "SELECT pos, id, version, branch, sender, at, data FROM unread WHERE user = ? AND pos > ? AND (expires IS NULL OR expires > ?) ORDER BY pos LIMIT ?",
		userID, after, now.UnixMilli(), limit)
}

// Unread gives the oldest notifications to a user alone, after a position,
// that he hasn't acknowledged and that have not expired by now, at most limit
// (DefaultLimit if zero), and the position up to which it knows of any. The
// caller owns the events. Error: ErrUnavailable.
func (s *Set) Unread(ctx context.Context, userID string, after domain.Position, limit int) ([]*domain.Event, domain.Position, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	var events []*domain.Event
	pos, err := s.view(ctx, Notifications, func(v *snapshot) error {
		return v.unread(ctx, userID, key(after), s.config.Now(), int64(limit), func(e *domain.Event) { events = append(events, e) })
	})
	return events, pos, err
}

// NotificationsQuery selects a user's unread notifications, oldest first.
type NotificationsQuery struct {
	UserID string
	Cursor string
	// Limit is DefaultLimit if zero and at most MaxLimit.
	Limit int
}

// Notifications lists what Unread gives. Errors: ErrBadCursor, ErrUnavailable.
func (s *Set) Notifications(ctx context.Context, q NotificationsQuery) (Page[*domain.Event], error) {
	now := s.config.Now()
	return list(ctx, s, Notifications, "notifications", q.Cursor, q.Limit,
		func(e *domain.Event) string { return e.Pos.String() },
		func(v *snapshot, after string, limit int64, add func(*domain.Event)) error {
			from, err := keyAfter(after, 0)
			if err != nil {
				return err
			}
			return v.unread(ctx, q.UserID, from, now, limit, add)
		})
}

// AnyUnread reports whether there is something for a user to acknowledge up to
// a position: what has expired doesn't count, what is parked does. Error:
// ErrUnavailable.
func (s *Set) AnyUnread(ctx context.Context, userID string, upTo domain.Position) (bool, error) {
	found := false
	_, err := s.view(ctx, Notifications, func(v *snapshot) (err error) {
		found, err = v.one(ctx, func(row) error { return nil },
			"SELECT 1 FROM unread WHERE user = ? AND pos <= ? AND (expires IS NULL OR expires > ?) UNION ALL "+
				"SELECT 1 FROM local_parked WHERE pos <= ? AND instr(char(10) || keys || char(10), char(10) || ? || char(10)) LIMIT 1",
			userID, key(upTo), s.config.Now().UnixMilli(), key(upTo), inboxKey(userID))
		return err
	})
	return found, err
}
