package eventlog

import (
	"sync"

	"bms/domain"
)

// recent holds the last commits in memory, as they were appended (their events
// keep their typed payloads), and wakes who waits for the next. It is bounded
// in commits and bytes; the eldest go first.
type recent struct {
	mu       sync.RWMutex // guards all below
	ring     []entry      // commit with sequence s lies at s % len(ring)
	first    uint64       // the eldest held; last+1 when empty
	last     uint64       // the last durable sequence
	index    uint32       // of its last event
	bytes    int64
	maxBytes int64
	epoch    uint64        // of the next append
	grown    chan struct{} // closed, and replaced, when last has grown
	waiting  bool          // someone holds grown
}

type entry struct {
	commit *domain.Commit
	bytes  int64
}

// newRecent makes an empty one whose end is the given position; its epoch is
// that of the next append.
func newRecent(commits int, bytes int64, end domain.Position) *recent {
	return &recent{
		ring: make([]entry, commits), first: end.Seq + 1, last: end.Seq, index: end.Index, maxBytes: bytes,
		epoch: end.Epoch, grown: make(chan struct{}),
	}
}

// add takes commits in that have just become durable.
func (r *recent) add(records []*record) {
	if len(records) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range records {
		r.last++
		slot := &r.ring[r.last%uint64(len(r.ring))]
		if r.last-r.first >= uint64(len(r.ring)) {
			r.first++
			r.bytes -= slot.bytes
		}
		*slot = entry{rec.commit, int64(rec.bytes)}
		r.bytes += slot.bytes
		r.index = rec.commit.Position.Index
	}
	for r.bytes > r.maxBytes {
		slot := &r.ring[r.first%uint64(len(r.ring))]
		r.bytes -= slot.bytes
		*slot = entry{}
		r.first++
	}
	r.wake()
}

// jump sets the end, forgetting all that is held: the writer found more in the
// file than it knew of.
func (r *recent) jump(end domain.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.ring)
	r.first, r.last, r.index, r.bytes = end.Seq+1, end.Seq, end.Index, 0
	r.wake()
}

func (r *recent) wake() {
	if r.waiting {
		close(r.grown)
		r.grown, r.waiting = make(chan struct{}), false
	}
}

func (r *recent) head() domain.Position {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return domain.Position{Epoch: r.epoch, Seq: r.last, Index: r.index}
}

// read returns up to limit commits after a sequence, and true if that is all
// there is to know: false means that they have to come from the file. last is
// the end as it was then.
func (r *recent) read(after uint64, limit int) (commits []*domain.Commit, last uint64, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if after >= r.last {
		return nil, r.last, true
	}
	if after+1 < r.first {
		return nil, r.last, false
	}
	n := min(r.last-after, uint64(limit))
	commits = make([]*domain.Commit, n)
	for i := range commits {
		commits[i] = r.ring[(after+1+uint64(i))%uint64(len(r.ring))].commit
	}
	return commits, r.last, true
}

// wait returns a channel that is closed when there is more than after, or nil
// if there is already.
func (r *recent) wait(after uint64) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after < r.last {
		return nil
	}
	r.waiting = true
	return r.grown
}
