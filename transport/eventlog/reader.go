package eventlog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"bms/domain"
	"bms/projections/pagesum"
)

const (
	// maxBatch is the most commits one read returns.
	maxBatch = 4096
	// maxBatchBytes ends a batch once it has as much, as stored.
	maxBatchBytes = 4 << 20
)

// reader is a connection for reads.
type reader struct {
	conn                       *conn
	bySeq, byStream, byCommand *stmt
	byConsumer, ends           *stmt
	scratch                    []byte
}

// openReader opens a connection; without an index file it finds no commands
// and reads streams by reading the log.
func openReader(file, index string) (*reader, error) {
	c, err := openConn(file, "rw", "busy_timeout(5000)", "cache_size(-8192)")
	if err != nil {
		return nil, err
	}
	r := &reader{conn: c}
	byStream := "SELECT " + columns + " FROM commits WHERE stream = ? AND version > ? ORDER BY seq LIMIT ?"
	byCommand := "SELECT seq FROM commits WHERE false AND ?"
	if index != "" {
		err = c.attach(index, "idx")
		byStream = "SELECT " + columnsOf("c") + " FROM idx.streams i CROSS JOIN commits c ON c.seq = i.seq WHERE i.stream = ? AND i.version > ? ORDER BY i.version LIMIT ?"
		byCommand = "SELECT seq FROM idx.commands WHERE id = ?"
	}
	if err == nil {
		err = c.exec("PRAGMA query_only = 1")
	}
	for _, p := range []struct {
		stmt **stmt
		sql  string
	}{
		{&r.bySeq, "SELECT " + columns + " FROM commits WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"},
		{&r.byStream, byStream},
		{&r.byCommand, byCommand},
		{&r.ends, "SELECT (SELECT min(seq) FROM commits), (SELECT max(seq) FROM commits)"},
		{&r.byConsumer, "SELECT seq FROM offsets WHERE consumer = ? AND topic = ?"},
	} {
		if err == nil {
			*p.stmt, err = c.prepare(p.sql)
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return r, nil
}

// columnsOf qualifies the columns with a table's name.
func columnsOf(table string) string {
	return table + "." + strings.ReplaceAll(columns, ", ", ", "+table+".")
}

// pool lends readers out, one to a goroutine.
type pool struct {
	file, index string
	free        chan *reader
	opened      int
	gate        sync.RWMutex // held while reading, so that the writer can start a write-ahead log over
	closed      chan struct{}
	// doubted is why a reader doubts the index, nil while none does; wake is
	// called when it is set. The writer makes the index anew.
	doubted   atomic.Pointer[error]
	wake      func()
	withdrawn bool // the index is taken from the readers; the writer's
}

func newPool(file, index string, readers int) *pool {
	return &pool{file: file, index: index, free: make(chan *reader, readers), closed: make(chan struct{})}
}

// open opens the readers; close is due also after an error.
func (p *pool) open(readers int) error {
	for range readers {
		r, err := openReader(p.file, p.index)
		if err != nil {
			return err
		}
		p.free <- r
		p.opened++
	}
	return nil
}

// each calls f with every reader; none is in use meanwhile.
func (p *pool) each(f func(*reader) error) error {
	var readers []*reader
	for range p.opened {
		readers = append(readers, <-p.free)
	}
	var errs []error
	for _, r := range readers {
		errs = append(errs, f(r))
		p.free <- r
	}
	return errors.Join(errs...)
}

// doubt has the writer make the index anew for an error that it returns as one of
// something that will pass.
func (p *pool) doubt(err error) error {
	err = fmt.Errorf("%w: index %s: %w", domain.ErrLogUnavailable, p.index, err)
	if p.index != "" && p.doubted.CompareAndSwap(nil, &err) {
		p.wake()
	}
	return err
}

// with calls f with a reader, waiting for one until ctx ends or the pool is
// closed.
func (p *pool) with(ctx context.Context, f func(*reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case r := <-p.free:
		defer func() { p.free <- r }()
		p.gate.RLock()
		defer p.gate.RUnlock()
		return p.explain(f(r))
	case <-ctx.Done():
		return ctx.Err()
	case <-p.closed:
		return errClosed
	}
}

// explain wraps what a read returns in the log's errors.
func (p *pool) explain(err error) error {
	switch {
	case err == nil, errors.Is(err, domain.ErrCorrupt), errors.Is(err, domain.ErrNotFound), errors.Is(err, domain.ErrLogUnavailable):
		return err
	case pagesum.Damaged(err): // only the index has such pages
		return p.doubt(err)
	case isDamage(err):
		return fmt.Errorf("%w: %s: %w", domain.ErrCorrupt, p.file, err)
	case code(err) != 0:
		return fmt.Errorf("%w: read %s: %w", domain.ErrLogUnavailable, p.file, err)
	}
	return err
}

// close waits for reads under way and closes the connections. Called once.
func (p *pool) close() error {
	close(p.closed)
	var errs []error
	for range p.opened {
		errs = append(errs, (<-p.free).conn.close())
	}
	return errors.Join(errs...)
}

func (p *pool) damage(seq uint64, err error) error {
	return fmt.Errorf("%w: %s: commit %d: %w", domain.ErrCorrupt, p.file, seq, err)
}

// read returns commits after a sequence up to last, and checks that none is
// missing.
func (p *pool) read(ctx context.Context, es epochs, after, last uint64, limit int) ([]*domain.Commit, error) {
	var commits []*domain.Commit
	err := p.with(ctx, func(r *reader) error {
		commits = make([]*domain.Commit, 0, min(uint64(limit), last-after))
		next, bytes := after+1, 0
		err := r.bySeq.each(func(row []driver.Value) (bool, error) {
			c, seq, err := r.decode(row)
			if err != nil {
				return false, p.damage(max(seq, next), err)
			}
			if seq != next {
				return false, p.damage(next, fmt.Errorf("it is missing, the next there is %d", seq))
			}
			c.Placed(es.of(seq), seq)
			commits = append(commits, c)
			next++
			bytes += len(r.scratch)
			return bytes < maxBatchBytes && len(commits) < limit, nil
		}, int64(after), int64(last), int64(limit))
		if err == nil && next <= last && len(commits) < limit && bytes < maxBatchBytes {
			err = p.damage(next, errors.New("it is missing at the end"))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return commits, nil
}

// readStream is read within one stream; t has what the index file has not.
func (p *pool) readStream(ctx context.Context, es epochs, t *tail, stream string, after uint64, limit int, first, last uint64) ([]*domain.Commit, error) {
	// The tail is looked at first: what leaves it is in the file by then.
	recent := t.stream(stream, after, limit)
	var commits []*domain.Commit
	next, bytes, before := after+1, 0, uint64(0)
	take := func(row []driver.Value, r *reader) (bool, error) {
		c, seq, err := r.decode(row)
		switch {
		case err != nil:
			return false, p.damage(seq, err)
		case seq > last:
			return false, nil
		case c.Stream != stream, c.Version != next && (first <= 1 || len(commits) > 0), seq <= before:
			err := p.damage(seq, fmt.Errorf("it is version %d of %q, want version %d of %q", c.Version, c.Stream, next, stream))
			_ = p.doubt(err) // the row is sound
			return false, err
		}
		c.Placed(es.of(seq), seq)
		commits = append(commits, c)
		next, before = c.Version+1, seq
		bytes += len(r.scratch)
		return bytes < maxBatchBytes && len(commits) < limit, nil
	}
	err := p.with(ctx, func(r *reader) error {
		err := r.byStream.each(func(row []driver.Value) (bool, error) { return take(row, r) }, stream, int64(after), int64(limit))
		if isDamage(err) && isDamage(r.lookUp(stream, after)) { // and not the log
			err = p.doubt(err)
		}
		for _, e := range recent {
			if err != nil || bytes >= maxBatchBytes || len(commits) == limit {
				break
			}
			if e.seq > before {
				err = r.bySeq.each(func(row []driver.Value) (bool, error) { return take(row, r) }, int64(e.seq-1), int64(e.seq), int64(1))
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return commits, nil
}

// lookUp reads what the index has of a stream.
func (r *reader) lookUp(stream string, after uint64) error {
	_, err := r.conn.queryOne("SELECT sum(seq) FROM idx.streams WHERE stream = ? AND version > ?", stream, int64(after))
	return err
}

// look finds the epochs and the ends of a log that another process writes.
func (p *pool) look(ctx context.Context) (es epochs, first, last uint64, err error) {
	err = p.with(ctx, func(r *reader) error {
		row, err := r.ends.one()
		if err != nil {
			return err
		}
		from, _ := row[0].(int64)
		to, _ := row[1].(int64)
		first, last = uint64(max(from, 1)), uint64(to)
		// Read after the end, so that an epoch is known before its commits.
		es, err = loadEpochs(r.conn)
		return err
	})
	if err == nil && len(es) == 0 {
		err = fmt.Errorf("%w: %s has no epoch", domain.ErrCorrupt, p.file)
	}
	return es, first, last, err
}

// find returns the commit of a command; t has what the index file has not.
func (p *pool) find(ctx context.Context, es epochs, t *tail, userID, commandID string, last uint64) (*domain.Commit, error) {
	key := commandKey(userID, commandID)
	seq := t.command(key)
	var found *domain.Commit
	err := p.with(ctx, func(r *reader) error {
		if seq == 0 {
			row, err := r.byCommand.one(key[:])
			if isDamage(err) {
				err = p.doubt(err)
			}
			if err != nil || row == nil {
				return err
			}
			n, _ := row[0].(int64)
			seq = uint64(n)
		}
		if seq > last {
			return nil
		}
		err := r.bySeq.each(func(row []driver.Value) (bool, error) {
			c, _, err := r.decode(row)
			if err != nil {
				return false, p.damage(seq, err)
			}
			if c.UserID != userID || c.CommandID != commandID { // and the row is sound
				return false, p.doubt(fmt.Errorf("it has commit %d for a command of which that is not", seq))
			}
			c.Placed(es.of(seq), seq)
			found = c
			return false, nil
		}, int64(seq-1), int64(seq), int64(1))
		if err == nil && found == nil {
			err = p.damage(seq, errors.New("it is missing"))
		}
		return err
	})
	if err == nil && found == nil {
		err = fmt.Errorf("command %q of user %q: %w", commandID, userID, domain.ErrNotFound)
	}
	return found, err
}

// offset is how far a consumer group has acknowledged a topic.
func (p *pool) offset(ctx context.Context, consumer, topic string) (seq uint64, err error) {
	err = p.with(ctx, func(r *reader) error {
		row, err := r.byConsumer.one(consumer, topic)
		if row != nil {
			n, _ := row[0].(int64)
			seq = uint64(n)
		}
		return err
	})
	return seq, err
}

func (r *reader) decode(row []driver.Value) (c *domain.Commit, seq uint64, err error) {
	c, seq, r.scratch, err = decode(row, r.scratch)
	return c, seq, err
}
