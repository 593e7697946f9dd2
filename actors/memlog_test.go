package actors

import (
	"context"
	"fmt"
	"sync"

	"bms/domain"
)

// memLog is a domain.Log in memory that keeps the whole contract but for
// durability. The tests of this floor can't import the real one; those that
// need it are on the floor where everything is wired.
type memLog struct {
	mu       sync.Mutex // guards what follows
	epoch    uint64
	commits  []*domain.Commit
	streams  map[string][]*domain.Commit
	commands map[string]*domain.Commit
	grown    chan struct{} // closed and replaced by every append
}

func newMemLog() *memLog {
	return &memLog{
		epoch: 1_000, streams: map[string][]*domain.Commit{}, commands: map[string]*domain.Commit{},
		grown: make(chan struct{}),
	}
}

func (l *memLog) version(stream string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.streams[stream]))
}

func memKey(userID, commandID string) string { return userID + "\x00" + commandID }

// Append appends all or none.
func (l *memLog) Append(ctx context.Context, commits ...*domain.Commit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	next := map[string]uint64{}
	ids := map[string]bool{}
	for _, c := range commits {
		want, ok := next[c.Stream]
		if !ok {
			want = uint64(len(l.streams[c.Stream])) + 1
		}
		if c.Version != want {
			return fmt.Errorf("append to %q: %w: version %d, want %d", c.Stream, domain.ErrVersionConflict, c.Version, want)
		}
		next[c.Stream] = want + 1
		id := memKey(c.UserID, c.CommandID)
		if _, ok := l.commands[id]; ok || ids[id] {
			return fmt.Errorf("append to %q: %w", c.Stream, domain.ErrDuplicateCommand)
		}
		ids[id] = true
	}
	for _, c := range commits {
		c.Placed(l.epoch, uint64(len(l.commits))+1)
		l.commits = append(l.commits, c)
		l.streams[c.Stream] = append(l.streams[c.Stream], c)
		l.commands[memKey(c.UserID, c.CommandID)] = c
	}
	close(l.grown)
	l.grown = make(chan struct{})
	return nil
}

func (l *memLog) FindCommand(_ context.Context, userID, commandID string) (*domain.Commit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.commands[memKey(userID, commandID)]; ok {
		return c, nil
	}
	return nil, fmt.Errorf("command %s: %w", commandID, domain.ErrNotFound)
}

func (l *memLog) Read(_ context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return window(l.commits, after, limit), nil
}

func (l *memLog) ReadStream(_ context.Context, stream string, after uint64, limit int) ([]*domain.Commit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return window(l.streams[stream], after, limit), nil
}

func window(commits []*domain.Commit, after uint64, limit int) []*domain.Commit {
	after = min(after, uint64(len(commits)))
	return commits[after:min(after+uint64(limit), uint64(len(commits)))]
}

func (l *memLog) Head() domain.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.commits) == 0 {
		return domain.Position{Epoch: l.epoch}
	}
	return l.commits[len(l.commits)-1].Position
}

func (l *memLog) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	for {
		l.mu.Lock()
		commits, grown := window(l.commits, after, limit), l.grown
		l.mu.Unlock()
		if len(commits) > 0 {
			return commits, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *memLog) Check(p domain.Position) error {
	if head := l.Head(); p.Epoch != head.Epoch || p.Seq > head.Seq {
		return domain.ErrUnknownPosition
	}
	return nil
}
