package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"bms/domain"
)

const (
	// maxBatch is the number of commits folded in one transaction.
	maxBatch = 1000
	// A projection that had nothing to fold writes down how far it has read
	// after this many commits.
	maxUnwritten = 50_000
)

// instance is one file of a projection and the fold that writes it. It belongs
// to one goroutine at a time: the one that follows the log, or the one that
// builds a file beside. Others may only look at the file.
type instance struct {
	definition
	config *Config
	logger *slog.Logger
	wanted map[string]bool
	gen    int

	file *file
	fold fold // nil for a file of another version: it is only read

	written domain.Position // in the file
	// through is how far the log was read: as written, or further, where
	// nothing concerned the projection.
	through domain.Position
	limit   int // of the next batch; after a panic, small ones find the commit
	parking parking
}

// openInstance opens a file, makes it if it isn't there, and starts its fold.
// An error for which damaged is true means that the file must be thrown away.
func openInstance(d definition, c *Config, logger *slog.Logger, path string, gen int, beside bool) (*instance, error) {
	f, err := openFile(path, d.schema, beside)
	if err != nil {
		return nil, err
	}
	in := &instance{definition: d, config: c, logger: logger, wanted: map[string]bool{}, gen: gen, file: f, limit: maxBatch}
	for _, t := range d.types {
		in.wanted[t] = true
	}
	if err := in.start(); err != nil {
		return nil, errors.Join(err, f.shut())
	}
	return in, nil
}

func (in *instance) start() (err error) {
	if in.written, err = position(context.Background(), in.file.writer); err != nil {
		return err
	}
	in.through = in.written
	if in.written.Seq > 0 {
		head := in.config.Log.Head()
		switch err := in.config.Log.Check(in.written); {
		case in.written.Epoch == head.Epoch && in.written.Seq > head.Seq:
			// Not the file's fault: it has seen what the log had promised.
			return fmt.Errorf("%w: it ends at %s, and %s has folded it up to %s: the log has lost its end", domain.ErrCorrupt, head, in.file.path, in.written)
		case errors.Is(err, domain.ErrUnknownPosition), errors.Is(err, domain.ErrTrimmed):
			return fmt.Errorf("%w: position %s: %w", errStale, in.written, err)
		case err != nil:
			return fmt.Errorf("look for position %s in the log: %w", in.written, err)
		}
	}
	if err := in.parking.load(in.file.writer); err != nil {
		return err
	}
	if in.fold, err = in.definition.start(in.file); err != nil {
		return fmt.Errorf("start the fold of %s: %w", in.name, err)
	}
	return nil
}

// resume takes the position from the file: normally it is known, but not after
// a panic between a commit and what follows it.
func (in *instance) resume(ctx context.Context) (err error) {
	if in.written, err = position(ctx, in.file.writer); err != nil {
		return err
	}
	if in.written.After(in.through) {
		in.through = in.written
	}
	in.fold.published() // of a batch that was committed before a panic
	return nil
}

// advance folds commits that follow the last, or up to the first that it can't
// fold: that one it returns an error for, until it has been tried often enough
// and is parked. It returns the number of events folded.
func (in *instance) advance(commits []*domain.Commit) (events int, err error) {
	good, events, err := in.batch(commits)
	if err == nil {
		return events, nil
	}
	if good > 0 { // stop right before the one that doesn't fold
		in.parking.failed(commits[good])
		_, events, again := in.batch(commits[:good])
		return events, errors.Join(err, again)
	}
	if !parkable(err) {
		return 0, err
	}
	if good < 0 && len(commits) > 1 { // it shows which one when they come one by one
		in.limit = 1
		return 0, err
	}
	if in.parking.failed(commits[0]) < maxTries {
		return 0, err
	}
	return len(commits[0].Events), in.park(commits[0], err)
}

// batch folds commits and makes them and the new position visible together, or
// leaves all as it was. With an error comes how many were good before the one
// that is to blame, -1 if that can't be told.
func (in *instance) batch(commits []*domain.Commit) (good, events int, err error) {
	defer func() {
		// Also on the way of a panic: the transaction must not stay open.
		if in.file.open {
			err = errors.Join(err, in.rollback())
		}
	}()
	touched := false
	for i, c := range commits {
		did, err := in.commit(c)
		if err != nil {
			return i, 0, fmt.Errorf("fold commit %s: %w", c.Position, err)
		}
		events += len(c.Events)
		touched = touched || did
	}
	last := commits[len(commits)-1].Position
	if touched || last.Seq-in.written.Seq >= maxUnwritten {
		if err := guard(in.fold.flush); err != nil {
			return -1, 0, fmt.Errorf("fold up to %s: %w", last, err)
		}
		in.config.step(in.name, stepFolded)
		if err := in.file.commit(last); err != nil {
			return -1, 0, fmt.Errorf("commit %s: %w", last, err)
		}
		in.written = last
		in.config.step(in.name, stepCommitted)
		in.fold.published()
	}
	in.through = last
	in.file.stretch.Store(&stretch{from: in.written, to: last})
	return len(commits), events, nil
}

func (in *instance) rollback() error {
	return errors.Join(in.file.rollback(), in.fold.forget(), in.parking.load(in.file.writer))
}

// commit folds a commit, or sets it aside if it has to wait behind one that is
// parked. It reports whether it wrote anything.
func (in *instance) commit(c *domain.Commit) (bool, error) {
	if !in.concerns(c) {
		return false, nil
	}
	if err := in.file.begin(); err != nil {
		return false, err
	}
	if err := in.file.learn(c.Position); err != nil {
		return false, err
	}
	if in.parking.count() > 0 {
		if keys := in.keysOf(c); in.parking.blocks(keys) {
			return true, in.parking.add(in.file.writer, c, keys, in.config.Now(), 0, nil)
		}
	}
	return true, guard(func() error { return in.apply(c) })
}

// concerns reports whether a commit is of any interest. Types that the
// projection doesn't ask for are passed by, known or not: a program that comes
// to need one has a new version of the fold, which starts from the beginning.
func (in *instance) concerns(c *domain.Commit) bool {
	if c.Message != nil { // an opaque message of somebody else's
		return false
	}
	if in.wants != nil && in.wants(c) {
		return true
	}
	for i := range c.Events {
		if in.wanted[c.Events[i].Type] {
			return true
		}
	}
	return false
}

func (in *instance) apply(c *domain.Commit) error {
	if err := in.fold.commit(c); err != nil {
		return err
	}
	for i := range c.Events {
		e := &c.Events[i]
		if !in.wanted[e.Type] {
			continue
		}
		p, err := e.Payload()
		if err != nil {
			return err
		}
		if err := in.fold.apply(c, e, p); err != nil {
			return err
		}
	}
	return nil
}

// guard makes an error of a panic.
func guard(f func() error) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v\n%s", reason, debug.Stack())
		}
	}()
	return f()
}

// gapless returns an error, which wraps domain.ErrCorrupt, for commits that
// don't follow each other: a fold with a gap would be wrong for ever.
func gapless(after uint64, commits []*domain.Commit) error {
	for _, c := range commits {
		if after++; c.Position.Seq != after {
			return fmt.Errorf("%w: commit %d follows commit %d", domain.ErrCorrupt, c.Position.Seq, after-1)
		}
	}
	return nil
}
