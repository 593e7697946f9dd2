package eventlog

import (
	"fmt"
	"os"
	"time"

	"bms/domain"
)

const (
	// retryFirst and retryLast bound the pause after a failure. It doubles:
	// each try opens both files and indexes again what the index had not
	// flushed, which a full disk would otherwise make every command do.
	retryFirst = 50 * time.Millisecond
	retryLast  = time.Second
)

// failures is what the writer knows of failures in a row. The second in a row
// begins a pause, in which it refuses what it is asked and touches no file; then
// it tries by itself, since a node that is not ready is asked nothing.
type failures struct {
	tries int
	until time.Time // of the pause
	wrote bool      // since the last failure
	timer *time.Timer
}

// fail notes a failure, whose error it returns as appends get it.
func (w *writer) fail(err error) error {
	err = fmt.Errorf("%w: %w", domain.ErrLogUnavailable, err)
	if w.log.failing.Swap(&err) == nil { // once, not for every group of a full disk
		w.log.config.Logger.Error("log takes no commits", "error", err)
	}
	f := &w.failures
	f.wrote = false
	pause := time.Duration(0)
	if f.tries++; f.tries > 1 {
		pause = min(retryFirst<<min(f.tries-2, 10), retryLast)
	}
	f.until = time.Now().Add(pause)
	f.timer.Reset(max(pause, retryFirst))
	return err
}

// refusal is the answer to all that comes in a pause, nil after it.
func (w *writer) refusal() error {
	if err := w.log.failing.Load(); err != nil && time.Now().Before(w.failures.until) {
		return *err
	}
	return nil
}

// succeed notes that commits were written.
func (w *writer) succeed() {
	w.failures.wrote = true
	w.works()
}

// flushed notes that the index owes nothing. Only then, and if commits were
// written, is the next failure the first one again.
func (f *failures) flushed() {
	if f.wrote {
		f.tries = 0
	}
}

func (w *writer) works() {
	if w.log.failing.Swap(nil) != nil {
		w.log.config.Logger.Info("log takes commits again")
	}
}

// probe finds out whether the log takes commits again, by writing something.
func (w *writer) probe() {
	if w.log.failing.Load() == nil {
		return
	}
	if w.conn == nil {
		if err := w.recover(); err != nil {
			_ = w.fail(err)
			return
		}
	}
	w.log.hook("probing")
	if err := w.conn.exec(w.marking()); err != nil {
		_ = w.fail(err)
		w.abandon()
		return
	}
	w.failures.until = time.Time{}
	w.works()
}

// Failing says why the log takes no commits, or why its index can't be relied
// upon, with an error that wraps domain.ErrLogUnavailable. It is nil while all is
// well, and again after at most a second if all is well again; an index that is
// damaged twice within a minute stays so until the minute is over.
func (l *Log) Failing() error {
	if err := l.failing.Load(); err != nil {
		return *err
	}
	if err := l.pool.doubted.Load(); err != nil {
		return *err
	}
	return nil
}

// Size is what the log takes on disk, in bytes, with its index and what SQLite
// keeps beside both.
func (l *Log) Size() (bytes int64) {
	for _, file := range []string{l.file, l.pool.index} {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if info, err := os.Stat(file + suffix); err == nil {
				bytes += info.Size()
			}
		}
	}
	return bytes
}
