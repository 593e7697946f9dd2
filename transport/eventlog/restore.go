package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bms/domain"
)

// restoringName is the log while it is being restored. A folder that has it
// and no log.db was left by a restore that did not come to its end.
const restoringName = "log.restoring.db"

// RestoreConfig is what Restore needs. File and Dir must be given.
type RestoreConfig struct {
	// File is a backup.
	File string
	// Dir is the folder of the log, empty or not there yet. What a restore
	// that was interrupted has left in it doesn't count and is removed.
	Dir string
	// Now is the clock that the new epoch is named by. Nil is time.Now.
	Now func() time.Time
	// Progress, if set, is told now and then how many commits of how many are
	// restored.
	Progress func(done, of uint64)
}

// Restore makes a log of a backup, with its index, and begins a new epoch at
// its end: positions of the backup's commits stay valid, those beyond it are
// unknown. All of the file is checked before there is a log.
//
// It returns the manifest and the log's head. The error wraps ErrNotBackup for
// any other file, domain.ErrCorrupt for a damaged backup, fs.ErrExist if the
// folder is not empty, ErrInUse if somebody else has it; there is no log then.
func Restore(ctx context.Context, c RestoreConfig) (m Manifest, head domain.Position, err error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil || c.Dir == "" {
		return m, head, fmt.Errorf("restore into folder %q: %w", c.Dir, errors.Join(err, fs.ErrInvalid))
	}
	f, err := os.Open(c.File)
	if err != nil {
		return m, head, fmt.Errorf("restore: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	b, err := newBackupReader(f)
	if err != nil {
		return m, head, fmt.Errorf("restore %s: %w", c.File, err)
	}
	defer b.close()
	if err := vacant(dir); err != nil {
		return b.manifest, head, err
	}
	held, err := lockDir(dir)
	if err != nil {
		return b.manifest, head, err
	}
	if err := errors.Join(restore(ctx, c, b, dir), held.release()); err != nil {
		return b.manifest, head, fmt.Errorf("restore %s: %w", c.File, err)
	}
	// The index is made by opening; a crash before that costs nothing but the
	// same work at the next start.
	l, err := Open(ctx, Config{Dir: dir, Now: c.Now, IndexBatch: restoreIndexBatch})
	if err != nil {
		return b.manifest, head, fmt.Errorf("restored, but: %w", err)
	}
	head = l.Head()
	return b.manifest, head, l.Close()
}

// restoreIndexBatch saves transactions where the index is made anew anyway.
const restoreIndexBatch = 1 << 16

// vacant returns an error that wraps fs.ErrExist if there is anything in a
// folder but what an interrupted restore leaves, or what a new file system has.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore: %w", err)
	}
	for _, e := range entries {
		if e.Name() != lockName && (e.Name() != "lost+found" || !e.IsDir()) && !strings.HasPrefix(e.Name(), restoringName) {
			return fmt.Errorf("restore into folder %s: %w: it holds %s; a restore wants an empty folder", dir, fs.ErrExist, e.Name())
		}
	}
	return nil
}

// restore makes log.db, under another name until it is complete and on disk.
// The folder is locked.
func restore(ctx context.Context, c RestoreConfig, b *backupReader, dir string) (err error) {
	if err := vacant(dir); err != nil {
		return err
	}
	temp := filepath.Join(dir, restoringName)
	if err := removeDatabase(temp); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = removeDatabase(temp) // the first error is the one that counts
		}
	}()
	// Nobody reads it before it is complete: no journal, no sync but the last.
	conn, err := openConn(temp, "rwc", "journal_mode(OFF)", "synchronous(OFF)", "locking_mode(EXCLUSIVE)", "cache_size(-65536)")
	if err != nil {
		return err
	}
	err = unpack(ctx, c, b, conn)
	if err = errors.Join(err, conn.close()); err != nil {
		return err
	}
	if err := syncFile(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, fileName)); err != nil {
		return err
	}
	return syncDir(dir)
}

// unpack fills a new database.
func unpack(ctx context.Context, c RestoreConfig, b *backupReader, conn *conn) error {
	if err := prepareSchema(conn); err != nil {
		return err
	}
	if err := conn.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	w := &writer{}
	if err := w.prepareInserts(conn); err != nil {
		return err
	}
	var es epochs
	for _, e := range b.manifest.Epochs {
		es = append(es, epoch{e.Epoch, e.Start})
		if err := es[len(es)-1].insert(conn); err != nil {
			return err
		}
	}
	if err := unpackRows(ctx, c, b, w); err != nil {
		return err
	}
	last := b.manifest.First + b.manifest.Commits - 1
	if _, err := es.begin(conn, c.Now(), last); err != nil {
		return err
	}
	s, err := conn.once("INSERT INTO offsets (consumer, topic, seq) VALUES (?, ?, ?)")
	if err != nil {
		return err
	}
	for _, o := range b.manifest.Offsets {
		if err := s.run(o.Consumer, o.Topic, int64(o.Seq)); err != nil {
			return errors.Join(err, s.close())
		}
	}
	if err := s.close(); err != nil {
		return err
	}
	return conn.exec("COMMIT")
}

func unpackRows(ctx context.Context, c RestoreConfig, b *backupReader, w *writer) error {
	group := make([]*record, manyRows)
	for i := range group {
		group[i] = &record{}
	}
	for done, end := uint64(0), false; !end; {
		n := 0
		for ; n < manyRows; n++ {
			err := b.read(&group[n].columns)
			if end = errors.Is(err, io.EOF); end {
				break
			}
			if err != nil {
				return err
			}
		}
		w.group = group[:n]
		if err := w.insertGroup(); err != nil {
			return err
		}
		done += uint64(n)
		if end || done%backupBatch == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if c.Progress != nil {
				c.Progress(done, b.manifest.Commits)
			}
		}
	}
	return nil
}

// removeDatabase removes a database and what SQLite keeps beside it.
func removeDatabase(file string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(file + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// halfRestored returns an error for a folder in which a restore was
// interrupted: a new log must not be begun in its place.
func halfRestored(dir string) error {
	_, log := os.Lstat(filepath.Join(dir, fileName))
	if _, err := os.Lstat(filepath.Join(dir, restoringName)); err == nil && errors.Is(log, fs.ErrNotExist) {
		return fmt.Errorf("a restore into folder %s was interrupted: restore again, or remove %s to begin a new log", dir, restoringName)
	}
	return nil
}
