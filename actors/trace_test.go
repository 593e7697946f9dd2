package actors

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// recorder is a Tracer that notes what it is told. It samples commits with a
// "traced".
type recorder struct {
	mu   sync.Mutex // guards what follows
	asks int
	fed  []string
	// writes are by session, in which each trace is "live" or "replay" and
	// the commit.
	writes map[string][]string
	lost   []string
}

type recordedTrace struct {
	r    *recorder
	name string
}

func (r *recorder) Feed(c *domain.Commit, live bool) Trace {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks++
	if c.Metadata["traced"] == "" {
		return nil
	}
	kind := map[bool]string{true: "live", false: "replay"}[live]
	return recordedTrace{r, fmt.Sprintf("%s %d", kind, c.Position.Seq)}
}

func (t recordedTrace) Fed(rooms int) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.r.fed = append(t.r.fed, fmt.Sprintf("%s to %d", t.name, rooms))
}

func (r *recorder) Written(w *Write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range w.Traces {
		r.writes[w.SID] = append(r.writes[w.SID], fmt.Sprintf("%s: %d", t.(recordedTrace).name, w.Events))
	}
	if w.Lost {
		r.lost = append(r.lost, w.SID)
	}
}

// putTraced appends a commit with two events.
func (h *house) putTraced(metadata map[string]string) {
	h.t.Helper()
	const stream = "branch/b1"
	version := h.log.Version(stream) + 1
	fact := domain.Fact{BranchID: "b1", Payload: domain.InventoryUpdated{ProductID: "p1", Delta: -1, Reason: "sale"}}
	c, err := domain.NewCommit(stream, version, domain.Command{ID: fmt.Sprint("traced", version), Type: "test", At: time.Now(), Metadata: metadata}, domain.Decision{Events: []domain.Fact{fact, fact}})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.log.Append(context.Background(), c); err != nil {
		h.t.Fatal(err)
	}
}

func Test_sampled_commits_are_traced_to_the_first_connections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{writes: map[string][]string{}}
		h := newHouse(t, func(c *HubConfig) { c.Tracer = r })
		var clients []*client
		for range tracedWrites + 5 {
			c, _ := h.connect(staff("u", "b1"), "")
			clients = append(clients, c)
		}
		synctest.Wait()
		h.sell("b1")
		synctest.Wait()
		if r.asks != 0 {
			t.Errorf("asked about %d commits, want none without metadata", r.asks)
		}
		h.putTraced(map[string]string{"other": "x"})
		h.putTraced(map[string]string{"traced": "yes"})
		synctest.Wait()
		if want := []string{"live 3 to 2"}; !slices.Equal(r.fed, want) { // two events, one room
			t.Errorf("fed %q, want %q", r.fed, want)
		}
		if len(r.writes) != tracedWrites {
			t.Errorf("writes to %d connections are traced, want %d", len(r.writes), tracedWrites)
		}
		for sid, got := range r.writes {
			// The two commits may have gone out in one write.
			if len(got) != 1 || got[0] != "live 3: 2" && got[0] != "live 3: 4" {
				t.Errorf("%s got %q, want one write with the two events", sid, got)
			}
		}
		if len(r.lost) > 0 {
			t.Errorf("lost: %v", r.lost)
		}
		for _, c := range clients {
			c.leave()
		}
		h.hub.Close()
	})
}

func Test_a_traced_write_that_never_ended_is_lost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{writes: map[string][]string{}}
		h := newHouse(t, func(c *HubConfig) { c.Tracer = r })
		c, _ := h.connect(staff("u", "b1"), "")
		synctest.Wait()
		c.setStuck(true)
		h.putTraced(map[string]string{"traced": "yes"})
		synctest.Wait()
		if given := c.conn.Next(nil, 1<<10); len(given) != 2 {
			t.Errorf("%d frames, want the two events", len(given))
		}
		c.leave()
		if want := []string{c.conn.SID()}; !slices.Equal(r.lost, want) {
			t.Errorf("lost %v, want %v", r.lost, want)
		}
		h.hub.Close()
	})
}

func Test_what_is_read_again_is_traced_as_a_replay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{writes: map[string][]string{}}
		h := newHouse(t, func(c *HubConfig) { c.Tracer, c.RecentFrames, c.TailFrames = r, 1, 1 })
		before := h.sell("b1")
		h.putTraced(map[string]string{"traced": "yes"})
		h.sell("b1")
		h.sell("b1")
		h.forget()
		c, recovered := h.connect(staff("u", "b1"), before)
		synctest.Wait()
		if !recovered {
			t.Error("not recovered")
		}
		if got, want := r.writes[c.conn.SID()], []string{"replay 2: 4"}; !slices.Equal(got, want) {
			t.Errorf("writes %q, want %q", got, want)
		}
		c.leave()
		h.hub.Close()
	})
}
