package eventlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"modernc.org/sqlite"

	"bms/domain"
)

// ErrInUse is returned by Open when another process, or another Log of this
// one, holds the folder.
var ErrInUse = errors.New("log is in use")

var errClosed = fmt.Errorf("%w: closed", domain.ErrLogUnavailable)

// tailChecked is how many of the last commits Open reads.
const tailChecked = 256

// Log is the durable log in a folder. Make one with Open.
type Log struct {
	config      Config
	file        string
	lock        *lock
	epochs      epochs
	lossy       bool   // the last stop was unclean, with relaxed durability
	first       uint64 // the first sequence kept; 1 for an empty log
	queue       *queue
	recent      *recent
	pool        *pool
	tail        tail
	checkpoints *checkpoints
	writer      *writer
	failing     atomic.Pointer[error] // nil while the log takes commits

	running       sync.WaitGroup
	subscriptions sync.WaitGroup
	claims        claims
	stop          chan struct{} // closed by Close: ends followers and subscriptions
	closing       sync.Once
	closed        error // of the one Close

	hook func(step string) // for tests
}

var _ domain.Log = (*Log)(nil)

// Open opens the log in a folder, making it if there is none. It checks the
// last commits and begins a new epoch for a new log and after an unclean stop
// with relaxed durability. The time it takes doesn't depend on the log's
// length.
//
// It returns an error that wraps ErrInUse if the folder is held by someone
// else, domain.ErrCorrupt if the end of the log is damaged or, with Fsync,
// commits are missing there that may have been answered, and otherwise one that
// says what is wrong with folder or file. The caller closes the log.
func Open(ctx context.Context, config Config) (*Log, error) {
	return openHooked(ctx, config, func(string) {})
}

// openHooked is Open with a function that the writer calls between its steps:
// "planning", "begun", "inserted", "durable", "flushed", "probing", and others
// beside it: "checkpointing" before that, "syncing" before and "synced" after that.
func openHooked(ctx context.Context, config Config, hook func(step string)) (*Log, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("log folder %q: %w", config.Dir, err)
	}
	config.Dir = dir
	held, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	if err := halfRestored(dir); err != nil {
		return nil, errors.Join(err, held.release())
	}
	// On Linux a commit is one fdatasync instead of an fsync: the same
	// durability, half the wait. It is a setting of the process, like the
	// choice of SQLite build; elsewhere there is no such choice.
	if _, err := sqlite.Fdatasync(true); err != nil && !errors.Is(err, sqlite.ErrFdatasyncUnavailable) {
		return nil, errors.Join(err, held.release())
	}
	l := &Log{config: config, file: filepath.Join(dir, fileName), lock: held, hook: hook, stop: make(chan struct{})}
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open log %s: %w", l.file, err), l.release())
	}
	l.running.Go(l.writer.run)
	l.running.Go(func() { l.checkpoints.run(l.stop) })
	if l.checkpoints.relaxed {
		l.running.Go(func() { l.checkpoints.flush(l.stop) })
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) error {
	if err := l.inspect(); err != nil {
		return err
	}
	// The first connection makes the file and its tables.
	setup, err := openConn(l.file, "rwc", "busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)")
	if err != nil {
		return damaged(err)
	}
	last, err := l.prepare(setup)
	if err = errors.Join(err, setup.close()); err != nil {
		return damaged(err)
	}
	l.queue = newQueue(l.config.QueueCalls, l.config.QueueBytes)
	// The writer opens, or makes, the index, which the readers attach.
	l.pool = newPool(l.file, filepath.Join(l.config.Dir, indexName), l.config.Readers)
	l.pool.wake = l.queue.signal
	l.writer = &writer{log: l, last: last, heads: newHeads(l.config.Streams)}
	if err := l.writer.open(true); err != nil {
		return damaged(err)
	}
	if err := removeDatabase(filepath.Join(l.config.Dir, newIndexName)); err != nil {
		return err
	}
	// Last of what is changed: a start that ends before finds again what
	// this one has found.
	if err := l.writer.mark(); err != nil {
		return damaged(err)
	}
	if err := l.pool.open(l.config.Readers); err != nil {
		return err
	}
	end, err := l.checkTail(ctx, last)
	if err != nil {
		return err
	}
	l.recent = newRecent(l.config.RecentCommits, l.config.RecentBytes, end)
	l.checkpoints = &checkpoints{
		many: 16 * l.config.CheckpointBytes / 4096, relaxed: l.config.Durability == Relaxed, logger: l.config.Logger,
		asked: make(chan struct{}, 1), wake: l.queue.signal, hook: l.hook,
	}
	if l.checkpoints.relaxed {
		// SQLite keeps no locks on it, and the file as long as it is open.
		if l.checkpoints.wal, err = os.OpenFile(l.file+"-wal", os.O_RDWR, 0); err != nil {
			return err
		}
	}
	if l.checkpoints.conn, err = openConn(l.file, "rw", "busy_timeout(0)", "synchronous(NORMAL)", "cache_size(-2048)"); err != nil {
		return err
	}
	return l.checkpoints.conn.attach(l.pool.index, "idx")
}

