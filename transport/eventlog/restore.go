package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bms/domain"
)

const (
	// restoringName is the log while it is being restored. A folder that has
	// it and no log.db was left by a restore that did not come to its end.
	restoringName = "log.restoring.db"
	// restoringIndexName is its index.
	restoringIndexName = restoringName + ".index"
)

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
// folder is not empty, ErrInUse if somebody else has it, the context's if that
// ends; there is no log then. Only ErrNotSynced comes with one.
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
	head, err = restore(ctx, c, b, dir)
	if err = errors.Join(err, held.release()); err != nil {
		return b.manifest, head, fmt.Errorf("restore %s: %w", c.File, err)
	}
	return b.manifest, head, nil
}

// ErrNotSynced is wrapped by the error of a restore that has come to its end, but
// for the name of the log, which may not be on disk.
var ErrNotSynced = errors.New("the log is restored and can be used, but a power cut may take it back")

// restoreIndexBatch saves transactions where an index is made as a whole.
const restoreIndexBatch = 1 << 16

// vacant returns an error that wraps fs.ErrExist if there is anything in a
// folder but what an interrupted restore leaves, or what a new file system has.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore: %w", err)
	}
	_, err = os.Lstat(filepath.Join(dir, restoringName))
	interrupted := err == nil // perhaps between its last two steps
	for _, e := range entries {
		left := strings.HasPrefix(e.Name(), restoringName) || interrupted && e.Name() == indexName
		if e.Name() != lockName && (e.Name() != "lost+found" || !e.IsDir()) && !left {
			return fmt.Errorf("restore into folder %s: %w: it holds %s; a restore wants an empty folder", dir, fs.ErrExist, e.Name())
		}
	}
	return nil
}

// restore makes index.db and log.db, under other names until both are complete and
// on disk: there is a log when log.db has its name, and nothing can go wrong then
// but for that name to be on disk. The folder is locked.
func restore(ctx context.Context, c RestoreConfig, b *backupReader, dir string) (head domain.Position, err error) {
	if err := vacant(dir); err != nil {
		return head, err
	}
	temp, tempIndex, index := filepath.Join(dir, restoringName), filepath.Join(dir, restoringIndexName), filepath.Join(dir, indexName)
	remove := func() error {
		return errors.Join(removeDatabase(index), removeDatabase(tempIndex), removeDatabase(temp))
	}
	if err := remove(); err != nil {
		return head, err
	}
	head, err = build(ctx, c, b, temp, tempIndex)
	if err == nil {
		err = errors.Join(syncWhole(temp), syncWhole(tempIndex))
	}
	if err == nil {
		err = os.Rename(tempIndex, index)
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(dir, fileName))
	}
	if err != nil {
		_ = remove() // the first error is the one that counts
		return head, err
	}
	if err := syncDir(dir); err != nil {
		return head, fmt.Errorf("%w: %w", ErrNotSynced, err)
	}
	return head, nil
}

// syncWhole has a closed database on disk, if all of it is in its file: a close
// says nothing of what it could not copy there, as on a full disk.
func syncWhole(file string) error {
	if _, err := os.Stat(file + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s has not been written whole; is the disk full?", file), err)
	}
	return syncFile(file)
}

// build makes the two files of a backup.
func build(ctx context.Context, c RestoreConfig, b *backupReader, file, index string) (head domain.Position, err error) {
	// Nobody reads it before it is complete: no journal, no sync but the last.
	conn, err := openConn(file, "rwc", "journal_mode(OFF)", "synchronous(OFF)", "locking_mode(EXCLUSIVE)", "cache_size(-65536)")
	if err != nil {
		return head, err
	}
	head, err = unpack(ctx, c, b, conn)
	if err == nil {
		err = unreadIndex(restoreIndexBatch, slog.New(slog.DiscardHandler)).make(index, conn)
	}
	if err == nil {
		err = conn.exec("PRAGMA journal_mode = WAL") // as it is in use, so that who only reads is not in the way of its first start
	}
	return head, errors.Join(err, conn.close(), ctx.Err())
}

// unpack fills a new database and returns the log's head.
func unpack(ctx context.Context, c RestoreConfig, b *backupReader, conn *conn) (head domain.Position, err error) {
	if err := prepareSchema(conn); err != nil {
		return head, err
	}
	if err := conn.exec("BEGIN IMMEDIATE"); err != nil {
		return head, err
	}
	w := &writer{}
	if err := w.prepareInserts(conn); err != nil {
		return head, err
	}
	var es epochs
	for _, e := range b.manifest.Epochs {
		es = append(es, epoch{e.Epoch, e.Start})
		if err := es[len(es)-1].insert(conn); err != nil {
			return head, err
		}
	}
	if err := unpackRows(ctx, c, b, w); err != nil {
		return head, err
	}
	head = domain.Position{Seq: b.manifest.First + b.manifest.Commits - 1, Index: b.manifest.Head.Index}
	if es, err = es.begin(conn, c.Now(), head.Seq); err != nil {
		return head, err
	}
	head.Epoch = es.current()
	s, err := conn.once("INSERT INTO offsets (consumer, topic, seq) VALUES (?, ?, ?)")
	if err != nil {
		return head, err
	}
	for _, o := range b.manifest.Offsets {
		if err := s.run(o.Consumer, o.Topic, int64(o.Seq)); err != nil {
			return head, errors.Join(err, s.close())
		}
	}
	if err := s.close(); err != nil {
		return head, err
	}
	return head, conn.exec("COMMIT")
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
