package projections

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"bms/domain"
)

// progress is how far a projection is: what its fold reports, and what others
// wait for and ask about.
type progress struct {
	now func() time.Time

	mu      sync.Mutex // guards all below
	pos     domain.Position
	target  domain.Position // head when the file was opened: live from there on
	from    domain.Position // where this file began to fold
	live    bool
	fresh   bool // the file was empty when it was opened
	version int  // of the file
	parked  int  // events set aside
	// mark is a head that was still to be reached at markAt: who hasn't
	// reached it long after doesn't move.
	mark    domain.Position
	markAt  time.Time
	stopped bool // nothing is folded any more
	err     error
	damaged error         // a query met a damaged file
	hurt    *file         // which one
	cancel  func()        // ends the fold's wait for commits
	moved   chan struct{} // closed and replaced when there is news for waiters
	waiting int           // number of waiters
	hurry   chan struct{} // 1 place; a waiter has come

	// oldest is the time of the oldest commit not folded yet, as far as it is
	// known: zero between two batches of a projection that is live.
	oldest time.Time
	// hand is the number of events of the batch at hand, upTo the sequence of
	// its last commit and newest its time.
	hand, upTo uint64
	newest     time.Time
	// total events folded, before of them into an earlier file, and two
	// samples of it for the rate.
	total, before uint64
	prev, last    sample
}

type sample struct {
	at    time.Time
	total uint64
}

// stallTime is how long a projection may be at one place with more to fold.
const stallTime = 10 * time.Second

// rateWindow is the least time over which a rate is measured; the most is
// twice that.
const rateWindow = 2 * time.Second

func (p *progress) init(now func() time.Time) {
	p.now = now
	p.moved = make(chan struct{})
	p.hurry = make(chan struct{}, 1)
	p.prev.at, p.last.at = now(), now()
}

func (p *progress) opened(pos, head domain.Position, version int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pos, p.from, p.target, p.before = pos, pos, head, p.total
	p.live, p.fresh, p.damaged, p.version = false, pos.Seq == 0, nil, version
	p.news()
}

// swapped is told when another file, which is not behind, serves in place of
// the one before.
func (p *progress) swapped(pos domain.Position, version int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pos.After(p.pos) {
		p.pos = pos
	}
	p.from, p.before = p.pos, p.total
	p.fresh, p.damaged, p.err, p.version = false, nil, nil, version
	p.news()
}

func (p *progress) setParked(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parked = n
}

// resume is told what position is in the file. Normally that is known, but not
// after a panic between its commit and advance.
func (p *progress) resume(pos domain.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pos.After(p.pos) {
		p.pos = pos
		p.news()
	}
}

// failing reports whether something went wrong and nothing was folded since.
func (p *progress) failing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err != nil
}

// recovered is told that there is nothing wrong any more.
func (p *progress) recovered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = nil
}

// lost is told when the file is thrown away.
func (p *progress) lost() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pos, p.live, p.fresh = domain.Position{}, false, true
}

func (p *progress) position() domain.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pos
}

func (p *progress) isLive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live
}

// catchUp reports whether the projection becomes live just now.
func (p *progress) catchUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live || p.target.After(p.pos) {
		return false
	}
	p.live, p.err, p.oldest = true, nil, time.Time{}
	return true
}

// caught reports whether the projection has what was in the log when its file
// was opened.
func (p *progress) caught() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.target.After(p.pos)
}

// aim is the head that the file was to reach when it was opened.
func (p *progress) aim() domain.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

// folded is the number of events folded in all.
func (p *progress) folded() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// versionOf is the version of the file that serves.
func (p *progress) versionOf() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// servesOld reports whether a file of another version serves.
func (p *progress) servesOld(version int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version != version && p.version != 0
}

func (p *progress) folding(commits []*domain.Commit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := commits[len(commits)-1]
	p.oldest, p.newest, p.upTo, p.hand = commits[0].At, last.At, last.Position.Seq, 0
	for _, c := range commits {
		p.hand += uint64(len(c.Events))
	}
}

// behind is told of the oldest commit not folded yet while nothing is folded.
func (p *progress) behind(oldest *domain.Commit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.oldest = oldest.At
}

