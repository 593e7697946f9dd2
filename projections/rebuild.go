package projections

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"bms/domain"
)

// A rebuild folds the log from its beginning into a file of the next
// generation, beside the one that serves, and swaps the two when it has caught
// up. The file says of itself that it doesn't serve yet, so that a process that
// was killed goes on with it where it was; the transaction that takes that back
// is the swap. Rebuilds append nothing to the log.

// Errors of rebuilds; test with errors.Is.
var (
	// ErrRebuilding is returned by Rebuild and Verify while one of the
	// projection is under way.
	ErrRebuilding = errors.New("a rebuild is under way")
	// ErrNoRebuild is returned by CancelRebuild when none is under way.
	ErrNoRebuild = errors.New("no rebuild is under way")
)

// A rebuilt file is swapped in when at most swapGap records are left, or
// maxBatch of them after maxChase batches.
const (
	swapGap  = 100
	maxChase = 20
)

// States of a rebuild.
const (
	RebuildWaiting   = "waiting" // for others to end
	RebuildFolding   = "folding"
	RebuildDone      = "done"
	RebuildCancelled = "cancelled"
	RebuildFailed    = "failed"
)

// Rebuild tells how a rebuild or a verification stands, or how it ended.
type Rebuild struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Verify bool   `json:"verify"`
	// Version is that of the fold.
	Version  int             `json:"version"`
	Position domain.Position `json:"position"`
	Head     domain.Position `json:"head"`
	// Events is the number of events folded since this process began with it.
	Events uint64 `json:"events"`
	// Rate is events folded per second, lately.
	Rate float64 `json:"rate"`
	// ETA is the number of seconds left at this rate; null when unknown.
	ETA *float64 `json:"eta"`
	// Parked is the number of events set aside.
	Parked    int       `json:"parked"`
	StartedAt time.Time `json:"startedAt"`
	// Seconds is how long it has taken, without the wait for others.
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
	// Verification is the result of a verification that has ended.
	Verification *Verification `json:"verification,omitempty"`
}

// rebuilds is what is or was rebuilt of a projection, one at a time.
type rebuilds struct {
	queue chan *job // 1 place: there is one job at a time

	mu   sync.Mutex // guards job, last and what changes of a job
	job  *job
	last *Rebuild
}

// job is a rebuild or a verification.
type job struct {
	id       string
	verify   bool
	version  int
	started  time.Time
	progress progress
	// slots bounds how many run at once in the whole set; running says that
	// this one has its place. They belong to the goroutine that rebuilds.
	slots   chan struct{}
	running bool
	// again is what is still to be folded a second time, in records.
	again uint64

	// guarded by rebuilds.mu:
	state     string
	began     time.Time // zero while it waits
	half      *instance
	cancelled bool
	cancel    func() // nil before it runs
	result    *Verification
}

func (r *rebuilds) init() { r.queue = make(chan *job, 1) }

func (r *runner) newJob(verify bool, half *instance) *job {
	j := &job{verify: verify, version: r.version, started: r.config.Now(), state: RebuildWaiting, half: half}
	j.id = fmt.Sprintf("%s-%d", r.name, j.started.UnixMilli())
	j.progress.init(r.config.Now)
	return j
}

// begin queues a job; it reports whether there was none.
func (r *rebuilds) begin(j *job) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.job != nil {
		return false
	}
	r.job = j
	r.queue <- j
	return true
}

func (r *rebuilds) set(j *job, change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// close lets go of a half-built file that no run has taken on.
func (r *rebuilds) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.job == nil || r.job.half == nil {
		return nil
	}
	half := r.job.half
	r.job.half = nil
	return half.file.shut()
}

// stop cancels the job under way.
func (r *rebuilds) stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.job == nil {
		return ErrNoRebuild
	}
	r.job.cancelled = true
	if r.job.cancel != nil {
		r.job.cancel()
	}
	return nil
}

// status fills in what is rebuilt.
func (r *rebuilds) status(s *Status, head domain.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.LastRebuild = r.last
	if r.job == nil {
		return
	}
	s.Rebuild = r.job.status(head)
	if !r.job.verify && s.State == StateLive {
		s.State = StateRebuilding
	}
}

// status is how the job stands. The caller holds rebuilds.mu.
func (j *job) status(head domain.Position) *Rebuild {
	if j.verify {
		if to := j.progress.aim(); to.Seq > 0 {
			head = to
		}
	}
	var s Status
	j.progress.status(&s, head)
	r := &Rebuild{
		ID: j.id, State: j.state, Verify: j.verify, Version: j.version, Position: s.Position, Head: head,
		Events: j.progress.folded(), Rate: s.Rate, ETA: s.ETA, Parked: s.Parked,
		StartedAt: j.started.UTC().Truncate(time.Millisecond), Error: s.LastError, Verification: j.result,
	}
	if !j.began.IsZero() {
		r.Seconds = j.progress.now().Sub(j.began).Seconds()
	}
	if r.ETA != nil && j.again > 0 && s.Position.Seq > 0 { // the second fold is like the first
		left := *r.ETA
		if done := float64(head.Seq - s.LagRecords); s.Rate > 0 && done > 0 {
			left += float64(j.again) * float64(r.Events) / done / s.Rate
		}
		r.ETA = &left
	}
	return r
}

