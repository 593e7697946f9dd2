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
// It keeps the feed's batches whole: the oldest goes once what came after it is as
// much as the tail is for. So whoever was at the end before a batch, however large
// a commit is in it, finds it here with so much to spare.
type tail struct {
	began  domain.Position       // where it was made: what came before isn't known
	latest atomic.Pointer[Frame] // the last one added, nil for none

	mu      sync.Mutex // guards everything below
	frames  []*Frame   // in log order
	batches []batch    // of frames, the oldest first
	bytes   int        // of frames
	bound   tailBound
	from    domain.Position // every frame of the room after from is in frames
}

// tailBound is what a tail is for: so many frames or bytes after the oldest batch,
// whichever comes first.
type tailBound struct{ frames, bytes int }

// batch is what the feed put into a tail at once.
type batch struct {
	number        uint64
	frames, bytes int
}

func newTail(bound tailBound, from domain.Position) *tail {
	return &tail{bound: bound, began: from, from: from}
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
	youngest := &t.batches[len(t.batches)-1]
	youngest.frames++
	youngest.bytes += f.size()
	t.frames = append(t.frames, f)
	t.bytes += f.size()
	for t.fullLocked() {
		oldest := t.batches[0]
		t.from = t.frames[oldest.frames-1].pos()
		clear(t.frames[:oldest.frames])
		t.frames, t.batches = t.frames[oldest.frames:], t.batches[1:]
		t.bytes -= oldest.bytes
	}
}

// fullLocked reports whether the tail has all it is for without its oldest batch.
func (t *tail) fullLocked() bool {
	oldest := t.batches[0]
	return len(t.frames)-oldest.frames >= t.bound.frames || t.bytes-oldest.bytes >= t.bound.bytes
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
