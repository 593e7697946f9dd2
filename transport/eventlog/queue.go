package eventlog

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// call is what the writer is asked to do: one Append, or an offset to store.
type call struct {
	ctx     context.Context
	records []*record
	offset  *offset
	charge  int64
	done    chan error // capacity 1
}

// queue holds the calls under way. It is bounded in calls and bytes by one
// weighted semaphore: a call weighs its bytes, but never less than its share of
// them, and keeps its weight until the writer has answered it. When the queue
// is full, put waits in order of arrival until there is room or its context
// ends.
type queue struct {
	room     *semaphore.Weighted
	capacity int64
	least    int64

	mu      sync.Mutex // guards calls and closed
	calls   []*call
	closed  bool
	gathers chan struct{} // capacity 1: there are calls, or the queue is closed
}

func newQueue(calls int, bytes int64) *queue {
	return &queue{
		room: semaphore.NewWeighted(bytes), capacity: bytes,
		least:   max(1, bytes/int64(calls)),
		gathers: make(chan struct{}, 1),
	}
}

// put queues a call of so many bytes. It returns the context's error, or
// errClosed.
func (q *queue) put(c *call, bytes int) error {
	c.charge = min(max(int64(bytes), q.least), q.capacity)
	if err := q.room.Acquire(c.ctx, c.charge); err != nil {
		return err
	}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		q.room.Release(c.charge)
		return errClosed
	}
	q.calls = append(q.calls, c)
	first := len(q.calls) == 1
	q.mu.Unlock()
	if first {
		q.signal()
	}
	return nil
}

func (q *queue) signal() {
	select {
	case q.gathers <- struct{}{}:
	default:
	}
}

// take returns all that has gathered, in spare's memory, and whether more can
// come.
func (q *queue) take(spare []*call) (calls []*call, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	calls, q.calls = q.calls, spare[:0]
	return calls, !q.closed
}

// answer ends a call.
func (q *queue) answer(c *call, err error) {
	q.room.Release(c.charge)
	c.done <- err
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// offset says how far a consumer group has acknowledged a topic.
type offset struct {
	consumer, topic string
	seq             uint64
}
