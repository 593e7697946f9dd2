package eventlog

import (
	"context"

	"bms/domain"
)

// Read implements domain.Reader. A limit below 1 means as many as a batch
// holds, which is 4096 commits or 4 MiB.
func (l *Log) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	if err := l.usable(ctx); err != nil {
		return nil, err
	}
	limit = batch(limit)
	commits, last, ok := l.recent.read(after, limit)
	if ok {
		return commits, nil
	}
	return l.pool.read(ctx, l.epochs, max(after, l.first-1), last, limit)
}

// ReadStream implements domain.Reader. A limit below 1 means as many as a
// batch holds, which is 4096 commits or 4 MiB.
func (l *Log) ReadStream(ctx context.Context, stream string, after uint64, limit int) ([]*domain.Commit, error) {
	if err := l.usable(ctx); err != nil {
		return nil, err
	}
	last := l.recent.head().Seq
	return l.pool.readStream(ctx, l.epochs, &l.tail, stream, after, batch(limit), l.first, last)
}

// FindCommand implements domain.Appender.
func (l *Log) FindCommand(ctx context.Context, userID, commandID string) (*domain.Commit, error) {
	if err := l.usable(ctx); err != nil {
		return nil, err
	}
	last := l.recent.head().Seq
	return l.pool.find(ctx, l.epochs, &l.tail, userID, commandID, last)
}

// Head implements domain.Follower.
func (l *Log) Head() domain.Position {
	return l.recent.head()
}

// Next implements domain.Follower.
func (l *Log) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	for {
		commits, err := l.Read(ctx, after, limit)
		if err != nil || len(commits) > 0 {
			return commits, err
		}
		grown := l.recent.wait(after)
		if grown == nil {
			continue
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.stop:
			return nil, errClosed
		}
	}
}

// Check implements domain.Follower.
func (l *Log) Check(p domain.Position) error {
	last := l.recent.head().Seq
	return l.epochs.check(p, l.first, last)
}

func (l *Log) usable(ctx context.Context) error {
	select {
	case <-l.stop:
		return errClosed
	default:
		return ctx.Err()
	}
}

func batch(limit int) int {
	if limit < 1 || limit > maxBatch {
		return maxBatch
	}
	return limit
}
