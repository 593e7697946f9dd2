package projections

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bms/domain"
)

const (
	// noteStep is the least distance between two digests, in records. They
	// are taken at multiples of it, so that two nodes have some in common;
	// where a digest takes long, at multiples of its double, and so on.
	noteStep = 10_000
	// noteEvery is the time after which one is taken wherever the projection
	// is, if it has moved. The first is taken as soon as the projection is live:
	// it reads every row, and so finds a page that is damaged.
	noteEvery = 5 * time.Minute
	// noteTick is how often it is looked whether one is due.
	noteTick = time.Second
	// noteShare is the least time between two digests by the time one takes.
	noteShare = 50
	// maxNotes is the number of digests kept; their file is cut to it at
	// twice as many.
	maxNotes = 512
)

// NotedDigest is a projection's digest as it was at a position.
type NotedDigest struct {
	Position domain.Position `json:"position"`
	// Fold is the version of the fold, and its variant if there are some:
	// only digests of one fold can be compared.
	Fold   string `json:"fold"`
	Digest string `json:"digest"`
}

// notes are the digests noted of a projection, kept in {name}.digests beside
// its file: a line each, so that two nodes' can be compared with any tool.
type notes struct {
	path, tag string
	step      atomic.Uint64

	mu   sync.Mutex // guards list, at, cost, lines
	list []NotedDigest
	at   time.Time     // of the last of this process, or of the last try
	cost time.Duration // what the last took
	// lines is the number of lines in the file.
	lines int
}

func (n *notes) init(dir string, d definition) {
	n.path = filepath.Join(dir, d.name+".digests")
	n.tag = fmt.Sprintf("v%d", d.version)
	if d.variant != "" {
		n.tag += "-" + d.variant
	}
	n.step.Store(noteStep)
}

// load reads what was noted before. Lines of other folds are passed by; all are
// forgotten if the last one is not of this log.
func (n *notes) load(log domain.Follower) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	lines, err := readNotes(n.path, func(d NotedDigest) {
		if d.Fold == n.tag {
			n.list = append(n.list, d)
		}
	})
	n.lines = lines
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(n.list) > 0 && errors.Is(log.Check(n.list[len(n.list)-1].Position), domain.ErrUnknownPosition):
		n.list, n.lines = nil, 0
		return os.Remove(n.path)
	}
	n.list = n.list[max(0, len(n.list)-maxNotes):]
	return nil
}

// readNotes calls add for each digest noted in a file, and returns the number of
// lines. Lines that make no sense are passed by: one may be half written.
func readNotes(path string, add func(NotedDigest)) (lines int, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read noted digests: %w", err)
	}
	for text := bufio.NewScanner(bytes.NewReader(raw)); text.Scan(); {
		lines++
		fields := strings.Fields(text.Text())
		if len(fields) != 3 {
			continue
		}
		if pos, err := domain.ParsePosition(fields[0]); err == nil {
			add(NotedDigest{pos, fields[1], fields[2]})
		}
	}
	return lines, nil
}

// add notes a digest.
func (n *notes) add(pos domain.Position, digest string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k := len(n.list); k > 0 && !pos.After(n.list[k-1].Position) {
		return nil
	}
	n.list = append(n.list, NotedDigest{pos, n.tag, digest})
	mode := os.O_APPEND | os.O_CREATE | os.O_WRONLY
	lines := n.list[len(n.list)-1:]
	if n.lines++; n.lines > 2*maxNotes {
		n.list = append([]NotedDigest(nil), n.list[max(0, len(n.list)-maxNotes):]...)
		lines, n.lines = n.list, len(n.list)
		mode |= os.O_TRUNC
	}
	f, err := os.OpenFile(n.path, mode, 0o600)
	if err != nil {
		return fmt.Errorf("note a digest: %w", err)
	}
	var b strings.Builder
	for _, d := range lines {
		fmt.Fprintf(&b, "%s %s %s\n", d.Position, d.Fold, d.Digest)
	}
	_, err = f.WriteString(b.String())
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("note a digest: %w", err)
	}
	return nil
}

// all is what was noted, the oldest first.
func (n *notes) all() []NotedDigest {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.list[:len(n.list):len(n.list)]
}

func (n *notes) last() *NotedDigest {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) == 0 {
		return nil
	}
	d := n.list[len(n.list)-1]
	return &d
}