// runRebuilds does what is queued until ctx ends. slots bounds how many run at
// once in the whole set.
func (r *runner) runRebuilds(ctx context.Context, slots chan struct{}) {
	for {
		select {
		case j := <-r.rebuilds.queue:
			r.runJob(ctx, j, slots)
		case <-ctx.Done():
			return
		}
	}
}

func (r *runner) runJob(ctx context.Context, j *job, slots chan struct{}) {
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	r.rebuilds.set(j, func() {
		if j.cancel = cancel; j.cancelled {
			cancel()
		}
	})
	j.slots = slots
	err := r.enter(work, j)
	if err == nil {
		what := r.build
		if j.verify {
			what = r.verify
		}
		r.logger.Info("rebuild begins", "id", j.id, "verify", j.verify)
		err = guard(func() error { return what(work, j) })
	}
	r.leave(j)
	if ctx.Err() != nil && err != nil {
		return // the next start goes on with it
	}
	last := r.endJob(j, err)
	said := r.logger.With("id", j.id, "verify", j.verify, "seconds", last.Seconds)
	if last.State == RebuildFailed {
		said.Error("rebuild has failed", "error", err)
	} else {
		said.Info("rebuild ends", "state", last.State, "events", last.Events)
	}
	if r.config.Observe.Rebuilt != nil {
		r.config.Observe.Rebuilt(r.name, last)
	}
}

