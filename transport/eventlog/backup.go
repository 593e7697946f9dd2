package eventlog

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"bms/domain"
)

// BackupConfig is what ReadOnly.Backup needs. File must be given.
type BackupConfig struct {
	// File is the backup to be made. It must not exist.
	File string
	// Notes go into the manifest as they are; nil for none.
	Notes json.RawMessage
	// Now is the clock of the manifest. Nil is time.Now.
	Now func() time.Time
	// Progress, if set, is told now and then how many commits of how many are
	// written.
	Progress func(done, of uint64)

	wrap func(io.Writer) io.Writer // for tests
}

// backupBatch is the number of commits read at a time. Between two batches no
// read of the log is open, so that a long backup doesn't keep the write-ahead
// log from starting over.
const backupBatch = 2048

// Backup writes all that is in the log when it is called to a file: commits,
// epochs, and how far consumer groups have acknowledged. The log may be in use
// meanwhile; what comes after is not in the backup. Every record is checked.
//
// The file appears under its name when it is complete and on disk, or not at
// all; until then, and after a crash, what there is of it is
// {File}.{number}.partial.
//
// It returns an error that wraps fs.ErrExist if there is such a file already,
// and domain.ErrCorrupt, naming the commit, if the log is damaged.
func (r *ReadOnly) Backup(ctx context.Context, c BackupConfig) (m Manifest, err error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := free(c.File); err != nil {
		return m, err
	}
	if m, err = r.manifest(ctx, c); err != nil {
		return m, err
	}
	f, err := os.CreateTemp(filepath.Dir(c.File), filepath.Base(c.File)+".*.partial")
	if err != nil {
		return m, fmt.Errorf("write backup %s: %w", c.File, cause(err))
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the first error is the one that counts
			_ = os.Remove(f.Name())
		}
	}()
	if err := r.pack(ctx, c, m, f); err != nil {
		return m, err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return m, fmt.Errorf("write backup %s: %w", c.File, cause(err))
	}
	if err := free(c.File); err != nil {
		return m, err
	}
	if err := os.Rename(f.Name(), c.File); err != nil {
		return m, fmt.Errorf("backup: %w", err)
	}
	return m, syncDir(filepath.Dir(c.File))
}

// free returns an error that wraps fs.ErrExist if there is such a file.
func free(file string) error {
	switch _, err := os.Lstat(file); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("backup: %w", err)
	}
	return fmt.Errorf("backup %s: %w: take another name, or remove it", file, fs.ErrExist)
}

// manifest is that of a backup of the log as it is now.
func (r *ReadOnly) manifest(ctx context.Context, c BackupConfig) (Manifest, error) {
	m := Manifest{Format: backupFormat, CreatedAt: c.Now().UTC().Truncate(time.Millisecond), Notes: c.Notes}
	// The offsets before the end: none lies beyond it then.
	offsets, err := r.pool.offsets(ctx)
	if err != nil {
		return m, err
	}
	m.Offsets = offsets
	es, first, last, err := r.pool.look(ctx)
	if err != nil {
		return m, err
	}
	m.First, m.Commits = first, last+1-first
	m.Head = domain.Position{Epoch: es.current(), Seq: last}
	for _, e := range es {
		m.Epochs = append(m.Epochs, ManifestEpoch{Epoch: e.id, Start: e.start})
	}
	if last == 0 {
		return m, nil
	}
	commits, err := r.pool.read(ctx, es, last-1, last, 1)
	if err != nil {
		return m, err
	}
	m.Head.Index = commits[0].Position.Index
	return m, nil
}

func (r *ReadOnly) pack(ctx context.Context, c BackupConfig, m Manifest, f io.Writer) error {
	if c.wrap != nil {
		f = c.wrap(f)
	}
	out := &outWriter{w: f, file: c.File}
	w, err := newBackupWriter(out, m)
	if err != nil {
		return err
	}
	last := m.First + m.Commits - 1
	for after := m.First - 1; err == nil && after < last; {
		n := min(last-after, backupBatch)
		err = r.pool.rows(ctx, after, after+n, w.add)
		after += n
		if err == nil && c.Progress != nil {
			c.Progress(after+1-m.First, m.Commits)
		}
	}
	// It is closed in any case: it has goroutines. After an error what it says
	// is no news.
	if closeErr := w.close(); err == nil {
		err = closeErr
	}
	return err
}

// outWriter names the file in the errors.
type outWriter struct {
	w    io.Writer
	file string
}

func (o *outWriter) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		err = fmt.Errorf("write backup %s: %w", o.file, cause(err))
	}
	return n, err
}

// cause is an error without the path it names, which is a temporary one.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// rows calls f with the rows after a sequence up to last, having checked that
// none is missing or damaged; columns is what the checksum is of, valid during
// the call.
func (p *pool) rows(ctx context.Context, after, last uint64, f func(v *[numColumns]driver.Value, columns []byte) error) error {
	return p.with(ctx, func(r *reader) error {
		next := after + 1
		err := r.bySeq.each(func(row []driver.Value) (bool, error) {
			v := (*[numColumns]driver.Value)(row)
			seq, columns, err := vouch(v, r.scratch)
			r.scratch = columns
			if err != nil {
				return false, p.damage(max(seq, next), err)
			}
			if seq != next {
				return false, p.damage(next, fmt.Errorf("it is missing, the next there is %d", seq))
			}
			next++
			return true, f(v, columns)
		}, int64(after), int64(last), int64(math.MaxInt64))
		if err == nil && next <= last {
			err = p.damage(next, errors.New("it is missing at the end"))
		}
		return err
	})
}

// offsets lists how far the consumer groups have acknowledged.
func (p *pool) offsets(ctx context.Context) (all []ManifestOffset, err error) {
	err = p.with(ctx, func(r *reader) error {
		s, err := r.conn.once("SELECT consumer, topic, seq FROM offsets ORDER BY consumer, topic")
		if err != nil {
			return err
		}
		err = s.each(func(row []driver.Value) (bool, error) {
			consumer, _ := row[0].(string)
			topic, _ := row[1].(string)
			seq, _ := row[2].(int64)
			all = append(all, ManifestOffset{Consumer: consumer, Topic: topic, Seq: uint64(seq)})
			return true, nil
		})
		return errors.Join(err, s.close())
	})
	return all, err
}

// syncDir brings the names in a folder to disk.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close() // the first error is the one that counts
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return f.Close()
}
