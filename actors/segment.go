package actors

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sort"
	"strconv"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"

	"bms/domain"
)

// spanCommits is how many commits a span has: span n holds the sequences
// n*spanCommits+1 to (n+1)*spanCommits.
const spanCommits = 256

const (
	// stepCommits is how many commits are read at once; the log bounds them
	// in bytes too.
	stepCommits = 64
	// spansKept bounds what is known of spans without their frames: about a
	// kilobyte each, of four million commits in all.
	spansKept = 16 << 10
	// passedAtOnce bounds how many stretches of no concern a connection
	// passes in one turn.
	passedAtOnce = 1024
)

// stretch is what is known of a part of a span: where it lies and which rooms
// have events in it. Most spans are one stretch; one of large commits is cut
// into several, and so is the last one, which grows with the log. Stretches
// are immutable.
type stretch struct {
	after uint64          // the sequence before its first commit
	upTo  domain.Position // its last commit
	rooms []uint32        // hashes of their names, sorted
}

// concerns reports whether one of the members' rooms may have events in it.
func (s *stretch) concerns(members []member) bool {
	for i := range members {
		if _, ok := slices.BinarySearch(s.rooms, members[i].room.hash); ok {
			return true
		}
	}
	return false
}

// segment is a stretch made into frames, shared by all connections that catch
// up through it. It is immutable.
type segment struct {
	frames []*Frame
	rooms  map[string][]int32 // indexes into frames, by the room's name
	upTo   domain.Position
	bytes  int
}

// segments reads the log for connections that are behind their rooms' tails.
// Each stretch is read and encoded once, however many need it; what is kept of
// it is bounded in bytes. Which rooms it is of is known for much longer, so
// that a connection passes what is of no concern to it without reading it.
type segments struct {
	hub    *Hub
	limit  int // bytes kept at most
	flight singleflight.Group

	mu    sync.Mutex                        // guards the following
	kept  *simplelru.LRU[uint64, *segment]  // by stretch.after
	spans *simplelru.LRU[uint64, []stretch] // by number; the stretches follow one another
	bytes int
}

func newSegments(h *Hub, limit int) *segments {
	s := &segments{hub: h, limit: limit}
	var err error
	if s.kept, err = simplelru.NewLRU(1<<20, func(_ uint64, old *segment) { s.bytes -= old.bytes }); err == nil {
		s.spans, err = simplelru.NewLRU[uint64, []stretch](spansKept, nil)
	}
	if err != nil { // only for a size below one
		panic(err)
	}
	return s
}

// roomHash hashes room names for stretches. Two rooms of one hash cost a
// reading in vain.
var roomHash = func() func(name string) uint32 {
	seed := maphash.MakeSeed()
	return func(name string) uint32 { return uint32(maphash.String(seed, name)) }
}()

// after appends to dst, which must be empty, the frames that the members' rooms
// have after cursor, and returns up to where they are complete: at most head,
// and beyond cursor. ctx bounds the wait.
func (s *segments) after(ctx context.Context, dst []*Frame, members []member, cursor, head domain.Position) ([]*Frame, domain.Position, error) {
	for range passedAtOnce {
		st, read, err := s.stretchAfter(ctx, cursor, head)
		if err != nil {
			return dst, cursor, err
		}
		if st.concerns(members) {
			seg, err := s.get(ctx, st)
			if err != nil {
				return dst, cursor, err
			}
			dst, cursor = seg.after(dst, members, cursor)
			return dst, cursor, nil
		}
		cursor = st.upTo
		if read || !head.After(cursor) {
			break
		}
	}
	return dst, cursor, nil
}

// stretchAfter returns the stretch with what follows cursor, which must be
// before head, and whether it had to be read.
func (s *segments) stretchAfter(ctx context.Context, cursor, head domain.Position) (st *stretch, read bool, err error) {
	// A cursor inside a commit goes on in that commit: look at its own span
	// first and go on to the next one when that holds nothing later.
	for n := (max(cursor.Seq, 1) - 1) / spanCommits; ; n++ {
		known := s.known(n)
		i := sort.Search(len(known), func(i int) bool { return known[i].upTo.After(cursor) })
		if i < len(known) {
			return &known[i], false, nil
		}
		after, want := n*spanCommits, min((n+1)*spanCommits, head.Seq)
		if len(known) > 0 {
			after = known[len(known)-1].upTo.Seq
		}
		for after < want {
			if st, err = s.read(ctx, n, after, want); err != nil || st.upTo.After(cursor) {
				return st, true, err
			}
			after = st.upTo.Seq
		}
	}
}

func (s *segments) known(n uint64) []stretch {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, _ := s.spans.Get(n)
	return known
}

