package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"bms/domain"
)

const (
	// maxBatch is the number of commits folded in one transaction.
	maxBatch = 1000
	// linger is how long a live projection that nobody waits for gathers
	// more after a small batch, so that a trickle of commits doesn't cost a
	// transaction each in every projection.
	linger = 5 * time.Millisecond
	// smallBatch is what linger counts as small.
	smallBatch = 100
	// A projection that had nothing to fold writes down how far it has read
	// after this many commits.
	maxUnwritten = 50_000
	// A fold that failed is tried again after minBackoff, doubled each time
	// up to maxBackoff.
	minBackoff = 50 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// runner keeps one projection: its file, and the fold that follows the log.
type runner struct {
	definition
	config Config
	logger *slog.Logger
	wanted map[string]bool
	// folded, if not nil, is called after each batch that was committed while
	// live.
	folded func()

	mu   sync.RWMutex // guards file: read-locked while a query runs
	file *file        // nil while there is none

	// The rest belongs to the goroutine that folds.
	fold    fold
	written domain.Position // in the file
	limit   int             // of the next batch; after a panic, small ones find the commit

	progress progress
}

func newRunner(d definition, c Config) *runner {
	r := &runner{definition: d, config: c, logger: c.Logger.With("projection", d.name, "version", d.version), wanted: map[string]bool{}, limit: maxBatch}
	for _, t := range d.types {
		r.wanted[t] = true
	}
	r.progress.init(c.Now)
	return r
}

// path is where the file is.
func (r *runner) path() string {
	return filepath.Join(r.config.Dir, r.fileName())
}

// open opens the file, a new one if it must be. It holds mu so that no query
// sees a file that is being judged.
func (r *runner) open() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file != nil {
		return nil
	}
	f, pos, err := r.openSound()
	if err != nil && (damaged(err) || errors.Is(err, errStale)) {
		r.logger.Warn("projection file is no good; folding a new one from the log", "file", r.fileName(), "reason", err)
		if err := discard(r.path()); err != nil {
			return fmt.Errorf("throw %s away: %w", r.path(), err)
		}
		f, pos, err = r.openSound()
	}
	if err != nil {
		return err
	}
	fold, err := r.start(f)
	if err != nil {
		return errors.Join(fmt.Errorf("start the fold of %s: %w", r.name, err), f.shut())
	}
	r.file, r.fold, r.written = f, fold, pos
	r.progress.opened(pos, r.config.Log.Head())
	return nil
}

func (r *runner) openSound() (*file, domain.Position, error) {
	f, err := openFile(r.path(), r.schema)
	if err != nil {
		return nil, domain.Position{}, err
	}
	pos, err := position(context.Background(), f.writer)
	if err == nil && pos.Seq > 0 {
		if unknown := r.config.Log.Check(pos); unknown != nil {
			err = fmt.Errorf("%w: position %s: %w", errStale, pos, unknown)
		}
	}
	if err != nil {
		return nil, pos, errors.Join(err, f.shut())
	}
	return f, pos, nil
}

// lose throws the file away; open makes a new one.
func (r *runner) lose() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	_ = r.file.shut() // it is damaged: whatever this says is no news
	r.file, r.fold = nil, nil
	r.progress.lost()
	return discard(r.path())
}

func (r *runner) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file, r.fold = nil, nil
	if err := f.shut(); err != nil || r.progress.damageSeen() != nil {
		return err
	}
	return seal(f.path)
}

// view runs a query on a snapshot of the file.
func (r *runner) view(ctx context.Context, fn func(*snapshot) error) (domain.Position, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.file == nil {
		return domain.Position{}, fmt.Errorf("%s: %w", r.name, ErrUnavailable)
	}
	p, err := r.file.view(ctx, fn)
	if err != nil && damaged(err) {
		r.progress.damage(err)
		return p, fmt.Errorf("%s: %w: %w", r.name, ErrUnavailable, err)
	}
	return p, err
}

// run folds until ctx ends. Whatever stops the fold stops this projection
// only: for good if this program cannot know what to do, else for a moment.
func (r *runner) run(ctx context.Context) {
	defer r.progress.stop()
	for backoff := minBackoff; ctx.Err() == nil; {
		before := r.progress.position()
		err := r.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if cause := r.progress.damageSeen(); cause != nil {
			err = cause
		}
		r.progress.failed(err)
		if r.config.Observe.Failed != nil {
			r.config.Observe.Failed(r.name, err)
		}
		switch {
		case errors.Is(err, domain.ErrUnknownEvent):
			r.logger.Error("projection stops: this program is too old for the log", "error", err)
			return
		case damaged(err) || errors.Is(err, errStale):
			r.logger.Warn("projection file is damaged; folding a new one from the log", "error", err)
			if err := r.lose(); err != nil {
				r.logger.Error("throw the damaged file away", "error", err)
			}
		default:
			r.logger.Error("projection stops for a moment", "error", err, "retry", backoff)
		}
		if r.progress.position().After(before) {
			backoff = minBackoff
		}
		pause(ctx, backoff)
		backoff = min(2*backoff, maxBackoff)
	}
}

