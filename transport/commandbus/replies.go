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
	limit, most int // commands, bytes

	mu      sync.Mutex // guards what follows
	waiting map[string]wait
	bytes   int // of those that wait
	closed  bool
	empty   chan struct{} // closed when closed and nobody waits
}

// wait is where the answer to a command of so many bytes goes.
type wait struct {
	answer chan answer
	bytes  int
}

func newReplies(limit, most int) *replies {
	return &replies{limit: limit, most: most, waiting: make(map[string]wait), empty: make(chan struct{})}
}

// expect registers a wait. It returns "busy" when a limit is reached and
// "draining" after close.
func (r *replies) expect(uuid string, c chan answer, bytes int) *domain.Rejection {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return domain.Reject(domain.CodeDraining, "the server is shutting down; ask again, another is taking over")
	}
	if n := len(r.waiting); n >= r.limit {
		return busy("the server has %d commands waiting; ask again later", n)
	}
	if r.bytes > 0 && r.bytes+bytes > r.most {
		return busy("the server has %d bytes of commands waiting; ask again later", r.bytes)
	}
	r.waiting[uuid] = wait{c, bytes}
	r.bytes += bytes
	return nil
}

func busy(format string, args ...any) *domain.Rejection {
	no := domain.Reject(domain.CodeBusy, format, args...)
	no.Details = map[string]any{"retryAfter": 1}
	return no
}

// take ends a wait and returns its channel, which whoever took it sends the
// answer to. It returns nil if that wait is over: nobody sends any more, or
// somebody else is about to.
func (r *replies) take(uuid string) chan answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, waits := r.waiting[uuid]
	if waits {
		delete(r.waiting, uuid)
		r.bytes -= w.bytes
		if r.closed && len(r.waiting) == 0 {
			close(r.empty)
		}
	}
	return w.answer
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