// get returns a stretch's frames.
func (s *segments) get(ctx context.Context, st *stretch) (*segment, error) {
	s.mu.Lock()
	seg, ok := s.kept.Get(st.after)
	s.mu.Unlock()
	if ok && seg.upTo == st.upTo {
		return seg, nil
	}
	return s.load(ctx, st.after, st.upTo.Seq, false)
}

// read reads the stretch of span n that begins after a sequence and ends at
// want, or before if that is much.
func (s *segments) read(ctx context.Context, n, after, want uint64) (*stretch, error) {
	seg, err := s.load(ctx, after, want, true)
	if err != nil {
		return nil, err
	}
	st := stretch{after: after, upTo: seg.upTo, rooms: make([]uint32, 0, len(seg.rooms))}
	for name := range seg.rooms {
		st.rooms = append(st.rooms, roomHash(name))
	}
	slices.Sort(st.rooms)
	s.mu.Lock()
	defer s.mu.Unlock()
	known, _ := s.spans.Get(n)
	end := n * spanCommits
	if len(known) > 0 {
		end = known[len(known)-1].upTo.Seq
	}
	if end == after { // else somebody else was as quick
		s.spans.Add(n, append(known[:len(known):len(known)], st))
	}
	return &st, nil
}

// load reads commits after a sequence up to want, and makes a segment of them
// that is kept. cut says that it may end before, when it has become large.
func (s *segments) load(ctx context.Context, after, want uint64, cut bool) (*segment, error) {
	key := strconv.FormatUint(after, 36) + "/" + strconv.FormatUint(want, 36) + "/" + strconv.FormatBool(cut)
	got := s.flight.DoChan(key, func() (any, error) { return s.make(after, want, cut) })
	select {
	case r := <-got:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*segment), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// errSegmentPanicked is what those get who wait for a segment whose making has
// panicked.
var errSegmentPanicked = errors.New("making it into frames panicked")

// make is load for all who wait for it: in no caller's context, and fenced,
// since singleflight passes on a panic where nobody can recover from it.
func (s *segments) make(after, want uint64, cut bool) (seg *segment, err error) {
	if !s.hub.cfg.System.Fence("segments", "make", func() { seg, err = s.fill(after, want, cut) }) {
		return nil, fmt.Errorf("read the log after %d: %w", after, errSegmentPanicked)
	}
	return seg, err
}

// fill makes a segment and keeps it.
func (s *segments) fill(after, want uint64, cut bool) (*segment, error) {
	seg := &segment{rooms: map[string][]int32{}}
	for at := after; at < want && (!cut || seg.bytes <= s.limit/16); at = seg.upTo.Seq {
		commits, err := s.hub.cfg.Log.Read(s.hub.ctx, at, int(min(want-at, stepCommits)))
		if err != nil {
			return nil, fmt.Errorf("read the log after %d: %w", at, err)
		}
		if len(commits) == 0 {
			return nil, fmt.Errorf("read the log after %d: %w: it ends before %d", at, domain.ErrCorrupt, want)
		}
		for _, c := range commits {
			seg.add(s.hub, c)
		}
	}
	s.keep(after, seg)
	return seg, nil
}

// add adds a commit's frames.
func (s *segment) add(h *Hub, c *domain.Commit) {
	var o *origin
	if trace := h.traceOf(c, false); trace != nil {
		o = &origin{trace: trace}
	}
	i := len(s.frames)
	s.frames = h.framesOf(s.frames, c, o)
	for ; i < len(s.frames); i++ {
		f := s.frames[i]
		s.bytes += f.size()
		for _, name := range f.rooms {
			s.rooms[name] = append(s.rooms[name], int32(i))
		}
	}
	s.upTo = c.Position
}

func (s *segments) keep(after uint64, seg *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept.Remove(after)
	s.kept.Add(after, seg)
	s.bytes += seg.bytes
	for s.bytes > s.limit && s.kept.Len() > 1 {
		s.kept.RemoveOldest()
	}
}

// after appends the frames that the members' rooms have after cursor, some
// hundreds at most, and returns up to where they are complete.
func (s *segment) after(dst []*Frame, members []member, cursor domain.Position) ([]*Frame, domain.Position) {
	upTo, sources := s.upTo, 0
	for i := range members {
		in := s.rooms[members[i].room.name]
		in = in[sort.Search(len(in), func(i int) bool { return s.frames[in[i]].pos().After(cursor) }):]
		if len(in) == 0 {
			continue
		}
		sources++
		if len(in) > chunk {
			in = in[:chunk]
			if last := s.frames[in[chunk-1]].pos(); upTo.After(last) {
				upTo = last
			}
		}
		for _, at := range in {
			dst = append(dst, s.frames[at])
		}
	}
	return merged(dst, sources, upTo), upTo
}