// pause waits for a while or for the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// follow folds batch after batch until something goes wrong.
func (r *runner) follow(ctx context.Context) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			r.limit = 1
			r.logger.Error("panic in a fold", "reason", reason, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in the fold of %s: %v", r.name, reason)
		}
	}()
	if err := r.open(); err != nil {
		return err
	}
	if r.written, err = position(ctx, r.file.writer); err != nil {
		return err
	}
	r.fold.published() // of a batch that was committed before a panic
	r.progress.resume(r.written, r.config.Log.Head())
	ctx, cancel := r.progress.watch(ctx)
	defer cancel()
	for {
		r.caughtUp()
		commits, err := r.config.Log.Next(ctx, r.progress.position().Seq, r.limit)
		if err != nil {
			return fmt.Errorf("follow the log: %w", err)
		}
		if err := gapless(r.progress.position().Seq, commits); err != nil {
			return err
		}
		if good, err := r.batch(commits); err != nil {
			if good > 0 { // stop right before the one that doesn't fold
				_, again := r.batch(commits[:good])
				err = errors.Join(err, again)
			}
			return err
		}
		full := len(commits) == r.limit
		r.limit = min(2*r.limit, maxBatch)
		if !full && len(commits) < smallBatch && r.progress.isLive() {
			if err := r.progress.linger(ctx); err != nil {
				return err
			}
		}
	}
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

// caughtUp makes the projection live once it has what was in the log when its
// file was opened. Files of other versions have then had their day.
func (r *runner) caughtUp() {
	if !r.progress.catchUp() {
		return
	}
	if r.folded != nil {
		r.folded()
	}
	if err := r.dropOld(); err != nil {
		r.logger.Warn("old projection files stay", "error", err)
	}
}

func (r *runner) dropOld() error {
	names, err := filepath.Glob(filepath.Join(r.config.Dir, r.name+"-v*.db"))
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if name != r.path() {
			errs = append(errs, discard(name))
		}
	}
	return errors.Join(errs...)
}

// batch folds commits and makes them and the new position visible together, or
// leaves all as it was. It returns how many were good.
func (r *runner) batch(commits []*domain.Commit) (good int, err error) {
	started := r.config.Now()
	r.progress.folding(commits[0])
	defer func() {
		// Also on the way of a panic: the transaction must not stay open.
		if r.file.open {
			err = errors.Join(err, r.file.rollback(), r.fold.forget())
		}
	}()
	events, touched := 0, false
	for i, c := range commits {
		events += len(c.Events)
		did, err := r.apply(c)
		if err != nil {
			return i, fmt.Errorf("fold commit %s: %w", c.Position, err)
		}
		touched = touched || did
	}
	last := commits[len(commits)-1].Position
	if touched || last.Seq-r.written.Seq >= maxUnwritten {
		if err := r.fold.flush(); err != nil {
			return 0, fmt.Errorf("fold up to %s: %w", last, err)
		}
		r.config.step(r.name, stepFolded)
		if err := r.file.commit(last); err != nil {
			return 0, fmt.Errorf("commit %s: %w", last, err)
		}
		r.written = last
		r.config.step(r.name, stepCommitted)
		r.fold.published()
	}
	r.file.stretch.Store(&stretch{from: r.written, to: last})
	r.progress.advance(last, events)
	if touched && r.folded != nil && r.progress.isLive() {
		r.folded()
	}
	if r.config.Observe.Folded != nil {
		r.config.Observe.Folded(r.name, len(commits), events, r.config.Now().Sub(started))
	}
	return len(commits), nil
}

// apply folds a commit and reports whether it was of any interest. Types that
// the projection doesn't ask for are passed by, known or not: a program that
// comes to need one has a new version of the fold, which starts from the
// beginning.
func (r *runner) apply(c *domain.Commit) (bool, error) {
	if c.Message != nil { // an opaque message of somebody else's
		return false, nil
	}
	interesting := r.wants != nil && r.wants(c)
	for i := 0; !interesting && i < len(c.Events); i++ {
		interesting = r.wanted[c.Events[i].Type]
	}
	if !interesting {
		return false, nil
	}
	if err := r.file.begin(); err != nil {
		return false, err
	}
	if err := r.file.learn(c.Position); err != nil {
		return false, err
	}
	if err := r.fold.commit(c); err != nil {
		return false, err
	}
	for i := range c.Events {
		e := &c.Events[i]
		if !r.wanted[e.Type] {
			continue
		}
		p, err := e.Payload()
		if err != nil {
			return false, err
		}
		if err := r.fold.apply(c, e, p); err != nil {
			return false, err
		}
	}
	return true, nil
}
