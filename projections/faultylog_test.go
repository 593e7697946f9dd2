package projections

import (
	"context"
	"sync"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

// faultyLog is a log that can refuse appends, before they are done or after.
type faultyLog struct {
	*eventlogtest.Memory

	mu sync.Mutex // held during an append; guards refuse
	// refuse, if not nil, is asked before an append and after it.
	refuse func(after bool, commits []*domain.Commit) error
	// onRead, if not nil, is asked before a read by sequence. It is set while
	// nobody reads.
	onRead func() error
}

func (l *faultyLog) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	if l.onRead != nil {
		if err := l.onRead(); err != nil {
			return nil, err
		}
	}
	return l.Memory.Read(ctx, after, limit)
}

func newFaultyLog() *faultyLog { return &faultyLog{Memory: eventlogtest.NewMemory()} }

func (l *faultyLog) Append(ctx context.Context, commits ...*domain.Commit) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse == nil {
		return l.Memory.Append(ctx, commits...)
	}
	if err := l.refuse(false, commits); err != nil {
		return err
	}
	if err := l.Memory.Append(ctx, commits...); err != nil {
		return err
	}
	return l.refuse(true, commits)
}

// reader is a log whose batches hold at most limit commits.
type reader struct {
	domain.Log
	limit int
}

func (r reader) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	return r.Log.Read(ctx, after, min(limit, r.limit))
}

func (r reader) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	return r.Log.Next(ctx, after, min(limit, r.limit))
}
