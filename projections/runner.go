package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"bms/domain"
)

const (
	// linger is how long a live projection that nobody waits for gathers
	// more after a small batch, so that a trickle of commits doesn't cost a
	// transaction each in every projection.
	linger = 5 * time.Millisecond
	// smallBatch is what linger counts as small.
	smallBatch = 100
	// A fold that failed is tried again after minBackoff, doubled each time
	// up to maxBackoff.
	minBackoff = 50 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// runner keeps one projection: the file that serves, the fold that has it
// follow the log, and now and then a rebuild beside it.
type runner struct {
	definition
	config Config
	logger *slog.Logger
	// folded, if not nil, is called after each batch that was committed while
	// live.
	folded func()
	// releasing, if not nil, is called before parked commits are folded or
	// skipped, and before another file serves; what it returns, after that.
	releasing func() (released func())

	mu sync.RWMutex // guards served: read-locked to take it, not while it is used
	// served answers queries; nil while there is none. Only the goroutine
	// that folds changes it, or what is in it.
	served *instance
	ended  chan struct{} // closed when nothing is folded any more

	// files is held while files are listed and then opened, made or deleted.
	files sync.Mutex
	// busy are the files that are built beside, or have just ceased to serve:
	// who lists leaves them alone. Guarded by files.
	busy map[string]bool

	asks     chan ask        // 1 place
	noter    chan<- noteTask // takes digests off the fold's way; may be nil
	progress progress
	rebuilds rebuilds
	notes    notes
}

// ask is a request to the goroutine that folds.
type ask struct {
	do    func(context.Context) error
	reply chan error // 1 place
}

func newRunner(d definition, c Config) *runner {
	r := &runner{
		definition: d, config: c, logger: c.Logger.With("projection", d.name, "version", d.version),
		ended: make(chan struct{}), asks: make(chan ask, 1), busy: map[string]bool{},
	}
	r.progress.init(c.Now)
	r.rebuilds.init()
	r.notes.init(c.Dir, d)
	return r
}

// frozen reports whether the file that serves is one of another version, which
// nothing can be folded into.
func (r *runner) frozen() bool { return r.served != nil && r.served.fold == nil }

// open opens the file that is to serve, a new one if it must be.
func (r *runner) open() error {
	if r.served != nil {
		return nil
	}
	serve, half, err := r.pick()
	if err != nil {
		return err
	}
	r.put(serve)
	r.progress.opened(serve.through, r.config.Log.Head(), serve.version)
	r.progress.setParked(serve.parking.events)
	if half != nil || r.frozen() {
		if !r.rebuilds.begin(r.newJob(false, half)) && half != nil { // one is under way from the beginning
			if err := errors.Join(half.file.shut(), r.drop(half.file.path)); err != nil {
				return err
			}
		}
	}
	if err := r.serving(); !damaged(err) {
		return err
	} else if lost := r.lose(err); lost != nil {
		return lost
	}
	return r.open()
}

// put makes an instance the one that serves, and returns the one before.
func (r *runner) put(in *instance) (before *instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, r.served = r.served, in
	return before
}

// replace is put for a file that was built beside the one before.
func (r *runner) replace(in *instance) (before *instance) {
	r.files.Lock()
	defer r.files.Unlock()
	delete(r.busy, in.file.path)
	if before = r.put(in); before != nil {
		r.busy[before.file.path] = true
	}
	return before
}

// serving tells the definition which file serves now.
func (r *runner) serving() error {
	if r.serve == nil {
		return nil
	}
	if err := r.serve(r.served.file); err != nil {
		return fmt.Errorf("serve %s: %w", r.served.file.path, err)
	}
	return nil
}

// lose throws the file away, which is damaged; open makes a new one.
func (r *runner) lose(cause error) error {
	r.logger.Warn("projection file is damaged; folding a new one from the log", "error", cause)
	in := r.put(nil)
	if in == nil {
		return nil
	}
	r.progress.lost()
	_ = in.file.shut() // it is damaged: whatever this says is no news
	return r.drop(in.file.path)
}

// close closes the file that serves. Nothing may be running any more.
func (r *runner) close() error {
	in := r.put(nil)
	err := r.rebuilds.close()
	if in == nil {
		return err
	}
	return errors.Join(err, in.file.shut())
}

// look takes the file that serves; call its views.Done after use.
func (r *runner) look() (*file, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.served == nil {
		return nil, fmt.Errorf("%s: %w", r.name, ErrUnavailable)
	}
	r.served.file.views.Add(1)
	return r.served.file, nil
}

// view runs a query on a snapshot of the file.
func (r *runner) view(ctx context.Context, fn func(*snapshot) error) (domain.Position, error) {
	f, err := r.look()
	if err != nil {
		return domain.Position{}, err
	}
	defer f.views.Done()
	p, err := f.view(ctx, fn)
	if damaged(err) {
		r.progress.damage(f, err)
		return p, fmt.Errorf("%s: %w: %w", r.name, ErrUnavailable, err)
	}
	return p, err
}

// run folds until ctx ends. Whatever stops the fold stops this projection
// only: for good if this program cannot know what to do, else for a moment.
func (r *runner) run(ctx context.Context) {
	defer close(r.ended)
	defer r.progress.stop()
	for backoff := minBackoff; ctx.Err() == nil; {
		before := r.progress.position()
		err := r.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errAsked) {
			continue
		}
		if cause := r.damageSeen(); cause != nil {
			err = cause
		} else if errors.Is(err, context.Canceled) {
			continue // interrupted by what is no news any more
		}
		r.progress.failed(err)
		if r.config.Observe.Failed != nil {
			r.config.Observe.Failed(r.name, err)
		}
		switch {
		case errors.Is(err, domain.ErrUnknownEvent):
			r.logger.Error("projection stops: this program is too old for the log", "error", err)
			r.progress.stop()
			r.pause(ctx, 0)
			continue
		case damaged(err):
			if err := r.lose(err); err != nil {
				r.logger.Error("throw the damaged file away", "error", err)
			}
		default:
			r.logger.Error("projection stops for a moment", "error", err, "retry", backoff)
		}
		if r.progress.position().After(before) {
			backoff = minBackoff
		}
		r.behind(ctx)
		r.pause(ctx, backoff)
		backoff = min(2*backoff, maxBackoff)
	}
}

