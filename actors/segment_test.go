package actors

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// countingLog counts the commits that were read.
type countingLog struct {
	domain.Follower
	domain.Reader
	read atomic.Int64
	wait chan struct{} // reads wait until it is closed; nil: they don't
	// takes is how long a read takes; four of them are of one span.
	takes time.Duration
}

func (l *countingLog) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	if l.wait != nil {
		<-l.wait
	}
	time.Sleep(l.takes)
	commits, err := l.Reader.Read(ctx, after, limit)
	l.read.Add(int64(len(commits)))
	return commits, err
}

// behindTheTails makes a hub that keeps next to nothing in memory, and counts
// what it reads.
func behindTheTails(t *testing.T, segmentBytes int) (*house, *countingLog) {
	var log *countingLog
	h := newHouse(t, func(c *HubConfig) {
		log = &countingLog{Follower: c.Log, Reader: c.Log}
		c.Log, c.TailFrames, c.RecentFrames, c.SegmentBytes = log, 1, 1, segmentBytes
	})
	return h, log
}

func Test_catching_up_what_is_of_no_concern_is_passed_without_being_read_again(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, log := behindTheTails(t, 1) // frames are forgotten at once
		start := h.log.Head().String()
		for range 5000 {
			h.sell("b2")
		}
		mine := h.sell("b1")
		for range 5000 {
			h.sell("b2")
		}
		h.forget()
		first, _ := h.connect(staff("u1", "b1"), start)
		synctest.Wait()
		wantEvents(t, "the first", first.leave(), []string{mine})
		before := log.read.Load()
		second, _ := h.connect(staff("u2", "b1"), start)
		synctest.Wait()
		wantEvents(t, "the second", second.leave(), []string{mine})
		if read := log.read.Load() - before; read > 2*spanCommits {
			t.Errorf("the second made the log read %d commits again, want those around the one event", read)
		}
		h.hub.Close()
	})
}

func Test_catching_up_gives_out_the_session_before_it_looks_far(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, log := behindTheTails(t, 1<<20)
		log.takes = turnLease / 8
		start := h.log.Head().String()
		for range 20 * spanCommits {
			h.sell("b2")
		}
		h.forget()
		c := h.pull(staff("u1", "b1"), domain.NamespaceAll, start)
		frames := c.next()
		if len(frames) != 1 || !strings.HasPrefix(string(frames[0]), "session ") {
			t.Fatalf("the first Next gave out %q, want the session", frames)
		}
		if read := log.read.Load(); read > 0 {
			t.Errorf("the first Next read %d commits, want it to wait for its turn first", read)
		}
		calls := 0
		for c.conn.Cursor().Seq < h.log.Head().Seq {
			if synctest.Wait(); !c.woken() {
				t.Fatalf("nobody wakes the transport at %v, want it woken until the head %v", c.conn.Cursor(), h.log.Head())
			}
			if frames := c.next(); len(frames) > 0 {
				t.Fatalf("got %q, want nothing", frames)
			}
			calls++
		}
		if calls < 5 {
			t.Errorf("it came to the head in %d calls, want the transport to have its say in between", calls)
		}
		h.hub.Close()
	})
}

func Test_catching_up_through_large_commits_keeps_to_its_memory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1 << 20
		h, _ := behindTheTails(t, limit)
		start := h.log.Head()
		const lines = 2000
		var want []string
		for range 40 {
			want = append(want, h.count("b1", lines)...)
		}
		h.forget()
		c, _ := h.connectSized(staff("u1", "b1"), start.String(), 1<<20)
		synctest.Wait()
		wantEvents(t, "who catches up", c.leave(), want)
		s := h.hub.segments
		largest := 0
		for _, key := range s.kept.Keys() {
			seg, _ := s.kept.Peek(key)
			largest = max(largest, seg.bytes)
		}
		// A step of reading is not cut, and the log in memory doesn't bound it
		// in bytes.
		if step := stepCommits * lines * 1024; s.bytes > limit+largest || largest > limit/16+step {
			t.Errorf("segments hold %d bytes, the largest %d, want about %d", s.bytes, largest, limit)
		}
		h.hub.Close()
	})
}

// poisonedReplay is a Tracer that panics at what is read again.
type poisonedReplay struct{}

func (poisonedReplay) Feed(_ *domain.Commit, live bool) Trace {
	if !live {
		panic("tracer's mistake")
	}
	return nil
}

func (poisonedReplay) Written(*Write) {}

// Invariant 7: who comes back again and again to what can't be made into frames
// harms nobody but himself.
func Test_catching_up_through_a_segment_that_panics_ends_that_connection_alone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *HubConfig) { c.Tracer, c.TailFrames, c.RecentFrames = poisonedReplay{}, 1, 1 })
		start := h.log.Head().String()
		live, _ := h.connect(staff("u1", "b1"), "")
		var want []string
		for range 10 {
			c, err := domain.NewCommit("branch/b1", h.log.Version("branch/b1")+1, domain.Command{Type: "test", Metadata: map[string]string{"traceparent": "x"}},
				domain.Decision{Events: []domain.Fact{{BranchID: "b1", Payload: domain.InventoryUpdated{ProductID: "p1", Delta: -1}}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := h.log.Append(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			want = append(want, c.Position.String())
			synctest.Wait()
		}
		for i := range 5 {
			behind, recovered := h.connect(staff("u2", "b1"), start)
			synctest.Wait()
			if got := behind.endReason(); !recovered || got != EndLogUnavailable {
				t.Fatalf("time %d: recovered %t and ended for %q, want it ended for %q", i+1, recovered, got, EndLogUnavailable)
			}
			wantEvents(t, "who is behind", behind.leave(), nil)
		}
		want = append(want, h.sell("b1"))
		synctest.Wait()
		wantEvents(t, "who is up to date", live.leave(), want)
		if got := h.hub.cfg.System.Panics(); got != 5 {
			t.Errorf("%d panics counted, want 5", got)
		}
		h.hub.Close()
	})
}

func Test_who_leaves_while_the_log_is_read_joins_no_room(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, log := behindTheTails(t, 1<<20)
		start := h.log.Head().String()
		for range 10 {
			h.sell("b1")
		}
		h.setUser(domain.UserUpdated{UserID: "u1", Action: domain.ActionCreated, Role: domain.RoleStaff, Branches: []string{"b1", "b2"}})
		h.forget()
		goOn := make(chan struct{})
		log.wait = goOn
		c, _ := h.connect(staff("u1", "b1"), start)
		synctest.Wait()
		c.conn.Closed("transport close")
		close(goOn)
		synctest.Wait()
		c.leave()
		time.Sleep(h.hub.cfg.RoomIdle)
		synctest.Wait()
		if rooms := h.hub.RoomInfos(); len(rooms) != 0 {
			t.Errorf("the rooms %v have members, want none", rooms)
		}
		h.hub.Close()
	})
}

func Test_who_leaves_while_waiting_for_a_turn_waits_no_longer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := behindTheTails(t, 1<<20)
		start := h.log.Head().String()
		for range 10 {
			h.sell("b1")
		}
		h.forget()
		for range h.hub.cfg.Turns {
			if _, err := h.hub.Turn(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		before := time.Now()
		c, _ := h.connect(staff("u1", "b1"), start)
		synctest.Wait()
		wantEvents(t, "who left", c.leave(), nil)
		if waited := time.Since(before); waited > 0 {
			t.Errorf("the flusher of who left waited %v, want not at all", waited)
		}
		h.hub.Close()
	})
}
