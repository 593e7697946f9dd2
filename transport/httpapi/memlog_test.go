package httpapi

import (
	"context"
	"fmt"
	"sync"

	"bms/domain"
)

// memlog is the log's contract in memory.
type memlog struct {
	mu      sync.Mutex
	commits []*domain.Commit
	streams map[string][]*domain.Commit
	byID    map[[2]string]*domain.Commit
	more    chan struct{} // closed and replaced by an append
}

const epoch = 1_795_000_000_000

func newMemlog() *memlog {
	return &memlog{streams: map[string][]*domain.Commit{}, byID: map[[2]string]*domain.Commit{}, more: make(chan struct{})}
}

func (l *memlog) Append(ctx context.Context, commits ...*domain.Commit) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, c := range commits {
		id := [2]string{c.UserID, c.CommandID}
		if l.byID[id] != nil {
			return fmt.Errorf("append %s: %w", c.CommandID, domain.ErrDuplicateCommand)
		}
		if want := uint64(len(l.streams[c.Stream])) + 1; c.Version != want {
			return fmt.Errorf("append version %d of %s, want %d: %w", c.Version, c.Stream, want, domain.ErrVersionConflict)
		}
		c.Placed(epoch, uint64(len(l.commits))+1)
		l.commits = append(l.commits, c)
		l.streams[c.Stream] = append(l.streams[c.Stream], c)
		l.byID[id] = c
	}
	close(l.more)
	l.more = make(chan struct{})
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
	return part(l.commits, after, limit), ctx.Err()
}

func (l *memlog) ReadStream(ctx context.Context, stream string, after uint64, limit int) ([]*domain.Commit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return part(l.streams[stream], after, limit), ctx.Err()
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
		return l.commits[n-1].Position
	}
	return domain.Position{Epoch: epoch}
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
	if p.Epoch != epoch || p.Seq > uint64(len(l.commits)) {
		return domain.ErrUnknownPosition
	}
	return nil
}

// len is the number of commits.
func (l *memlog) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.commits)
}
