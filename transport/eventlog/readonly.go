package eventlog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bms/domain"
)

// ReadOnly reads the log in a folder that another process may be writing, for
// programs that look at it from outside. It takes no lock and changes nothing.
// It sees what is durable, or, with relaxed durability, what the writer has
// accepted.
type ReadOnly struct {
	pool *pool
	stop chan struct{}
}

var (
	_ domain.Reader   = (*ReadOnly)(nil)
	_ domain.Follower = (*ReadOnly)(nil)
)

// pollEvery is how often ReadOnly.Next looks for news: nothing tells one
// process of another's commits.
const pollEvery = 100 * time.Millisecond

// OpenReadOnly opens the log in a folder for reading. Its error wraps
// domain.ErrCorrupt if the end of the log is damaged, as that of Open does. The
// caller closes what it returns.
func OpenReadOnly(ctx context.Context, dir string) (*ReadOnly, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("log folder %q: %w", dir, err)
	}
	file := filepath.Join(dir, fileName)
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("there is no log in folder %q: %w", dir, err)
	}
	if err := undamaged(dir, file); err != nil {
		return nil, fmt.Errorf("open log %s: %w", file, err)
	}
	r := &ReadOnly{pool: newPool(file, "", 2), stop: make(chan struct{})}
	err = r.pool.open(2)
	if err == nil {
		_, _, _, err = r.pool.look(ctx)
	}
	if err != nil {
		_ = r.pool.close() // the first error is the one that counts
		return nil, fmt.Errorf("open log %s: %w", file, damaged(err))
	}
	return r, nil
}

// undamaged is Log.inspect for one who has not locked the folder: SQLite would
// recover, and with the last connection drop, the write-ahead log for any
// program. While another process writes, what is read of it means nothing.
func undamaged(dir, file string) error {
	wal, err := inspectWAL(file)
	if err != nil {
		return err
	}
	if err := wal.damage(); err != nil && !lockHeld(dir) && markedAs(file) != Relaxed {
		return err
	}
	return nil
}

// Read implements domain.Reader. A limit below 1 means as many as a batch
// holds, which is 4096 commits or 4 MiB.
func (r *ReadOnly) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	es, first, last, err := r.pool.look(ctx)
	if err != nil || after >= last {
		return nil, err
	}
	return r.pool.read(ctx, es, max(after, first-1), last, batch(limit))
}

// ReadStream implements domain.Reader. It reads the whole log.
func (r *ReadOnly) ReadStream(ctx context.Context, stream string, after uint64, limit int) ([]*domain.Commit, error) {
	es, first, last, err := r.pool.look(ctx)
	if err != nil {
		return nil, err
	}
	return r.pool.readStream(ctx, es, &tail{}, stream, after, batch(limit), first, last)
}

// Head implements domain.Follower. It is the zero Position if the log can't be
// read.
func (r *ReadOnly) Head() domain.Position {
	es, _, last, err := r.pool.look(context.Background())
	if err != nil {
		return domain.Position{}
	}
	head := domain.Position{Epoch: es.current(), Seq: last}
	if last == 0 {
		return head
	}
	commits, err := r.pool.read(context.Background(), es, last-1, last, 1)
	if err != nil {
		return domain.Position{}
	}
	head.Index = commits[0].Position.Index
	return head
}

// Next implements domain.Follower. It looks for news every 100 ms.
func (r *ReadOnly) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		commits, err := r.Read(ctx, after, limit)
		if err != nil || len(commits) > 0 {
			return commits, err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.stop:
			return nil, errClosed
		}
	}
}

// Check implements domain.Follower.
func (r *ReadOnly) Check(p domain.Position) error {
	es, first, last, err := r.pool.look(context.Background())
	if err != nil {
		return err
	}
	return es.check(p, first, last)
}

// Close waits for reads under way. It is called once.
func (r *ReadOnly) Close() error {
	close(r.stop)
	return r.pool.close()
}