// cut ends a live fold's batch at the next place where a digest is due.
func (n *notes) cut(in *instance, live bool) int {
	if !live {
		return in.limit
	}
	step := n.step.Load()
	return int(min(uint64(in.limit), step-in.through.Seq%step))
}

// took adapts the step to what a digest takes.
func (n *notes) took(took time.Duration, now time.Time) {
	n.mu.Lock()
	since := now.Sub(n.at)
	n.cost, n.at = took, now
	n.mu.Unlock()
	switch step := n.step.Load(); {
	case took*noteShare > since && step < 1<<40:
		n.step.Store(2 * step)
	case took*noteShare*8 < since && step > noteStep:
		n.step.Store(step / 2)
	}
}

// due reports whether it is time for a digest wherever the projection is, by
// when the last was taken and what it took.
func (n *notes) due(pos domain.Position, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at.IsZero() {
		return true
	}
	k := len(n.list)
	return now.Sub(n.at) >= max(noteEvery, n.cost*noteShare) && (k == 0 || pos.After(n.list[k-1].Position))
}

// noteTask is a snapshot whose digest is to be noted.
type noteTask struct {
	r *runner
	v *snapshot
}

// note takes a snapshot if one is due where the fold is now, for who works out
// digests. If that one is busy, or all connections are, this one is left out.
func (r *runner) note(in *instance) {
	if in.through.Seq%r.notes.step.Load() != 0 || in.parking.count() > 0 {
		return
	}
	select {
	case c := <-in.file.readers:
		in.file.views.Add(1)
		v, err := in.file.snap(context.Background(), c)
		if err != nil {
			in.file.views.Done()
			r.logger.Warn("take a snapshot for a digest", "error", err)
			return
		}
		t := noteTask{r, v}
		select {
		case r.noter <- t:
		default:
			t.drop()
		}
	default:
	}
}

func (t noteTask) drop() {
	defer t.v.file.views.Done()
	if err := t.v.release(); err != nil {
		t.r.logger.Warn("give a snapshot back", "error", err)
	}
}

// do works the digest out and notes it, unless something is parked: then it is
// none of what the log comes to.
func (t noteTask) do(ctx context.Context) {
	defer t.drop()
	now := t.r.config.Now
	started := now()
	digest, err := t.v.digest(ctx, rest(ctx))
	t.r.notes.took(now().Sub(started), now())
	parked := int64(0)
	if err == nil {
		parked, err = t.v.parked(ctx)
	}
	if err == nil && parked == 0 {
		err = t.r.notes.add(t.v.pos, digest)
		t.r.config.step(t.r.name, stepNoted)
	}
	if damaged(err) {
		t.r.progress.damage(t.v.file, err)
		return
	}
	if err != nil && ctx.Err() == nil {
		t.r.logger.Warn("note a digest", "error", err)
	}
}

// rest makes a function that rests for as long as the time since it returned
// last, so that work in the background takes half a processor at most.
func rest(ctx context.Context) func() {
	last := time.Now()
	return func() {
		pause(ctx, time.Since(last))
		last = time.Now()
	}
}

// noteNow notes the digest of a live projection wherever it is, if one is due.
func (r *runner) noteNow(ctx context.Context) {
	if !r.progress.isLive() || !r.notes.due(r.progress.position(), r.config.Now()) {
		return
	}
	f, err := r.look()
	if err != nil {
		return
	}
	v, err := f.hold(ctx)
	if err != nil {
		f.views.Done()
		return
	}
	t := noteTask{r, v}
	t.do(ctx)
}

// parked is the number of commits set aside.
func (v *snapshot) parked(ctx context.Context) (n int64, err error) {
	_, err = v.one(ctx, func(r row) error {
		n = r.int(0)
		return nil
	}, "SELECT count(*) FROM local_parked")
	return n, err
}

// noteDigests notes digests until ctx ends, and lets go of what comes until
// done is closed.
func (s *Set) noteDigests(ctx context.Context, done <-chan struct{}) {
	tick := time.NewTicker(noteTick)
	defer tick.Stop()
	for {
		select {
		case t := <-s.noter:
			t.do(ctx)
		case <-tick.C:
			for _, r := range s.runners {
				r.noteNow(ctx)
			}
		case <-done:
			select {
			case t := <-s.noter:
				t.drop()
			default:
			}
			return
		}
	}
}
