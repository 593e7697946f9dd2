package eventlog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"bms/domain"
)

// writer is the one goroutine that writes, with its connection and what it
// knows of the end of the log.
type writer struct {
	log  *Log
	conn *conn // nil after a failed transaction, until the next group
	last uint64
	// heads are changed while a group is planned and dropped if it fails.
	heads *heads

	version, command *stmt
	begin, commit    *stmt
	insert           *stmt // one row
	insertMany       *stmt // manyRows rows
	many             []driver.Value

	group   []*record // scratch: what the plan appends
	written int64     // bytes since the last checkpoint was asked for
}

// manyRows is the number of rows inserted by one statement where a group has as
// many.
const manyRows = 16

func (w *writer) open() error {
	c, err := openConn(w.log.file, "rw", w.log.writerPragmas()...)
	if err != nil {
		return err
	}
	insert := "INSERT INTO commits (" + columns + ") VALUES "
	row := "(?,?,?,?,?,?,?,?,?,?,?,?,?)"
	rows := row
	for range manyRows - 1 {
		rows += "," + row
	}
	for _, p := range []struct {
		stmt **stmt
		sql  string
	}{
		{&w.version, "SELECT max(version) FROM commits WHERE stream = ?"},
		{&w.command, "SELECT 1 FROM commits WHERE command_id = ? AND user_id = ? AND command_id <> ''"},
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commit, "COMMIT"},
		{&w.insert, insert + row},
		{&w.insertMany, insert + rows},
	} {
		if *p.stmt, err = c.prepare(p.sql); err != nil {
			return errors.Join(err, c.close())
		}
	}
	w.conn = c
	return nil
}

// run takes groups until the queue is closed and empty.
func (w *writer) run() {
	q := w.log.queue
	var calls []*call
	for open := true; open; {
		<-q.gathers
		calls, open = q.take(calls)
		if len(calls) > 0 {
			w.write(calls)
		}
		clear(calls)
		w.tend()
	}
}

// write appends a group in one transaction and answers its calls.
func (w *writer) write(calls []*call) {
	errs := make([]error, len(calls))
	err := w.transact(calls, errs, false)
	if isConstraint(err) {
		// A command that is in the log already. Rare, so the way to find
		// out which one is only taken now.
		clear(errs)
		err = w.transact(calls, errs, true)
	}
	if err != nil {
		w.log.config.Logger.Error("append failed", "calls", len(calls), "error", err)
		err = fmt.Errorf("%w: %w", domain.ErrLogUnavailable, err)
	} else {
		w.last += uint64(len(w.group))
		epoch := w.log.epochs.current()
		for _, r := range w.group {
			r.commit.Placed(epoch, uint64(r.columns[colSeq].(int64)))
			w.written += int64(r.bytes)
		}
		w.log.hook("durable")
		w.log.recent.add(w.group)
	}
	clear(w.group)
	for i, c := range calls {
		if errs[i] == nil {
			errs[i] = err
		}
		w.log.queue.answer(c, errs[i])
	}
}

// transact plans a group, setting the errors of calls that are refused, and
// commits the rest. After an error nothing of the group is in the log, unless
// it was the COMMIT that failed.
func (w *writer) transact(calls []*call, errs []error, careful bool) (err error) {
	w.group = w.group[:0]
	if w.conn == nil {
		if err := w.recover(); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			w.abandon(err)
		}
	}()
	if err := w.begin.run(); err != nil {
		return err
	}
	offsets, err := w.plan(calls, errs, careful)
	if err != nil {
		return err
	}
	w.log.hook("begun")
	if err := w.insertGroup(); err != nil {
		return err
	}
	for _, o := range offsets {
		if err := o.store(w.conn); err != nil {
			return err
		}
	}
	w.log.hook("inserted")
	return w.commit.run()
}

// abandon ends a failed transaction and drops all that was assumed. After a
// constraint the connection is sound; after anything else it is closed, so
// that the next group begins from what is on disk.
func (w *writer) abandon(cause error) {
	w.heads.clear()
	w.group = w.group[:0]
	if isConstraint(cause) && w.conn.exec("ROLLBACK") == nil {
		return
	}
	_ = w.conn.close() // rolls back; it failed already
	w.conn = nil
}