func damaged(err error) error {
	if isDamage(err) {
		return fmt.Errorf("%w: %w", domain.ErrCorrupt, err)
	}
	return err
}

// inspect looks for damage in the write-ahead log before SQLite recovers it, and
// brings it to disk: a commit that the process did not live to sync is in the
// log from here on.
func (l *Log) inspect() error {
	wal, err := inspectWAL(l.file)
	if err != nil {
		return err
	}
	if err := wal.damage(); err != nil {
		if markedAs(l.file) != Relaxed {
			return err
		}
		// What was not synced may be torn in many places; a new epoch says
		// that something may be lost.
		l.config.Logger.Warn("the end of the log is dropped, as after a power cut", "error", err)
	}
	return syncFile(wal.file)
}

// prepare makes or checks the tables, finds the log's ends, and begins an epoch
// where one is due.
func (l *Log) prepare(c *conn) (last uint64, err error) {
	if err := prepareSchema(c); err != nil {
		return 0, err
	}
	row, err := c.queryOne("SELECT (SELECT min(seq) FROM commits), (SELECT max(seq) FROM commits), (SELECT value FROM meta WHERE key = 'open')")
	if err != nil {
		return 0, err
	}
	minimum, _ := row[0].(int64)
	maximum, _ := row[1].(int64)
	l.first, last = uint64(max(minimum, 1)), uint64(maximum)
	left, _ := row[2].(string)
	if l.epochs, err = loadEpochs(c); err != nil {
		return 0, err
	}
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return 0, err
	}
	l.lossy = left == Relaxed
	if len(l.epochs) == 0 || l.lossy {
		if l.epochs, err = l.epochs.begin(c, l.config.Now(), last); err != nil {
			return 0, err
		}
		l.config.Logger.Info("log begins an epoch", "epoch", l.epochs.current(), "after", last, "uncleanStop", l.lossy)
	}
	if end := l.epochs[len(l.epochs)-1].start; end > last+1 {
		return 0, fmt.Errorf("%w: the log ends at commit %d, before the epoch that begins at %d", domain.ErrCorrupt, last, end)
	}
	return last, c.exec("COMMIT")
}

// checkTail reads the last commits and returns the log's head.
func (l *Log) checkTail(ctx context.Context, last uint64) (domain.Position, error) {
	end := domain.Position{Epoch: l.epochs.current(), Seq: max(last-min(last, tailChecked), l.first-1)}
	for end.Seq < last {
		commits, err := l.pool.read(ctx, l.epochs, end.Seq, last, tailChecked)
		if err != nil {
			return end, err
		}
		p := commits[len(commits)-1].Position
		end.Seq, end.Index = p.Seq, p.Index
	}
	return end, nil
}

func (l *Log) writerPragmas() []string {
	sync := "synchronous(FULL)"
	if l.config.Durability == Relaxed {
		sync = "synchronous(NORMAL)"
	}
	return []string{"busy_timeout(5000)", sync, "wal_autocheckpoint(0)", "cache_size(-8192)"}
}

// Durability is Fsync or Relaxed, as configured.
func (l *Log) Durability() string { return l.config.Durability }

// Close appends what is queued, ends waiting followers and subscribers, and
// leaves the mark of a clean stop. Afterwards every method returns
// domain.ErrLogUnavailable. It may be called more than once.
func (l *Log) Close() error {
	l.closing.Do(func() {
		l.claims.close()
		close(l.stop)
		l.subscriptions.Wait() // they store their offsets
		l.queue.close()
		l.running.Wait()
		l.closed = l.release()
	})
	return l.closed
}

// release lets go of all that open took, the writer last: the last connection
// copies what is left of the write-ahead log into the database.
func (l *Log) release() error {
	var errs []error
	if l.checkpoints != nil && l.checkpoints.wal != nil {
		errs = append(errs, l.checkpoints.wal.Close())
	}
	if l.checkpoints != nil && l.checkpoints.conn != nil {
		errs = append(errs, l.checkpoints.conn.close())
	}
	if l.pool != nil {
		errs = append(errs, l.pool.close())
	}
	if l.writer != nil {
		errs = append(errs, l.writer.close())
	}
	return errors.Join(append(errs, l.lock.release())...)
}