// behind looks how old the oldest commit not folded yet is, as long as nothing is
// folded. If the log can't be read, it is as old as it was.
func (r *runner) behind(ctx context.Context) {
	if next, err := r.config.Log.Read(ctx, r.progress.position().Seq, 1); err == nil && len(next) > 0 {
		r.progress.behind(next[0])
	}
}

// damageSeen is what a query has met in the file that serves.
func (r *runner) damageSeen() error {
	if r.served == nil {
		return nil
	}
	return r.progress.damageSeen(r.served.file)
}

// errAsked ends follow when there is something to do for others.
var errAsked = errors.New("asked")

// pause answers requests for a while, or without end if it is 0.
func (r *runner) pause(ctx context.Context, d time.Duration) {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	for {
		select {
		case a := <-r.asks:
			r.answer(ctx, a)
		case <-over:
			return
		case <-ctx.Done():
			return
		}
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

// ask has the goroutine that folds do something between two batches.
func (r *runner) ask(ctx context.Context, do func(context.Context) error) error {
	a := ask{do: do, reply: make(chan error, 1)}
	select {
	case r.asks <- a:
	case <-r.ended:
		return fmt.Errorf("%s: %w: it has stopped", r.name, ErrUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
	r.progress.interrupt()
	select {
	case err := <-a.reply:
		return err
	case <-r.ended:
		select {
		case err := <-a.reply: // it was done before
			return err
		default:
		}
		return fmt.Errorf("%s: %w: it has stopped", r.name, ErrUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *runner) answer(ctx context.Context, a ask) {
	defer func() {
		if reason := recover(); reason != nil {
			r.logger.Error("panic in a projection", "reason", reason, "stack", string(debug.Stack()))
			a.reply <- fmt.Errorf("panic: %v", reason)
		}
	}()
	a.reply <- a.do(ctx)
}

// follow folds batch after batch until something goes wrong, or it is asked
// something.
func (r *runner) follow(ctx context.Context) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			if r.served != nil {
				r.served.limit = 1
			}
			r.logger.Error("panic in a fold", "reason", reason, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in the fold of %s: %v", r.name, reason)
		}
	}()
	for {
		select {
		case a := <-r.asks:
			r.answer(ctx, a)
		default:
		}
		if err := r.open(); err != nil {
			return err
		}
		if !r.frozen() {
			break
		}
		r.behind(ctx)
		r.pause(ctx, time.Second) // a rebuild will ask for the swap
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := r.served.resume(ctx); err != nil {
		return err
	}
	r.progress.resume(r.served.through)
	if err := r.mended(ctx); err != nil {
		return err
	}
	ctx, cancel := r.progress.watch(ctx, r.served.file)
	defer cancel()
	for {
		if len(r.asks) > 0 {
			return errAsked
		}
		r.caughtUp()
		in := r.served
		commits, err := r.config.Log.Next(ctx, in.through.Seq, r.notes.cut(in, r.progress.isLive()))
		if err != nil {
			if len(r.asks) > 0 {
				return errAsked
			}
			return fmt.Errorf("follow the log: %w", err)
		}
		if err := gapless(in.through.Seq, commits); err != nil {
			return err
		}
		if err := r.fold(in, commits); err != nil {
			return err
		}
		full := len(commits) == in.limit
		in.limit = min(2*in.limit, maxBatch)
		if !full && len(commits) < smallBatch && r.progress.isLive() {
			if err := r.progress.linger(ctx); err != nil && len(r.asks) == 0 {
				return err
			}
		}
	}
}

// mended ends what went wrong before if there is nothing left to fold. That is
// for the log to say, and not for its head: it may be that it can't be read.
func (r *runner) mended(ctx context.Context) error {
	if !r.progress.failing() {
		return nil
	}
	more, err := r.config.Log.Read(ctx, r.served.through.Seq, 1)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	if len(more) == 0 {
		r.progress.recovered()
	}
	return nil
}

// fold folds a batch into the file that serves and tells who wants to know.
func (r *runner) fold(in *instance, commits []*domain.Commit) error {
	started, before, written := r.config.Now(), in.through, in.written
	r.progress.folding(commits)
	events, err := in.advance(commits)
	if in.through != before {
		r.progress.setParked(in.parking.events)
		r.progress.advance(in.through, events)
		live := r.progress.isLive()
		if in.written != written && r.folded != nil && live {
			r.folded()
		}
		if live {
			r.note(in)
		}
		if r.config.Observe.Folded != nil {
			r.config.Observe.Folded(r.name, int(in.through.Seq-before.Seq), events, r.config.Now().Sub(started))
		}
		r.projected(in, commits, live, started)
	}
	return err
}

// projected tells of those commits of a batch that are of a trace.
func (r *runner) projected(in *instance, commits []*domain.Commit, live bool, started time.Time) {
	if r.config.Observe.Projected == nil {
		return
	}
	var traced []*domain.Commit
	for _, c := range commits {
		if len(c.Metadata) > 0 && !c.Position.After(in.through) && in.concerns(c) {
			traced = append(traced, c)
		}
	}
	if len(traced) > 0 {
		r.config.Observe.Projected(r.name, live, traced, started, r.config.Now())
	}
}

// caughtUp makes the projection live once it has what was in the log when its
// file was opened. Other files have then had their day.
func (r *runner) caughtUp() {
	if !r.progress.catchUp() {
		return
	}
	if r.folded != nil {
		r.folded()
	}
	if err := r.dropOld(r.served.file.path); err != nil {
		r.logger.Warn("old projection files stay", "error", err)
	}
}
