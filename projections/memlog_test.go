package projections

import (
	"context"
	"fmt"
	"sync"

	"bms/domain"
)

// memlog is the log's contract in memory: what a process can lose is lost with
// the test.
type memlog struct {
	mu      sync.Mutex
	epoch   uint64
	commits []*domain.Commit
	streams map[string][]*domain.Commit
	byID    map[[2]string]*domain.Commit
	more    chan struct{} // closed and replaced by an append
	// refuse, if not nil, is asked before an append and after it.
	refuse func(after bool, commits []*domain.Commit) error
}

func newMemlog() *memlog {
	return &memlog{epoch: 1_795_000_000_000, streams: map[string][]*domain.Commit{}, byID: map[[2]string]*domain.Commit{}, more: make(chan struct{})}
}

func (l *memlog) Append(ctx context.Context, commits ...*domain.Commit) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.refuse != nil {
		if err := l.refuse(false, commits); err != nil {
			return err
		}
	}
	for _, c := range commits {
		id := [2]string{c.UserID, c.CommandID}
		if l.byID[id] != nil {
			return fmt.Errorf("append %s: %w", c.CommandID, domain.ErrDuplicateCommand)
		}
		if want := uint64(len(l.streams[c.Stream])) + 1; c.Version != want {
			return fmt.Errorf("append version %d of %s, want %d: %w", c.Version, c.Stream, want, domain.ErrVersionConflict)
		}
		c.Placed(l.epoch, uint64(len(l.commits))+1)
		l.commits = append(l.commits, c)
		l.streams[c.Stream] = append(l.streams[c.Stream], c)
		l.byID[id] = c
	}
	close(l.more)
	l.more = make(chan struct{})
	if l.refuse != nil {
		return l.refuse(true, commits)
	}
	return nil
}

func (l *memlog) FindCommand(_ context.Context, userID, commandID string) (*domain.Commit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.byID[[2]string{userID, commandID}]; c != nil {
		return c, nil
	}
	return nil, domain.ErrNotFound
}

func (l *memlog) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return part(l.commits, after, limit), nil
}

func (l *memlog) ReadStream(_ context.Context, stream string, after uint64, limit int) ([]*domain.Commit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return part(l.streams[stream], after, limit), nil
}

func part(commits []*domain.Commit, after uint64, limit int) []*domain.Commit {
	if after >= uint64(len(commits)) {
		return nil
	}
	return commits[after:min(int(after)+limit, len(commits))]
}

func (l *memlog) Head() domain.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.commits); n > 0 {
		p := l.commits[n-1].Position
		p.Epoch = l.epoch
		return p
	}
	return domain.Position{Epoch: l.epoch}
}

func (l *memlog) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	for {
		l.mu.Lock()
		commits, more := part(l.commits, after, limit), l.more
		l.mu.Unlock()
		if len(commits) > 0 {
			return commits, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *memlog) Check(p domain.Position) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case p.Seq == 0 && p.Epoch == l.epoch:
		return nil
	case p.Seq == 0 || p.Seq > uint64(len(l.commits)) || l.commits[p.Seq-1].Position.Epoch != p.Epoch:
		return domain.ErrUnknownPosition
	}
	return nil
}

// version is that of the last commit of a stream.
func (l *memlog) version(stream string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.streams[stream]))
}

// all is the log so far.
func (l *memlog) all() []*domain.Commit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commits[:len(l.commits):len(l.commits)]
}

// replaced gives a log with the same commits, read from disk: payloads have to
// be decoded.
func (l *memlog) replaced() *memlog {
	other := newMemlog()
	other.epoch = l.epoch
	for _, c := range l.all() {
		copied := *c
		copied.Events = make([]domain.Event, len(c.Events))
		for i, e := range c.Events {
			copied.Events[i] = domain.Event{ID: e.ID, Type: e.Type, Version: e.Version, BranchID: e.BranchID, UserID: e.UserID, At: e.At, Data: e.Data, Pos: e.Pos}
		}
		other.commits = append(other.commits, &copied)
		other.streams[c.Stream] = append(other.streams[c.Stream], &copied)
		other.byID[[2]string{c.UserID, c.CommandID}] = &copied
	}
	return other
}

// reader is a log whose batches hold at most limit commits.
type reader struct {
	*memlog
	limit int
}

func (r reader) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	return r.memlog.Read(ctx, after, min(limit, r.limit))
}

func (r reader) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	return r.memlog.Next(ctx, after, min(limit, r.limit))
}