// recover opens the connection anew after a failure and finds the end of the
// log: a COMMIT that failed may yet have been kept.
func (w *writer) recover() error {
	if err := w.open(); err != nil {
		return err
	}
	if err := w.find(); err != nil {
		err = errors.Join(err, w.conn.close())
		w.conn = nil
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

// plan decides which calls can be appended, places their records and gathers
// them in w.group. A call is refused as a whole. careful looks up every
// command id, in the log and in the group.
func (w *writer) plan(calls []*call, errs []error, careful bool) (offsets []*offset, err error) {
	var ids map[[2]string]bool
	if careful {
		ids = make(map[[2]string]bool)
	}
	next := w.last + 1
	for i, c := range calls {
		if c.offset != nil {
			offsets = append(offsets, c.offset)
			continue
		}
		if e := c.ctx.Err(); e != nil {
			errs[i] = e
			continue
		}
		n := 0
		for _, r := range c.records {
			if errs[i], err = w.admit(r, ids); err != nil {
				return nil, err
			}
			if errs[i] != nil {
				break
			}
			n++
		}
		if errs[i] != nil {
			for _, r := range c.records[:n] { // undo, last first not needed: each lowers by one
				version, _ := w.heads.get(r.commit.Stream)
				w.heads.set(r.commit.Stream, version-1)
				delete(ids, [2]string{r.commit.UserID, r.commit.CommandID})
			}
			continue
		}
		for _, r := range c.records {
			r.place(next)
			next++
		}
		w.group = append(w.group, c.records...)
	}
	return offsets, nil
}

// admit says why a record can't be the next of its stream, or moves the
// stream's head on. err is a fault of the file.
func (w *writer) admit(r *record, ids map[[2]string]bool) (refusal, err error) {
	c := r.commit
	head, known := w.heads.get(c.Stream)
	if !known {
		row, err := w.version.one(c.Stream)
		if err != nil {
			return nil, err
		}
		v, _ := row[0].(int64)
		head = uint64(v)
		w.heads.set(c.Stream, head)
	}
	if c.Version != head+1 {
		return fmt.Errorf("append to %q: version %d, the next is %d: %w", c.Stream, c.Version, head+1, domain.ErrVersionConflict), nil
	}
	if ids != nil && c.CommandID != "" {
		id := [2]string{c.UserID, c.CommandID}
		row, err := w.command.one(c.CommandID, c.UserID)
		if err != nil {
			return nil, err
		}
		if row != nil || ids[id] {
			return fmt.Errorf("append to %q: command %q of user %q: %w", c.Stream, c.CommandID, c.UserID, domain.ErrDuplicateCommand), nil
		}
		ids[id] = true
	}
	w.heads.set(c.Stream, c.Version)
	return nil, nil
}

func (w *writer) insertGroup() error {
	g := w.group
	for ; len(g) >= manyRows; g = g[manyRows:] {
		w.many = w.many[:0]
		for _, r := range g[:manyRows] {
			w.many = append(w.many, r.columns[:]...)
		}
		if err := w.insertMany.run(w.many...); err != nil {
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

// tend keeps the write-ahead log short: it asks for a checkpoint when enough
// was written, and starts the write-ahead log over when the checkpointer says
// that little is left to copy. Readers wait meanwhile.
func (w *writer) tend() {
	if w.written >= w.log.config.CheckpointBytes {
		w.written = 0
		w.log.checkpoints.ask()
	}
	if !w.log.checkpoints.copied.Swap(false) || w.conn == nil {
		return
	}
	w.log.pool.gate.Lock()
	defer w.log.pool.gate.Unlock()
	if _, _, err := walCheckpoint(w.conn, "RESTART"); err != nil {
		w.log.config.Logger.Warn("start the write-ahead log over", "error", err)
	}
}

// Append implements domain.Appender. When the queue is full it waits until
// there is room or ctx ends; without an end of ctx it waits for the writer. A
// call is kept as a whole or not at all. An error that is none of domain's nor
// the context's says that a commit can't be stored as it is (text that is not
// UTF-8, data that is not JSON); nothing of the call is in the log then.
func (l *Log) Append(ctx context.Context, commits ...*domain.Commit) error {
	if len(commits) == 0 {
		return nil
	}
	c := &call{ctx: ctx, records: make([]*record, len(commits)), done: make(chan error, 1)}
	bytes := 0
	for i, commit := range commits {
		r, err := encode(commit)
		if err != nil {
			return fmt.Errorf("append: %w", err)
		}
		c.records[i] = r
		bytes += r.bytes
	}
	return l.submit(c, bytes)
}

func (l *Log) submit(c *call, bytes int) error {
	if err := l.queue.put(c, bytes); err != nil {
		return err
	}
	select {
	case err := <-c.done:
		return err
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}
