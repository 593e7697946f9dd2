package eventlog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"bms/domain"
)

// writer is the one goroutine that writes, with its connections and what it
// knows of the end of the log.
type writer struct {
	log   *Log
	conn  *conn  // nil after a failed transaction, until the next group
	index *index // nil when conn is
	last  uint64
	heads *heads // ahead of the log while a group is planned; dropped if it fails

	begin, commit *stmt
	insert        *stmt // one row
	insertMany    *stmt // manyRows rows
	setOffset     *stmt
	values        []driver.Value

	group   []*record // scratch: what the plan appends
	offsets []*offset
	entries []indexEntry
	written int64 // bytes since the last checkpoint was asked for

	failures failures
	damage   error // of the index, which is made anew before it is used again
	remakes  remakes
}

// manyRows is the number of rows inserted by one statement where a group has as
// many.
const manyRows = 16

// open opens both files. remake allows it to make a damaged index anew.
func (w *writer) open(remake bool) error {
	c, err := openConn(w.log.file, "rw", w.log.writerPragmas()...)
	if err != nil {
		return err
	}
	if err := w.prepareInserts(c); err != nil {
		return errors.Join(err, c.close())
	}
	for _, p := range []struct {
		stmt **stmt
		sql  string
	}{
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commit, "COMMIT"},
		{&w.setOffset, "INSERT INTO offsets (consumer, topic, seq) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq"},
	} {
		if *p.stmt, err = c.prepare(p.sql); err != nil {
			return errors.Join(err, c.close())
		}
	}
	x := w.newIndex()
	if err := x.bringUp(w.log.pool.index, c, remake, w.log.lossy); err != nil {
		return errors.Join(err, c.close())
	}
	w.conn, w.index = c, x
	return nil
}

func (w *writer) newIndex() *index {
	return &index{
		tail: &w.log.tail, gate: &w.log.pool.gate, batch: w.log.config.IndexBatch,
		hook: w.log.hook, logger: w.log.config.Logger,
	}
}

// prepareInserts makes what insertGroup needs.
func (w *writer) prepareInserts(c *conn) (err error) {
	const insert, row = "INSERT INTO commits (" + columns + ") VALUES ", "(?,?,?,?,?,?,?,?,?,?,?,?,?)"
	if w.insert, err = c.prepare(insert + row); err != nil {
		return err
	}
	w.insertMany, err = c.prepare(insert + row + strings.Repeat(","+row, manyRows-1))
	return err
}

// close leaves the mark of a clean stop; called when run has ended and all
// other connections are closed.
func (w *writer) close() error {
	if w.conn == nil {
		return nil
	}
	return errors.Join(
		w.index.flushAt(1),
		w.index.close(),
		// Within one file the mark can't reach the disk before what it
		// vouches for.
		w.conn.exec("PRAGMA synchronous = FULL; DELETE FROM meta WHERE key = 'open'"),
		w.conn.close(),
	)
}

// run takes groups until the queue is closed and empty.
func (w *writer) run() {
	q := w.log.queue
	w.failures.timer, w.remakes.timer = time.NewTimer(0), time.NewTimer(0)
	defer w.failures.timer.Stop()
	defer w.remakes.timer.Stop()
	var calls []*call
	for open := true; open; {
		select {
		case <-q.gathers:
		case <-w.failures.timer.C:
			w.probe()
			w.tend()
			continue
		case <-w.remakes.timer.C:
			w.tend()
			continue
		}
		// Those who were just answered come again in a moment; together they
		// cost one fsync.
		runtime.Gosched()
		calls, open = q.take(calls)
		if len(calls) > 0 {
			w.write(calls)
		}
		clear(calls)
		w.tend()
	}
}

// write appends a group in one transaction and answers its calls. While the log
// takes no commits and it is not yet time to try again, it refuses them.
func (w *writer) write(calls []*call) {
	errs := make([]error, len(calls))
	err := w.refusal()
	if err == nil {
		err = w.try(calls, errs)
	}
	for i, c := range calls {
		if err != nil {
			// Also to those who were refused: it may have been for the
			// sake of a commit that now is not there.
			errs[i] = err
		}
		w.log.queue.answer(c, errs[i])
	}
	clear(w.group)
	clear(w.offsets)
}

func (w *writer) try(calls []*call, errs []error) error {
	began := time.Now()
	err := w.transact(calls, errs)
	if observe := w.log.config.Observe; observe != nil && (err != nil || len(w.group) > 0) {
		observe(Transaction{Commits: len(w.group), Took: time.Since(began), Err: err})
	}
	if err != nil {
		err = w.fail(err)
		if w.conn == nil {
			// Whoever now asks the log what has become of it should
			// get the answer. If it fails, it is tried again.
			_ = w.recover()
		}
		return err
	}
	w.publish()
	if len(w.group) > 0 {
		w.succeed()
	}
	return nil
}

// publish makes a group visible. It is durable.
func (w *writer) publish() {
	w.log.hook("durable")
	epoch := w.log.epochs.current()
	w.entries = w.entries[:0]
	for _, r := range w.group {
		w.last = r.entry.seq
		r.commit.Version = r.entry.version
		r.commit.Placed(epoch, w.last)
		w.entries = append(w.entries, r.entry)
		w.written += int64(r.bytes)
	}
	if w.log.checkpoints.relaxed {
		w.log.checkpoints.dirty.Store(true)
	}
	w.log.tail.add(w.entries)
	w.index.pending += len(w.group)
	w.log.recent.add(w.group)
}

