package actors

import (
	"slices"
	"time"

	"bms/domain"
)

// chunk is how many frames of a source a connection looks at in one go: about
// what a write takes.
const chunk = 256

// A connection takes what lies between its cursor and the head from the nearest
// place that reaches back to the cursor:
//
//	tails     of the rooms            the usual case: memory, only what is wanted
//	recent    of all rooms together   memory, to be sifted
//	segments  of the log              read once for all who need them, sorted by room
//
// Either way it gets frames in log order, perhaps some of no concern to it and
// doubles next to each other, and the position up to which they are complete.

// catchUp gives out from behind the tails, in a turn that ends when that has
// been written: however many connections catch up at once, few of them are at
// it at any moment, and those that are up to date don't wait behind them. For
// half of the time that a turn is waited for it goes on from chunk to chunk, so
// that what little a log has for a connection doesn't cost a turn, and of a
// client that polls a round trip, for each.
func (c *Connection) catchUp(dst [][]byte, size int, w *[]*Frame, at view) [][]byte {
	if !c.inTurn() {
		return dst
	}
	given := dst
	for begun := time.Now(); ; {
		frames, upTo, err := c.hub.behind((*w)[:0], at.members, at.cursor, at.head)
		*w = frames
		if err != nil {
			c.giveBack()
			c.hub.cfg.Logger.Error("connection can't read the log", "sid", c.sid, "error", err)
			c.end(EndLogUnavailable)
			return given
		}
		given, size = c.emit(given, size, frames, upTo)
		if at = c.view(); size <= 0 || !at.head.After(at.cursor) || time.Since(begun) >= turnLease/2 {
			break
		}
	}
	if len(given) == len(dst) { // it was of no concern: go on, when the transport has had its say
		c.transport.Wake()
	}
	return given
}

// inTurn reports whether it is the connection's turn to catch up. If not, the
// transport is woken when it is. Who has asked for a turn and is held up in a
// write when it comes doesn't keep it: it asks again.
func (c *Connection) inTurn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.turn.Load()
	if t.begin() {
		return true
	}
	if !t.comes() && c.ending == "" {
		c.turn.Store(c.hub.turns.ask(turnToCatchUp, c.transport.Wake))
	}
	return false
}

// giveBack gives back, or up, the connection's turn.
func (c *Connection) giveBack() { c.turn.Swap(nil).end() }

// behind gathers from recent or segments, some hundreds of frames at most. dst
// must be empty; its memory is used. Callers have a turn to catch up.
func (h *Hub) behind(dst []*Frame, members []member, cursor, head domain.Position) ([]*Frame, domain.Position, error) {
	if dst, ok := h.recent.after(dst, cursor, head, chunk); ok {
		if len(dst) == chunk {
			return dst, dst[len(dst)-1].pos(), nil
		}
		return dst, head, nil
	}
	return h.segments.after(h.ctx, dst, members, cursor, head)
}

// mergeTails gathers from the rooms' tails, some hundreds of frames at most. dst
// must be empty; its memory is used. ok is false, and what it returns empty, when
// one of them doesn't reach back far enough.
func mergeTails(dst []*Frame, members []member, cursor, head domain.Position) (_ []*Frame, upTo domain.Position, ok bool) {
	sources := 0
	upTo = head
	for i := range members {
		m := &members[i]
		before := len(dst)
		if dst, ok = m.room.tail.after(dst, m.from(cursor), head, chunk); !ok {
			clear(dst)
			return dst[:0], cursor, false
		}
		if len(dst) == before {
			continue
		}
		sources++
		if last := dst[len(dst)-1].pos(); len(dst)-before == chunk && upTo.After(last) { // there may be more
			upTo = last
		}
	}
	return merged(dst, sources, upTo), upTo, true
}

// merged puts frames of some sources, each in order, into one order, and drops
// those after upTo.
func merged(frames []*Frame, sources int, upTo domain.Position) []*Frame {
	if sources > 1 {
		slices.SortFunc(frames, func(a, b *Frame) int { return a.pos().Compare(b.pos()) })
	}
	end := len(frames)
	for end > 0 && frames[end-1].pos().After(upTo) {
		end--
	}
	clear(frames[end:])
	return frames[:end]
}
