package commandbus

import (
	"sync"

	"bms/domain"
)

// answer is what a command came to.
type answer struct {
	commit *domain.Commit
	err    error
}

// replies holds who waits for an answer, by the message's UUID.
type replies struct {
	limit int

	mu      sync.Mutex // guards what follows
	waiting map[string]chan answer
	closed  bool
	empty   chan struct{} // closed when closed and nobody waits
}

func newReplies(limit int) *replies {
	return &replies{limit: limit, waiting: make(map[string]chan answer), empty: make(chan struct{})}
}

// expect registers a wait. It returns "busy" when the limit is reached and
// "draining" after close.
func (r *replies) expect(uuid string, c chan answer) *domain.Rejection {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return domain.Reject(domain.CodeDraining, "the server is shutting down; ask again, another is taking over")
	}
	if n := len(r.waiting); n >= r.limit {
		no := domain.Reject(domain.CodeBusy, "the server has %d commands waiting; ask again later", n)
		no.Details = map[string]any{"retryAfter": 1}
		return no
	}
	r.waiting[uuid] = c
	return nil
}

// take ends a wait and returns its channel, which whoever took it sends the
// answer to. It returns nil if that wait is over: nobody sends any more, or
// somebody else is about to.
func (r *replies) take(uuid string) chan answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.waiting[uuid]
	if c != nil {
		delete(r.waiting, uuid)
		if r.closed && len(r.waiting) == 0 {
			close(r.empty)
		}
	}
	return c
}

// deliver sends an answer to who waits for it; one that nobody waits for is
// dropped.
func (r *replies) deliver(uuid string, a answer) {
	if c := r.take(uuid); c != nil {
		c <- a // has room for one
	}
}

// close lets nobody wait any more and returns a channel that is closed when
// nobody does.
func (r *replies) close() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		if len(r.waiting) == 0 {
			close(r.empty)
		}
	}
	return r.empty
}

func (r *replies) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}