// transact plans a group, setting the errors of calls that are refused, and
// commits the rest. After an error nothing of the group is in the log, unless
// it was the COMMIT that failed.
func (w *writer) transact(calls []*call, errs []error) (err error) {
	w.group, w.offsets = w.group[:0], w.offsets[:0]
	if w.conn == nil {
		if err := w.recover(); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			w.abandon()
		}
	}()
	w.log.hook("planning")
	if err := w.plan(calls, errs); err != nil {
		w.doubt(err)
		return err
	}
	if len(w.group) == 0 && len(w.offsets) == 0 {
		return nil
	}
	if err := w.begin.run(); err != nil {
		return err
	}
	w.log.hook("begun")
	if err := w.insertGroup(); err != nil {
		return err
	}
	for _, o := range w.offsets {
		if err := w.setOffset.run(o.consumer, o.topic, int64(o.seq)); err != nil {
			return err
		}
	}
	w.log.hook("inserted")
	return w.commit.run()
}

// abandon ends a failed transaction and drops all that was assumed: the next
// group begins from what is on disk. Closing rolls back; that it fails too, on
// a disk that fails, is no news.
func (w *writer) abandon() {
	w.heads.clear()
	w.group, w.offsets = w.group[:0], w.offsets[:0]
	_ = w.index.close()
	_ = w.conn.close()
	w.conn, w.index = nil, nil
}

// recover opens the files anew after a failure and finds the end of the log: a
// COMMIT that failed may yet have been kept.
func (w *writer) recover() error {
	if err := w.reopen(); err != nil {
		return err
	}
	if err := w.find(); err != nil {
		w.abandon()
		return err
	}
	return nil
}

// find makes the end of the file the end of the log.
func (w *writer) find() error {
	row, err := w.conn.queryOne("SELECT max(seq) FROM commits")
	if err != nil {
		return err
	}
	n, _ := row[0].(int64)
	last := uint64(n)
	switch {
	case last == w.last:
		return nil
	case last < w.last:
		return fmt.Errorf("%w: %s ends at commit %d, it had %d", domain.ErrCorrupt, w.log.file, last, w.last)
	}
	commits, err := w.log.pool.read(context.Background(), w.log.epochs, last-1, last, 1)
	if err != nil {
		return err
	}
	w.last = last
	w.log.recent.jump(commits[0].Position)
	return nil
}

// plan decides which calls can be appended, enters their commits into the index
// and gathers them in w.group. A call is refused as a whole.
func (w *writer) plan(calls []*call, errs []error) (err error) {
	for i, c := range calls {
		if c.offset != nil {
			w.offsets = append(w.offsets, c.offset)
			continue
		}
		if errs[i] = c.ctx.Err(); errs[i] != nil {
			continue
		}
		admitted := 0
		for _, r := range c.records {
			if errs[i], err = w.admit(r, w.last+1+uint64(len(w.group))+uint64(admitted)); err != nil {
				return err
			}
			if errs[i] != nil {
				break
			}
			admitted++
		}
		if errs[i] == nil {
			w.group = append(w.group, c.records...)
			continue
		}
		for _, r := range c.records[:admitted] {
			version, _ := w.heads.get(r.entry.stream)
			w.heads.set(r.entry.stream, version-1)
			if err := w.index.drop(&r.entry); err != nil {
				return err
			}
		}
	}
	return nil
}

// admit enters a record under a sequence, or says why it is refused. err is a
// fault of the index.
func (w *writer) admit(r *record, seq uint64) (refusal, err error) {
	c := r.commit
	head, known := w.heads.get(c.Stream)
	if !known {
		row, err := w.index.version.one(c.Stream)
		if err != nil {
			return nil, err
		}
		v, _ := row[0].(int64)
		head = uint64(v)
		w.heads.set(c.Stream, head)
	}
	if c.Version != head+1 && !r.next {
		return fmt.Errorf("append to %q: version %d, the next is %d: %w", c.Stream, c.Version, head+1, domain.ErrVersionConflict), nil
	}
	r.place(seq, head+1)
	fresh, err := w.index.add(&r.entry)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return fmt.Errorf("append to %q: command %q of user %q: %w", c.Stream, c.CommandID, c.UserID, domain.ErrDuplicateCommand), nil
	}
	w.heads.set(c.Stream, head+1)
	return nil, nil
}

func (w *writer) insertGroup() error {
	g := w.group
	for ; len(g) >= manyRows; g = g[manyRows:] {
		w.values = w.values[:0]
		for _, r := range g[:manyRows] {
			w.values = append(w.values, r.columns[:]...)
		}
		if err := w.insertMany.run(w.values...); err != nil {
			return err
		}
	}
	for _, r := range g {
		if err := w.insert.run(r.columns[:]...); err != nil {
			return err
		}
	}
	return nil
}

// tend does what is due between two groups: it flushes a long index, asks for
// a checkpoint when enough was written, and starts the write-ahead log over
// when the checkpointer says that little is left to copy. Readers wait
// meanwhile.
func (w *writer) tend() {
	if w.conn == nil {
		return
	}
	err := w.index.flushAt(w.index.batch)
	if err == nil && w.log.pool.doubted.Load() != nil && w.remakes.due() {
		err = errDoubted
	}
	if err != nil {
		w.doubt(err)
		_ = w.fail(fmt.Errorf("index %s: %w", w.log.pool.index, err))
		w.abandon()
		return
	}
	w.failures.flushed()
	if w.written >= w.log.config.CheckpointBytes {
		w.written = 0
		w.log.checkpoints.ask()
	}
	if !w.log.checkpoints.copied.Swap(false) {
		return
	}
	w.log.pool.gate.Lock()
	defer w.log.pool.gate.Unlock()
	if _, _, err := walCheckpoint(w.conn, "main"); err != nil {
		w.log.config.Logger.Warn("start the write-ahead log over", "error", err)
	}
}
