package actors

import (
	"sort"
	"sync"
	"sync/atomic"

	"bms/domain"
)

// tail is the most recent frames of one room (or of all rooms). It is complete
// from a position on, so that a cursor at or after that position can be served
// from memory.
//
// It keeps the feed's batches whole: the oldest goes once what came after it has
// as many frames as the tail is for. So whoever was at the end before a batch,
// however large a commit is in it, finds it here with so many frames to spare.
type tail struct {
	began  domain.Position       // where it was made: what came before isn't known
	latest atomic.Pointer[Frame] // the last one added, nil for none

	mu      sync.Mutex      // guards everything below
	frames  []*Frame        // in log order
	batches []batch         // of frames, the oldest first
	limit   int             // frames after the oldest batch, at most
	from    domain.Position // every frame of the room after from is in frames
}

// batch is what the feed put into a tail at once.
type batch struct {
	number uint64
	frames int
}

func newTail(limit int, from domain.Position) *tail {
	return &tail{limit: limit, began: from, from: from}
}

// add appends a frame of the batch of that number. The feed alone calls it, in
// log order; a frame that is there already (a batch tried again) is passed over.
func (t *tail) add(f *Frame, number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !f.pos().After(t.last()) {
		return
	}
	t.latest.Store(f)
	if n := len(t.batches); n == 0 || t.batches[n-1].number != number {
		t.batches = append(t.batches, batch{number: number})
	}
	t.batches[len(t.batches)-1].frames++
	t.frames = append(t.frames, f)
	for oldest := t.batches[0].frames; len(t.frames)-oldest >= t.limit; oldest = t.batches[0].frames {
		t.from = t.frames[oldest-1].pos()
		clear(t.frames[:oldest])
		t.frames, t.batches = t.frames[oldest:], t.batches[1:]
	}
}

// last is the position of the last frame, or where the tail begins. It waits for
// nobody.
func (t *tail) last() domain.Position {
	if f := t.latest.Load(); f != nil {
		return f.pos()
	}
	return t.began
}

// after appends the frames later than cursor and no later than upTo, in order and
// at most limit. ok is false, and dst as it was, when the tail does not reach back
// to cursor.
func (t *tail) after(dst []*Frame, cursor, upTo domain.Position, limit int) (_ []*Frame, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.from.After(cursor) {
		return dst, false
	}
	first := sort.Search(len(t.frames), func(i int) bool { return t.frames[i].pos().After(cursor) })
	for _, f := range t.frames[first:min(first+limit, len(t.frames))] {
		if f.pos().After(upTo) {
			break
		}
		dst = append(dst, f)
	}
	return dst, true
}
