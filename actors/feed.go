package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"bms/domain"
)

// feedBatch is how many commits the feed takes from the log at once.
const feedBatch = 256

// follow is the feed: it follows the log, once per node and in order. For each
// event it makes the frame, puts it into the tail of each of its rooms that
// lives here, then moves the head, then tells those rooms. Since no tail lacks
// anything up to the head, a connection that merges its rooms' tails up to the
// head can neither miss nor reorder. It returns when ctx ends.
func (h *Hub) follow(ctx context.Context) {
	after := h.rooms.head.Load().Seq
	for {
		commits, err := h.cfg.Log.Next(ctx, after, feedBatch)
		if err == nil {
			err = h.publish(commits)
		}
		if ctx.Err() != nil {
			return
		}
		h.frozen.Store(errorOf(err))
		if err != nil {
			// Nothing is skipped: what can't be read or published is tried
			// again, and readiness says so meanwhile.
			h.cfg.Logger.Error("feed stands still", "after", after, "error", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
			continue
		}
		after = commits[len(commits)-1].Position.Seq
	}
}

// errorOf boxes an error for an atomic pointer; nil stays nil.
func errorOf(err error) *error {
	if err == nil {
		return nil
	}
	return &err
}

var errFeedPanicked = errors.New("feed panicked")

// publish puts commits into the tails, moves the head and tells the rooms. It
// may be called again with the same commits after an error.
func (h *Hub) publish(commits []*domain.Commit) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%w at %v: %v\n%s", errFeedPanicked, commits[0].Position, reason, debug.Stack())
		}
	}()
	for _, r := range h.fill(commits) {
		r.news()
	}
	for _, t := range h.traced {
		t.trace.Fed(t.rooms)
	}
	return nil
}

// fill does publish's part under the registry's lock and returns the rooms
// that have news.
func (h *Hub) fill(commits []*domain.Commit) []*room {
	h.rooms.mu.RLock()
	defer h.rooms.mu.RUnlock()
	touched := h.touched[:0]
	var frames []*Frame
	events := 0
	h.batch++
	batch := &origin{fed: h.cfg.Now()}
	clear(h.traced)
	h.traced = h.traced[:0]
	for _, c := range commits {
		o, rooms := batch, 0
		if trace := h.traceOf(c, true); trace != nil {
			o = &origin{fed: batch.fed, trace: trace}
		}
		frames = h.framesOf(frames[:0], c, o)
		for _, f := range frames {
			h.recent.add(f, h.batch)
			for _, name := range f.rooms {
				r := h.rooms.byName[name]
				if r == nil {
					continue
				}
				r.tail.add(f, h.batch)
				rooms++
				if !containsRoom(touched, r) {
					touched = append(touched, r)
				}
			}
			events++
		}
		if o.trace != nil {
			h.traced = append(h.traced, fedTrace{o.trace, rooms})
		}
	}
	h.events.Add(uint64(events))
	h.cfg.Fed(events)
	h.touched = touched
	head := commits[len(commits)-1].Position
	h.rooms.head.Store(&head)
	return touched
}

// fedTrace is the trace of a commit of the feed's batch.
type fedTrace struct {
	trace Trace
	rooms int
}

// containsRoom looks from the end: the rooms of an event are mostly those of
// the one before.
func containsRoom(rooms []*room, r *room) bool {
	for i := len(rooms) - 1; i >= 0; i-- {
		if rooms[i] == r {
			return true
		}
	}
	return false
}
