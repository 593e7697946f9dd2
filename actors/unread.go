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
	more   bool // there may be, beyond events
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
	events, err := h.cfg.Unread(ctx, userID, domain.Position{}, unreadPage)
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

// take adds a page of events. What came after the backlog's end comes from the
// log.
func (b *backlog) take(page []*domain.Event) {
	b.more = len(page) == unreadPage
	for len(page) > 0 && page[len(page)-1].Pos.After(b.upTo) {
		page, b.more = page[:len(page)-1], false
	}
	b.events = append(b.events, page...)
}

// giveUnread appends frames of the backlog, about size bytes, and reads its next
// page where one is wanted. The last one says where the log goes on.
func (c *Connection) giveUnread(dst [][]byte, size int) ([][]byte, int) {
	u, codec := c.unread, c.hub.cfg.Codecs[c.codec]
	given, bytes := 0, 0
	var last *domain.Event
	var err error
	for len(u.events) > 0 && size > 0 {
		e := u.events[0]
		if len(u.events) == 1 && u.more { // whether this is the last one is not known yet
			var page []*domain.Event
			if page, err = c.hub.cfg.Unread(c.hub.ctx, c.userID, e.Pos, unreadPage); err != nil {
				break
			}
			u.take(page)
		}
		var b []byte
		if u.events = u.events[1:]; len(u.events) > 0 {
			b = codec.Event(e)
		} else {
			// Nothing is missing here, whatever the client came from. It may
			// have changed its rooms and its token meanwhile.
			b = codec.LastUnread(e, c.session(true))
		}
		dst = append(dst, b)
		size -= len(b)
		given, bytes, last = given+1, bytes+len(b), e
	}
	if given > 0 {
		c.hub.delivered(given, bytes, last, nil, nil)
		c.unreadGiven(last.Pos)
	}
	if err != nil {
		c.hub.cfg.Logger.Error("connection can't read its unread notifications", "sid", c.sid, "error", err)
		c.end(EndLogUnavailable)
		return dst, 0
	}
	return dst, size
}

// unreadGiven notes how far the backlog has been given out, and whether that was
// all of it.
func (c *Connection) unreadGiven(upTo domain.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unread.at = upTo; len(c.unread.events) == 0 {
		c.unread = nil
	}
}
