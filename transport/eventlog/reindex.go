package eventlog

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// newIndexName is the index while it is made anew beside the one that readers
// have open.
const newIndexName = "index.new.db"

var (
	// errUseless is wrapped by errors about an index that is sound, and of no
	// use all the same.
	errUseless = errors.New("it is no index of this log")
	// errDoubted is the writer's reason to make the index anew when a reader
	// has met damage in it.
	errDoubted = errors.New("it is damaged, and made anew from the log")
)

// uselessIndex reports whether an error says that an index is to be made anew.
func uselessIndex(err error) bool { return isDamage(err) || errors.Is(err, errUseless) }

// doubt notes an error of the index that says that its file is damaged.
func (w *writer) doubt(err error) {
	if uselessIndex(err) || errors.Is(err, errDoubted) {
		w.damage = err
	}
}

// remakePause is the least time from one making of the index for readers' doubts
// to the next, and remakeShare the least multiple of what the last one took: what
// damages it again and again must not stop the log for good, which takes no
// commits meanwhile.
const (
	remakePause = time.Minute
	remakeShare = 20
)

// remakes is when the index may be made anew because readers doubt it.
type remakes struct {
	from  time.Time
	timer *time.Timer // fires then, if it was asked for before
}

func (r *remakes) due() bool {
	wait := time.Until(r.from)
	if wait > 0 {
		r.timer.Reset(wait)
	}
	return wait <= 0
}

// done notes that the index was made, or could not be.
func (r *remakes) done(took time.Duration) {
	r.from = time.Now().Add(max(remakePause, remakeShare*took))
}

// reopen opens both files; an index that is damaged it makes anew, beside
// readers that go on reading, as far as they can, and while commands wait.
func (w *writer) reopen() error {
	if w.damage == nil {
		err := w.open(false)
		if err == nil {
			return w.lend() // if an earlier one did not come to that
		}
		if w.doubt(err); w.damage == nil {
			return err
		}
	}
	w.log.config.Logger.Error("the log's index is damaged; it is made anew, commands wait", "error", w.damage)
	began := time.Now()
	err := w.reindex()
	w.remakes.done(time.Since(began))
	if err != nil {
		if !errors.Is(w.damage, errDoubted) {
			return err
		}
		// What a reader has met may be damage of the log. The index is
		// good enough for the commits so far.
		w.log.config.Logger.Error("the log's index can't be made anew", "error", err)
	}
	w.damage = nil
	if err := w.open(false); err != nil {
		return err
	}
	return w.lend()
}

// reindex makes the index anew and puts it in the old one's place.
func (w *writer) reindex() error {
	file := filepath.Join(w.log.config.Dir, newIndexName)
	err := w.makeIndex(file)
	if err == nil {
		if err = w.withdraw(); err == nil {
			err = errors.Join(removeDatabase(w.log.pool.index), os.Rename(file, w.log.pool.index), syncDir(w.log.config.Dir))
		}
	}
	if err != nil {
		return errors.Join(err, removeDatabase(file))
	}
	w.log.pool.doubted.Store(nil) // was of the old one, which nobody has any more
	return nil
}

func (w *writer) makeIndex(file string) error {
	c, err := openConn(w.log.file, "rw", "busy_timeout(5000)")
	if err != nil {
		return err
	}
	x := unreadIndex(w.log.config.IndexBatch, w.log.config.Logger)
	return errors.Join(x.make(file, c), c.close())
}

// withdraw takes the index from all who read it. Until it is lent to them again,
// what needs it fails.
func (w *writer) withdraw() error {
	k, p := w.log.checkpoints, w.log.pool
	k.mu.Lock()
	defer k.mu.Unlock()
	p.withdrawn = true
	return errors.Join(k.conn.detach("idx"), p.each(func(r *reader) error { return r.conn.detach("idx") }))
}

// lend gives the index to all whom withdraw took it from.
func (w *writer) lend() error {
	k, p := w.log.checkpoints, w.log.pool
	if !p.withdrawn {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	err := errors.Join(k.conn.attach(p.index, "idx"), p.each(func(r *reader) error { return r.conn.attach(p.index, "idx") }))
	if err != nil {
		w.abandon()
		return err
	}
	p.withdrawn = false
	return nil
}
