package actors

import (
	"context"
	"sync"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

// faultyLog injects faults into a log. A hook gets the real operation as next
// and decides when, how often and with which outcome it happens; nil is the
// operation itself.
type faultyLog struct {
	*eventlogtest.Memory

	mu      sync.Mutex // guards what follows
	append  func(ctx context.Context, commits []*domain.Commit, next func() error) error
	read    func(ctx context.Context, stream string) error
	find    func(ctx context.Context, commandID string) error
	appends []int // commits of each call
	finds   int
	reads   int // commits that ReadStream has returned
}

func newFaultyLog() *faultyLog { return &faultyLog{Memory: eventlogtest.NewMemory()} }

func (l *faultyLog) onAppend(hook func(ctx context.Context, commits []*domain.Commit, next func() error) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append = hook
}

func (l *faultyLog) onRead(hook func(ctx context.Context, stream string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read = hook
}

func (l *faultyLog) onFind(hook func(ctx context.Context, commandID string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.find = hook
}

// groups returns the sizes of the appends so far.
func (l *faultyLog) groups() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]int(nil), l.appends...)
}

func (l *faultyLog) Append(ctx context.Context, commits ...*domain.Commit) error {
	l.mu.Lock()
	hook := l.append
	l.appends = append(l.appends, len(commits))
	l.mu.Unlock()
	next := func() error { return l.Memory.Append(ctx, commits...) }
	if hook == nil {
		return next()
	}
	return hook(ctx, commits, next)
}

func (l *faultyLog) ReadStream(ctx context.Context, stream string, after uint64, limit int) ([]*domain.Commit, error) {
	l.mu.Lock()
	hook := l.read
	l.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, stream); err != nil {
			return nil, err
		}
	}
	commits, err := l.Memory.ReadStream(ctx, stream, after, limit)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads += len(commits)
	return commits, err
}

func (l *faultyLog) FindCommand(ctx context.Context, userID, commandID string) (*domain.Commit, error) {
	l.mu.Lock()
	hook := l.find
	l.finds++
	l.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, commandID); err != nil {
			return nil, err
		}
	}
	return l.Memory.FindCommand(ctx, userID, commandID)
}

// hold makes appends wait until release is called or their context ends.
func (l *faultyLog) hold() (release func()) {
	gate := make(chan struct{})
	l.onAppend(func(ctx context.Context, _ []*domain.Commit, next func() error) error {
		select {
		case <-gate:
			return next()
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return func() { close(gate) }
}
