package actors

import (
	"slices"

	"bms/domain"
)

// recentChunk is how many frames of a source a connection that has fallen
// behind its rooms' tails looks at in one go.
const recentChunk = 256

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
// it at any moment, and those that are up to date don't wait behind them.
func (c *Connection) catchUp(dst [][]byte, size int, w *[]*Frame, at view) [][]byte {
	if !c.inTurn() {
		return dst
	}
	frames, upTo, err := c.hub.behind((*w)[:0], at.members, at.cursor, at.head)
	*w = frames
	if err != nil {
		c.giveBack()
		c.hub.cfg.Logger.Error("connection can't read the log", "sid", c.sid, "error", err)
		c.end(EndLogUnavailable)
		return dst
	}
	given, _ := c.emit(dst, size, frames, upTo)
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
	if dst, ok := h.recent.after(dst, cursor, head, recentChunk); ok {
		if len(dst) == recentChunk {
			return dst, dst[len(dst)-1].pos(), nil
		}
		return dst, head, nil
	}
	return h.segments.after(h.ctx, dst, members, cursor, head)
}

// mergeTails gathers from the rooms' tails. dst must be empty. ok is false, and what it returns empty,
// when one of them doesn't reach back far enough.
func mergeTails(dst []*Frame, members []member, cursor, head domain.Position) (_ []*Frame, ok bool) {
	sources := 0
	for i := range members {
		m := &members[i]
		at := m.from(cursor)
		before := len(dst)
		if dst, ok = m.room.tail.after(dst, at, head, m.room.tail.limit); !ok {
			return dst[:0], false
		}
		if len(dst) > before {
			sources++
		}
	}
	if sources > 1 {
		slices.SortFunc(dst, func(a, b *Frame) int { return a.pos().Compare(b.pos()) })
	}
	return dst, true
}