// enter waits for one of the places of those that run. It returns the context's
// error.
func (r *runner) enter(ctx context.Context, j *job) error {
	select {
	case j.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	j.running = true
	r.rebuilds.set(j, func() {
		if j.state = RebuildFolding; j.began.IsZero() {
			j.began = r.config.Now()
		}
	})
	return nil
}

// leave gives the place back, if the job has one.
func (r *runner) leave(j *job) {
	if !j.running {
		return
	}
	j.running = false
	r.rebuilds.set(j, func() { j.state = RebuildWaiting })
	<-j.slots
}

func (r *runner) endJob(j *job, err error) Rebuild {
	r.rebuilds.mu.Lock()
	defer r.rebuilds.mu.Unlock()
	if half := j.half; half != nil && err != nil { // it was cancelled while it waited
		j.half = nil
		err = errors.Join(err, half.file.shut(), r.drop(half.file.path))
	}
	switch {
	case err == nil:
		j.state = RebuildDone
	case j.cancelled:
		j.state = RebuildCancelled
	default:
		j.state = RebuildFailed
		j.progress.failed(err)
		if r.progress.servesOld(r.version) { // at the position where it was left, for ever
			r.progress.failed(fmt.Errorf("fold version %d: %w", r.version, err))
		}
	}
	r.rebuilds.last = j.status(r.config.Log.Head())
	r.rebuilds.last.ETA = nil
	r.rebuilds.job = nil
	return *r.rebuilds.last
}

// build folds into a new file, or the half-built one of the job, and swaps.
// What goes wrong for a moment is tried again, without being in the way of other
// rebuilds meanwhile; what won't be better the next time fails.
func (r *runner) build(ctx context.Context, j *job) error {
	b, err := r.openBeside(j)
	if err != nil {
		return err
	}
	backoff := minBackoff
	for {
		before := b.through
		err := r.buildOn(ctx, j, b)
		if err == nil {
			return nil
		}
		switch {
		case ctx.Err() != nil && !r.wasCancelled(j): // the process ends
			return errors.Join(err, b.file.shut())
		case ctx.Err() != nil, errors.Is(err, domain.ErrUnknownEvent), errors.Is(err, domain.ErrCorrupt), errors.Is(err, errTooManyParked):
			return errors.Join(err, b.file.shut(), r.drop(b.file.path))
		case damaged(err):
			r.logger.Warn("half-built file is damaged; from the beginning", "error", err)
			_ = b.file.shut()
			if err := r.drop(b.file.path); err != nil {
				return err
			}
			if b, err = r.openBeside(j); err != nil {
				return err
			}
		default:
			r.logger.Error("rebuild stops for a moment", "error", err, "retry", backoff)
		}
		j.progress.failed(err)
		if b.through.After(before) {
			backoff = minBackoff
		}
		r.leave(j)
		pause(ctx, backoff)
		if err := r.enter(ctx, j); err != nil {
			continue // and out
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (r *runner) wasCancelled(j *job) bool {
	r.rebuilds.mu.Lock()
	defer r.rebuilds.mu.Unlock()
	return j.cancelled
}

// openBeside opens the file to build.
func (r *runner) openBeside(j *job) (*instance, error) {
	r.rebuilds.mu.Lock()
	b := j.half
	j.half = nil
	r.rebuilds.mu.Unlock()
	if b == nil {
		var err error
		if b, err = r.create(true); err != nil {
			return nil, err
		}
	}
	j.progress.opened(b.through, r.config.Log.Head(), b.version)
	return b, nil
}

// buildOn folds until it has caught up and the file has been swapped in.
func (r *runner) buildOn(ctx context.Context, j *job, b *instance) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			b.limit = 1
			err = fmt.Errorf("panic in the rebuild of %s: %v", r.name, reason)
		}
	}()
	if err := b.resume(ctx); err != nil {
		return err
	}
	for chased := 0; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		started := time.Now()
		commits, err := r.config.Log.Read(ctx, b.through.Seq, b.limit)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if len(commits) > 0 {
			if err := r.foldBeside(j, b, commits); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		// What is left then is folded while the live fold stands still. A
		// writer that is nearly as fast is not chased for ever.
		gap := r.config.Log.Head().Seq - b.through.Seq
		if gap <= swapGap || gap <= maxBatch && chased >= maxChase {
			return r.swapIn(ctx, b)
		}
		if gap <= maxBatch {
			chased++
		}
		b.limit = min(2*b.limit, maxBatch)
		// Commands and sockets come first: a rebuild takes two thirds of one
		// processor.
		pause(ctx, time.Since(started)/2)
	}
}

func (r *runner) foldBeside(j *job, b *instance, commits []*domain.Commit) error {
	if err := gapless(b.through.Seq, commits); err != nil {
		return err
	}
	before := b.through
	events, err := b.advance(commits)
	if b.through != before {
		j.progress.setParked(b.parking.events)
		j.progress.advance(b.through, events)
	}
	return err
}

// swapIn has the goroutine that folds swap the file in, and deletes the one that
// served when those that look at it have gone.
func (r *runner) swapIn(ctx context.Context, b *instance) error {
	// Here, where nobody waits: it may take long.
	if err := b.file.settle(b.through); err != nil {
		return errors.Join(fmt.Errorf("write %s to disk: %w", b.file.path, err), b.rollback())
	}
	b.written = b.through
	b.file.stretch.Store(&stretch{from: b.through, to: b.through})
	var old *instance
	var at domain.Position
	// Not to be given up half-way: it is either done or not.
	err := r.ask(context.WithoutCancel(ctx), func(ctx context.Context) (err error) {
		old, err = r.swap(ctx, b)
		at = b.through // which moves on from here
		return err
	})
	if err != nil || old == nil {
		return err
	}
	r.logger.Info("rebuilt file serves", "file", filepath.Base(b.file.path), "pos", at)
	if err := errors.Join(old.file.shut(), r.drop(old.file.path)); err != nil {
		r.logger.Warn("old projection file stays", "error", err)
	}
	return nil
}

// swap makes b the file that serves, on the goroutine that folds: nothing moves
// meanwhile. It is not behind the one before, so that nobody sees time go back.
func (r *runner) swap(ctx context.Context, b *instance) (old *instance, err error) {
	for r.served != nil && r.served.through.After(b.through) {
		commits, err := r.config.Log.Read(ctx, b.through.Seq, b.limit)
		if err == nil {
			err = gapless(b.through.Seq, commits)
		}
		if err == nil && len(commits) == 0 {
			err = fmt.Errorf("%w: it ends at %s, the projection is at %s", domain.ErrCorrupt, b.through, r.served.through)
		}
		if err == nil {
			_, err = b.advance(commits)
		}
		if err != nil {
			return nil, fmt.Errorf("catch up for the swap: %w", err)
		}
	}
	r.config.step(r.name, stepSwapping)
	if r.served != nil && r.inherit != nil {
		if _, err := r.takeOver(b, r.served.file.writer); err != nil {
			return nil, err
		}
	}
	if err := b.file.promote(b.through); err != nil {
		return nil, errors.Join(err, b.file.rollback())
	}
	b.written = b.through
	r.config.step(r.name, stepPromoted)
	b.file.stretch.Store(&stretch{from: b.through, to: b.through})
	if r.releasing != nil {
		defer r.releasing()()
	}
	old = r.replace(b)
	err = r.serving()
	r.progress.swapped(b.through, b.version)
	r.progress.setParked(b.parking.events)
	if err != nil { // what it keeps in memory is as before
		r.logger.Error("serve a rebuilt file", "error", err)
	}
	r.config.step(r.name, stepSwapped)
	return old, nil
}
