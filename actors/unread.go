package actors

import (
	"context"
	"fmt"

	"bms/domain"
)

// unreadPage is how many unread notifications a connection holds at a time.
const unreadPage = 100

// unreadLag is how many log records the notifications' read model may be
// behind for a new connection to begin where it is. Beyond, the connection
// begins at the head, and what lies between stays unread until the next one.
const unreadLag = 10_000

// backlog is what a connection without a cursor gets before the log: the
// user's unread notifications up to the connection's first cursor, a page at a
// time. The connection's flusher alone uses it.
type backlog struct {
	events []*domain.Event
	more   bool // beyond events
	upTo   domain.Position
}

// unread begins a backlog and moves the cursor to where it ends; nil for none.
func (h *Hub) unread(ctx context.Context, userID string, head domain.Position) (*backlog, domain.Position, error) {
	if h.cfg.Unread == nil {
		return nil, head, nil
	}
	events, at, err := h.cfg.Unread(ctx, userID, domain.Position{}, unreadPage+1)
	if err != nil {
		return nil, head, fmt.Errorf("read unread notifications of %s: %w", userID, err)
	}
	if !at.After(head) && head.Seq-at.Seq > unreadLag {
		at = head
	}
	if at.Seq == 0 { // it has folded nothing, and knows of no epoch
		at.Epoch = head.Epoch
	}
	b := &backlog{upTo: at}
	if b.take(events); len(b.events) == 0 {
		return nil, at, nil
	}
	return b, at, nil
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
// page where one is wanted. What comes last carries the connection's cursor, so
// that a client that has it all resumes behind the backlog, and one that
// doesn't inside it.
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
	if given == 0 {
		return dst, size
	}
	last := u.events[given-1]
	c.hub.delivered(given, bytes, last, nil, nil)
	u.events = u.events[given:]
	if len(u.events) == 0 && u.more {
		events, _, err := c.hub.cfg.Unread(c.hub.ctx, c.userID, last.Pos, unreadPage+1)
		if err != nil {
			c.hub.cfg.Logger.Error("connection can't read its unread notifications", "sid", c.sid, "error", err)
			c.end(EndLogUnavailable)
		}
		u.take(events)
	}
	if len(u.events) == 0 {
		c.mu.Lock()
		c.unread = nil
		c.mu.Unlock()
	}
	return dst, size
}
