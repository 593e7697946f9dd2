package projections

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bms/domain"
)

// FileCheck is what a projection's file was found to be, from outside.
type FileCheck struct {
	Name     string
	Version  int
	Position domain.Position
	// Digest is that of the file, Folded that of a fold of the log up to the
	// same position. Folded is empty if Parked is not 0: what is set aside is
	// in no digest.
	Digest, Folded string
	Parked         int64
	// Err says why file or fold can't be read.
	Err error
}

// Equal reports whether the file is what the log comes to.
func (c FileCheck) Equal() bool { return c.Err == nil && c.Digest == c.Folded }

// CheckFiles compares each projection's file in a folder with a fold of the log
// up to the position of the file, all in one reading of the log. A node may have
// the files open: each is read in one look, and nothing in the folder is changed.
// The folds are made in scratch, a folder of the caller's. Only files of this
// program's versions are looked at, others are folded anew when a node starts.
//
// progress, if not nil, is told how far the log is read, of how much. The error
// is one of the log, of scratch, or the context's.
func CheckFiles(ctx context.Context, dir string, log domain.Reader, scratch string, progress func(at, of uint64)) ([]FileCheck, error) {
	var checks []*fileCheck
	for _, mode := range []string{RepeatEvery, RepeatEscalation} {
		c := Config{AlertsRepeat: mode, Dir: scratch, Log: readerOnly{log}, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
		for _, d := range definitions(c, newDirectory()) {
			if d.variant != mode && mode != RepeatEvery {
				continue // the others are the same in both
			}
			check, err := newFileCheck(ctx, dir, d, c)
			if err != nil {
				return nil, err
			}
			if check != nil {
				checks = append(checks, check)
			}
		}
	}
	err := foldChecks(ctx, checks, log, progress)
	results := make([]FileCheck, len(checks))
	for i, c := range checks {
		err = errors.Join(err, c.finish(ctx))
		results[i] = c.FileCheck
	}
	return results, err
}

// readerOnly is a log of which only Read is used.
type readerOnly struct{ domain.Reader }

func (readerOnly) Head() domain.Position { return domain.Position{} }

func (r readerOnly) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	return r.Read(ctx, after, limit)
}

func (readerOnly) Check(domain.Position) error { return nil }

// fileCheck is a check under way.
type fileCheck struct {
	FileCheck
	fold *instance // nil if there is nothing to fold
}

// newFileCheck looks at the file that serves; nil if there is none. The error is
// one of scratch.
func newFileCheck(ctx context.Context, dir string, d definition, c Config) (*fileCheck, error) {
	files, err := filesOf(dir, d.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if !d.ours(f) {
			continue
		}
		check := &fileCheck{FileCheck: FileCheck{Name: d.name, Version: d.version}}
		serves, err := check.look(ctx, f.path)
		if check.Err = err; err == nil && !serves {
			continue
		}
		if err != nil || check.Parked > 0 {
			return check, ctx.Err()
		}
		logger := slog.New(slog.DiscardHandler)
		check.fold, err = openInstance(d, &c, logger, filepath.Join(c.Dir, d.fileName(0)), 0, true)
		if err != nil {
			return nil, fmt.Errorf("scratch file of %s: %w", d.name, err)
		}
		return check, nil
	}
	return nil, nil
}

// look takes position and digest in one look at a file. It returns false for one
// that is being built.
func (c *fileCheck) look(ctx context.Context, path string) (serves bool, err error) {
	conn, err := connect(path, readerSettings...)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.close()) }()
	if err := conn.exec("BEGIN"); err != nil {
		return false, err
	}
	if c.Position, err = position(ctx, conn); err != nil {
		return false, err
	}
	if _, err := conn.one(ctx, func(r row) error {
		serves = !r.bool(0)
		return nil
	}, "SELECT beside FROM position"); err != nil || !serves {
		return false, err
	}
	v := &snapshot{conn: conn, pos: c.Position}
	if c.Parked, err = v.parked(ctx); err != nil {
		return true, err
	}
	if c.Digest, err = v.digest(ctx, func() {}); err != nil {
		return true, err
	}
	return true, conn.exec("ROLLBACK")
}

// foldChecks reads the log once and folds it into all that need it.
func foldChecks(ctx context.Context, checks []*fileCheck, log domain.Reader, progress func(at, of uint64)) error {
	last := uint64(0)
	for _, c := range checks {
		if c.fold != nil {
			last = max(last, c.Position.Seq)
		}
	}
	for at := uint64(0); at < last; {
		commits, err := log.Read(ctx, at, int(min(last-at, maxBatch)))
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if len(commits) == 0 {
			break // those who want more will say so
		}
		if err := gapless(at, commits); err != nil {
			return err
		}
		var wg sync.WaitGroup
		for _, c := range checks {
			if c.fold != nil && c.Err == nil && c.Position.Seq > at {
				wg.Go(func() { c.advance(commits) })
			}
		}
		wg.Wait()
		at += uint64(len(commits))
		if progress != nil {
			progress(at, last)
		}
	}
	return ctx.Err()
}

// advance folds what of a batch is up to the position of the file.
func (c *fileCheck) advance(commits []*domain.Commit) {
	before := c.fold.through.Seq
	commits = commits[:min(uint64(len(commits)), c.Position.Seq-before)]
	if end := commits[len(commits)-1].Position; end.Seq == c.Position.Seq && end != c.Position {
		c.Err = fmt.Errorf("%w: it is at %s, the log has %s there", errStale, c.Position, end)
		return
	}
	if _, err := c.fold.advance(commits); err != nil {
		c.Err = fmt.Errorf("the log can't be folded: %w", err)
	}
}

// finish takes the fold's digest. The error is one of scratch.
func (c *fileCheck) finish(ctx context.Context) error {
	if c.fold == nil {
		return nil
	}
	if c.Err == nil && ctx.Err() == nil {
		if c.fold.through.Seq < c.Position.Seq {
			c.Err = fmt.Errorf("%w: it is at %s, the log ends at %s", errStale, c.Position, c.fold.through)
		} else {
			_, c.Err = c.fold.file.view(ctx, func(v *snapshot) (err error) {
				c.Folded, err = v.digest(ctx, func() {})
				return err
			})
		}
	}
	return errors.Join(c.fold.file.shut(), discard(c.fold.file.path))
}

// ProjectionDigest is a digest that a node has noted, of one projection.
type ProjectionDigest struct {
	Projection string `json:"projection"`
	NotedDigest
}

// NotedDigests lists the digests that a node has noted in a folder, of each
// projection and fold the last one that is not after a position. A line that
// makes no sense is passed by: it may be half written.
func NotedDigests(dir string, upTo domain.Position) ([]ProjectionDigest, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.digests"))
	if err != nil {
		return nil, err
	}
	var all []ProjectionDigest
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".digests")
		last := map[string]int{} // by fold
		if _, err := readNotes(file, func(d NotedDigest) {
			if d.Position.After(upTo) {
				return
			}
			i, known := last[d.Fold]
			if !known {
				i, last[d.Fold] = len(all), len(all)
				all = append(all, ProjectionDigest{})
			}
			all[i] = ProjectionDigest{name, d}
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}
