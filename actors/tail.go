package actors

import (
	"sort"
	"sync"
	"sync/atomic"

	"bms/domain"
)

// tail is a bounded ring of the most recent frames of one room (or of all
// rooms). It is complete from a position on, so that a cursor at or after that
// position can be served from memory.
type tail struct {
	began  domain.Position       // where it was made: what came before isn't known
	latest atomic.Pointer[Frame] // the last one added, nil for none

	mu    sync.Mutex      // guards everything below
	ring  []*Frame        // grows to limit, then wraps
	next  int             // where the next frame goes once the ring is full
	limit int             // frames at most
	from  domain.Position // every frame of the room after from is in the ring
}

func newTail(limit int, from domain.Position) *tail {
	return &tail{limit: limit, began: from, from: from}
}

// add appends a frame. The feed alone calls it, in log order; a frame that is
// in the ring already (a batch tried again) is passed over.
func (t *tail) add(f *Frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !f.pos().After(t.lastLocked()) {
		return
	}
	t.latest.Store(f)
	if len(t.ring) < t.limit {
		t.ring = append(t.ring, f)
		return
	}
	t.from = t.ring[t.next].pos()
	t.ring[t.next] = f
	t.next = (t.next + 1) % t.limit
}

// last is the position of the last frame, or where the tail begins. It waits for
// nobody.
func (t *tail) last() domain.Position {
	if f := t.latest.Load(); f != nil {
		return f.pos()
	}
	return t.began
}

func (t *tail) lastLocked() domain.Position {
	if len(t.ring) == 0 {
		return t.from
	}
	return t.ring[(t.next+len(t.ring)-1)%len(t.ring)].pos()
}

// after appends the frames later than cursor and no later than upTo, in order.
// ok is false, and dst as it was, when the ring does not reach back to cursor.
func (t *tail) after(dst []*Frame, cursor, upTo domain.Position, limit int) (_ []*Frame, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.from.After(cursor) {
		return dst, false
	}
	n := len(t.ring)
	first := sort.Search(n, func(i int) bool { return t.ring[(t.next+i)%n].pos().After(cursor) })
	for i := first; i < n && limit > 0; i++ {
		f := t.ring[(t.next+i)%n]
		if f.pos().After(upTo) {
			break
		}
		dst = append(dst, f)
		limit--
	}
	return dst, true
}
