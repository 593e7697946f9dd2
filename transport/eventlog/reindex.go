package eventlog

import (
	"errors"
	"os"
	"path/filepath"
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
	if err := w.reindex(); err != nil {
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
