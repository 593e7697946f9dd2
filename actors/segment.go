package actors

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"

	"bms/domain"
)

// segmentCommits is how many commits a segment spans: segment n holds the
// sequences n*segmentCommits+1 to (n+1)*segmentCommits.
const segmentCommits = 256

// segment is a stretch of the log made into frames, shared by all connections
// that catch up through it. It is immutable; a longer one takes its place when
// the log has grown.
type segment struct {
	frames []*Frame
	upTo   domain.Position // last commit in it
	bytes  int
}

// segments reads the log for connections that are behind their rooms' tails.
// Each stretch is read and encoded once, however many need it, and what is kept
// is bounded in bytes. Hub.catchingUp bounds the reads at once.
type segments struct {
	hub    *Hub
	limit  int // bytes kept at most
	flight singleflight.Group

	mu    sync.Mutex // guards cache and bytes
	cache *simplelru.LRU[uint64, *segment]
	bytes int
}

func newSegments(h *Hub, limit int) *segments {
	s := &segments{hub: h, limit: limit}
	cache, err := simplelru.NewLRU(1<<20, func(_ uint64, old *segment) { s.bytes -= old.bytes })
	if err != nil { // only for a size below one
		panic(err)
	}
	s.cache = cache
	return s
}

// after returns the segment in which reading goes on after cursor, complete at
// least up to head or to the segment's own end. ctx bounds the wait.
func (s *segments) after(ctx context.Context, cursor, head domain.Position) (*segment, error) {
	// A cursor inside a commit goes on in that commit; the index tells
	// nothing of the commit's length, so look at the cursor's own segment
	// first and go on to the next one when that holds nothing later.
	n := (max(cursor.Seq, 1) - 1) / segmentCommits
	for {
		seg, err := s.get(ctx, n, head)
		if err != nil {
			return nil, err
		}
		if seg.upTo.After(cursor) || (n+1)*segmentCommits >= head.Seq {
			return seg, nil
		}
		n++
	}
}

// get returns segment n, complete up to head or its own end.
func (s *segments) get(ctx context.Context, n uint64, head domain.Position) (*segment, error) {
	want := min((n+1)*segmentCommits, head.Seq)
	old := s.cached(n)
	if old != nil && old.upTo.Seq >= want {
		return old, nil
	}
	// The key names the wanted end too: a longer want must not be answered
	// by a shorter read under way.
	key := strconv.FormatUint(n, 36) + "/" + strconv.FormatUint(want, 36)
	got := s.flight.DoChan(key, func() (any, error) { return s.read(n, want) })
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

func (s *segments) cached(n uint64) *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg, _ := s.cache.Get(n)
	return seg
}

// read reads segment n up to the sequence want, from where the cached part
// ends, and keeps it. It belongs to all who wait for it, hence to no caller's
// context.
func (s *segments) read(n, want uint64) (*segment, error) {
	after := n * segmentCommits
	next := &segment{}
	if old := s.cached(n); old != nil {
		if old.upTo.Seq >= want {
			return old, nil
		}
		after = old.upTo.Seq
		*next = segment{frames: old.frames[:len(old.frames):len(old.frames)], upTo: old.upTo, bytes: old.bytes}
	}
	for after < want {
		commits, err := s.hub.cfg.Log.Read(s.hub.ctx, after, int(want-after))
		if err != nil {
			return nil, fmt.Errorf("read the log after %d: %w", after, err)
		}
		if len(commits) == 0 {
			return nil, fmt.Errorf("read the log after %d: %w: it ends before %d", after, domain.ErrCorrupt, want)
		}
		for _, c := range commits {
			var o *origin
			if trace := s.hub.traceOf(c, false); trace != nil {
				o = &origin{trace: trace}
			}
			next.frames = s.hub.framesOf(next.frames, c, o)
			for i := range c.Events {
				next.bytes += 2*len(c.Events[i].Data) + 512 // the event, and about as much encoded
			}
			next.upTo = c.Position
		}
		after = next.upTo.Seq
	}
	s.keep(n, next)
	return next, nil
}

func (s *segments) keep(n uint64, seg *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache.Remove(n)
	s.cache.Add(n, seg)
	s.bytes += seg.bytes
	for s.bytes > s.limit && s.cache.Len() > 1 {
		s.cache.RemoveOldest()
	}
}
