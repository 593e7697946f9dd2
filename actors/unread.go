package actors

import (
	"context"
	"fmt"

	"bms/domain"
)

// unreadPage is how many unread notifications a connection holds at a time.
const unreadPage = 100

// backlog is what a connection without a cursor gets before the log: the
// user's unread notifications up to the connection's first cursor, a page at a
// time. While it lasts, the client is to go on where it has got to in it. The
// connection's flusher alone uses it, but for at.
type backlog struct {
	events []*domain.Event
	more   bool // beyond events
	upTo   domain.Position
	// at is behind the last one given out, before the first one at the
	// beginning; guarded by Connection.mu.
	at domain.Position
}

// unread begins a backlog up to a position, nil for none. What the read model
// doesn't know of yet stays unread until the next connection.
func (h *Hub) unread(ctx context.Context, userID string, upTo domain.Position) (*backlog, error) {
	if h.cfg.Unread == nil {
		return nil, nil
	}
	events, err := h.cfg.Unread(ctx, userID, domain.Position{}, unreadPage+1)
	if err != nil {
		return nil, fmt.Errorf("read unread notifications of %s: %w", userID, err)
	}
	b := &backlog{upTo: upTo}
	if b.take(events); len(b.events) == 0 {
		return nil, nil
	}
	b.at = before(b.events[0].Pos)
	return b, nil
}

// before is the last position before an event's.
func before(p domain.Position) domain.Position {
	if p.Index > 0 {
		p.Index--
		return p
	}
	p.Seq--
	p.Index = domain.MaxEventsPerCommit - 1
	return p
}

// take makes events, a page and one more if there are as many, what is to be
// given out next. What came after the backlog's end comes from the log.
func (b *backlog) take(events []*domain.Event) {
	for len(events) > 0 && events[len(events)-1].Pos.After(b.upTo) {
		events = events[:len(events)-1]
	}
	b.more = len(events) > unreadPage
	b.events = events[:min(len(events), unreadPage)]
}

// giveUnread appends frames of the backlog, about size bytes, and reads its next
// page where one is wanted. The last one carries the connection's own cursor.
func (c *Connection) giveUnread(dst [][]byte, size int) ([][]byte, int) {
	u := c.unread
	given, bytes := 0, 0
	for given < len(u.events) && size > 0 {
		e := u.events[given]
		given++
		cursor := e.Pos
		if given == len(u.events) && !u.more {
			cursor = u.upTo
		}
		b := c.hub.cfg.Codecs[c.codec].Event(e, cursor)
		dst = append(dst, b)
		size -= len(b)
		bytes += len(b)
	}
	if given > 0 {
		last := u.events[given-1]
		c.hub.delivered(given, bytes, last, nil, nil)
		u.events = u.events[given:]
		c.mu.Lock()
		u.at = last.Pos
		c.mu.Unlock()
	}
	if len(u.events) == 0 && u.more {
		events, err := c.hub.cfg.Unread(c.hub.ctx, c.userID, u.at, unreadPage+1)
		if err != nil {
			c.hub.cfg.Logger.Error("connection can't read its unread notifications", "sid", c.sid, "error", err)
			c.end(EndLogUnavailable)
			return dst, 0
		}
		u.take(events)
	}
	if len(u.events) > 0 {
		return dst, size
	}
	c.mu.Lock()
	c.unread = nil
	c.mu.Unlock()
	return dst, size
}