func (p *progress) advance(pos domain.Position, events int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pos, p.err, p.hand, p.upTo = pos, nil, 0, 0
	if p.oldest = p.newest; p.live { // while it catches up, the next is of the same time
		p.oldest = time.Time{}
	}
	p.total += uint64(events)
	p.measure()
	p.news()
}

func (p *progress) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	p.news()
}

func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.news()
}

// news wakes who waits. The caller holds mu.
func (p *progress) news() {
	if p.waiting > 0 {
		close(p.moved)
		p.moved = make(chan struct{})
	}
}

// wait returns once pos is folded.
func (p *progress) wait(ctx context.Context, pos domain.Position) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting++
	defer func() { p.waiting-- }()
	for p.pos.Seq < pos.Seq {
		if p.stopped {
			if p.err != nil {
				return fmt.Errorf("%w: stopped at %s: %w", ErrUnavailable, p.pos, p.err)
			}
			return fmt.Errorf("%w: stopped at %s", ErrUnavailable, p.pos)
		}
		select {
		case p.hurry <- struct{}{}:
		default:
		}
		moved := p.moved
		p.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if err := ctx.Err(); err != nil && p.pos.Seq < pos.Seq {
			return err
		}
	}
	return nil
}

// linger waits for more to fold, unless somebody waits for what there is.
func (p *progress) linger(ctx context.Context) error {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.hurry:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// watch returns a context that ends, too, when a query finds the file damaged or
// somebody interrupts.
func (p *progress) watch(ctx context.Context, f *file) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel = cancel
	if p.hurt != f {
		p.damaged, p.hurt = nil, nil // it has gone
	}
	if p.damaged != nil {
		cancel()
	}
	return ctx, cancel
}

// interrupt ends the fold's wait for commits.
func (p *progress) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
	}
}

// damage is told by a query that a file is damaged.
func (p *progress) damage(f *file, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.damaged, p.hurt = err, f
	if p.cancel != nil {
		p.cancel()
	}
}

// damageSeen is what damage was told about a file.
func (p *progress) damageSeen(f *file) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hurt != f {
		return nil
	}
	return p.damaged
}

// measure keeps the samples of the rate. The caller holds mu.
func (p *progress) measure() {
	if now := p.now(); now.Sub(p.last.at) >= rateWindow {
		p.prev, p.last = p.last, sample{now, p.total}
	}
}

// status fills in what the fold's progress says.
func (p *progress) status(s *Status, head domain.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.measure()
	now := p.now()
	s.Position, s.Head, s.Version, s.Parked = p.pos, head, p.version, p.parked
	s.LagRecords = head.Seq - min(p.pos.Seq, head.Seq)
	s.LagEvents = p.lag(head)
	if !p.mark.After(p.pos) {
		p.mark, p.markAt = head, now
	}
	s.Stalled = p.mark.After(p.pos) && now.Sub(p.markAt) >= stallTime
	if s.LagRecords > 0 && !p.oldest.IsZero() {
		s.LagSeconds = max(now.Sub(p.oldest).Seconds(), 0)
	}
	if span := now.Sub(p.prev.at).Seconds(); span > 0 {
		s.Rate = float64(p.total-p.prev.total) / span
	}
	switch {
	case p.err != nil:
		s.State, s.LastError = StateFailed, p.err.Error()
	case p.fresh && p.target.After(p.pos):
		s.State = StateRebuilding
	case p.parked > 0:
		s.State = StateParked
	default:
		s.State = StateLive
	}
	eta := 0.0
	switch {
	case s.LagEvents == 0:
		s.ETA = &eta
	case s.State != StateFailed && s.Rate > 0 && p.pos.Seq > p.from.Seq:
		eta = float64(s.LagEvents) / s.Rate
		s.ETA = &eta
	}
}

// lag is the number of events up to a head. The caller holds mu.
func (p *progress) lag(head domain.Position) uint64 {
	known, from := p.hand, max(p.pos.Seq, p.upTo)
	if head.Seq <= from {
		return known
	}
	perRecord := 1.0
	if p.pos.Seq > p.from.Seq {
		perRecord = float64(p.total-p.before) / float64(p.pos.Seq-p.from.Seq)
	}
	return known + max(1, uint64(math.Round(float64(head.Seq-from)*perRecord)))
}
