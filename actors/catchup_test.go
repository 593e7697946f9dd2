package actors

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// puller is a transport whose flusher is the test.
type puller struct {
	t    *testing.T
	conn *Connection
	wake chan struct{}
}

// pull connects a puller, and lets its rooms have it.
func (h *house) pull(id domain.Identity, namespace, cursor string) *puller {
	h.t.Helper()
	p := &puller{t: h.t, wake: make(chan struct{}, 1)}
	conn, _, err := h.hub.Connect(h.t.Context(), ConnectRequest{
		Identity: id, Namespace: namespace, NewSID: h.newSID, Cursor: cursor, Transport: p,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	p.conn = conn
	synctest.Wait()
	p.woken()
	return p
}

func (p *puller) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *puller) Close(reason EndReason) { p.conn.Closed(string(reason)) }

// woken reports whether the transport was woken since it was asked last.
func (p *puller) woken() bool {
	select {
	case <-p.wake:
		return true
	default:
		return false
	}
}

// next pulls once.
func (p *puller) next() []string {
	var frames []string
	for _, f := range p.conn.Next(nil, 1<<16) {
		frames = append(frames, string(f))
	}
	return frames
}

// turned pulls until there is nothing more, one turn after the other.
func (p *puller) turned() (frames []string) {
	for synctest.Wait(); p.woken(); synctest.Wait() {
		for more := p.next(); len(more) > 0; more = p.next() {
			frames = append(frames, more...)
		}
	}
	return frames
}

// want compares frames, but for a session message at the beginning.
func (p *puller) want(what string, got, want []string) {
	p.t.Helper()
	if len(got) > 0 && strings.HasPrefix(got[0], "session ") {
		got = got[1:]
	}
	if !slices.Equal(got, want) {
		p.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// queue is a hub with one place for turns, which somebody has, and a log that
// nothing is kept of in memory.
type queue struct {
	*house
	start string // in the log
	sold  []string
	begun time.Time
	leave func() // ends the turn of who has it
}

// newQueue makes a queue. Those who are there keep the tails of their rooms.
func newQueue(t *testing.T, there ...domain.Identity) *queue {
	h := newHouse(t, func(c *HubConfig) { c.TailFrames, c.RecentFrames, c.Turns = 1, 1, 1 })
	q := &queue{house: h, start: h.log.Head().String()}
	for _, id := range there {
		h.pull(id, domain.NamespaceAll, "")
	}
	for range 3 {
		q.sold = append(q.sold, h.sell("b1"))
		synctest.Wait()
	}
	leave, err := h.hub.Turn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	q.leave, q.begun = leave, time.Now()
	return q
}

// behind connects somebody who has to catch up, and has him ask for a turn.
func (q *queue) behind(user string, branches ...string) *puller {
	q.t.Helper()
	p := q.pull(staff(user, branches...), domain.NamespaceAll, q.start)
	p.want(user+" asks for a turn", p.next(), nil)
	return p
}

// end checks that so much time has passed, and ends the hub.
func (q *queue) end(want time.Duration) {
	q.t.Helper()
	if got := time.Since(q.begun); got != want {
		q.t.Errorf("it took %v, want %v", got, want)
	}
	q.hub.Close()
}

func Test_catching_up_holds_up_nothing_else_that_its_transport_has_to_say(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		// Two connections of one client, whose flusher asks one after the other.
		all := q.behind("u1", "b1")
		pos := q.pull(staff("u1", "b1"), domain.NamespacePOS, "")
		pos.next()
		q.hub.Broadcast(domain.NamespaceAll, "stats", json.RawMessage("{}"))
		all.want("a message to who waits", all.next(), []string{"stats " + q.start + " {}"})
		live := q.sell("b1")
		synctest.Wait()
		pos.want("a live event", pos.next(), []string{live})
		all.want("an event beyond those missed", all.next(), nil)
		q.leave()
		all.want("in its turn", all.turned(), append(q.sold, live))
		q.end(0)
	})
}

func Test_catching_up_is_not_woken_for_news_while_it_waits_for_its_turn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		p := q.behind("u1", "b1")
		q.sold = append(q.sold, q.sell("b1"))
		if synctest.Wait(); p.woken() {
			t.Error("woken by an event while it waits, want only by its turn")
		}
		q.leave()
		p.want("in its turn", p.turned(), q.sold)
		last := q.sell("b1")
		p.want("up to date", p.turned(), []string{last})
		q.end(0)
	})
}

func Test_catching_up_asks_for_one_turn_at_a_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		p := q.behind("u1", "b1")
		for range 3 {
			p.want("while it waits", p.next(), nil)
		}
		if n := len(q.hub.turns.queues[turnToCatchUp]); n != 1 {
			t.Errorf("%d turns asked for, want one", n)
		}
		q.leave()
		p.want("in its turn", p.turned(), q.sold)
		q.behind("u2", "b1")
		q.end(0)
	})
}

func Test_who_leaves_gives_his_turn_up(t *testing.T) {
	for name, leave := range map[string]func(q *queue, p *puller){
		"while_waiting": func(_ *queue, p *puller) { p.conn.Closed("transport close") },
		"before_asking": func(_ *queue, p *puller) { p.conn.Closed("transport close"); p.next() },
		"when_it_came": func(q *queue, p *puller) {
			q.leave()
			synctest.Wait()
			p.conn.Closed("transport close")
		},
		"having_begun": func(q *queue, p *puller) {
			q.leave()
			synctest.Wait()
			p.want("in its turn", p.next(), q.sold)
			p.conn.Closed("transport close")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(t)
				gone := q.pull(staff("u1", "b1"), domain.NamespaceAll, q.start)
				if name != "before_asking" {
					gone.next()
				}
				leave(q, gone)
				next := q.behind("u2", "b1")
				q.leave()
				next.want("the next one", next.turned(), q.sold)
				q.end(0)
			})
		})
	}
}

func Test_catching_up_gives_a_turn_up_that_it_needs_no_more(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t, staff("u1", "b2"))
		p := q.behind("u1", "b1", "b2")
		next := q.behind("u2", "b1")
		left := make(chan any, 1)
		p.conn.Event("room:leave", []json.RawMessage{json.RawMessage(`"branch:b1"`)}, func(v any) { left <- v })
		<-left
		own := q.sell("b2")
		synctest.Wait()
		q.leave()
		p.want("out of the room that was behind", p.turned(), []string{own})
		next.want("the next one", next.turned(), q.sold)
		q.end(0)
	})
}

// Who is held up in a write, to a socket that takes no more, when its turn
// comes is not waited for beyond the lease, and has to ask again.
func Test_who_is_stuck_when_its_turn_comes_asks_again(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		stuck := q.behind("u1", "b1")
		next := q.behind("u2", "b1")
		q.leave()
		synctest.Wait() // it is stuck's turn
		if next.woken() {
			t.Error("two have their turn at a time, want one")
		}
		time.Sleep(turnLease)
		next.want("the next one", next.turned(), q.sold)
		hold, err := q.hub.Turn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stuck.woken()
		stuck.want("after its turn", stuck.next(), nil)
		if synctest.Wait(); stuck.woken() {
			t.Error("in its turn beside another, want it to wait")
		}
		hold()
		stuck.want("in another turn", stuck.turned(), q.sold)
		q.end(turnLease)
	})
}

// sparse is a log that has one event of branch b1 in each of 20 spans, each read
// of which takes so long, and a client that is before all of them.
func sparse(t *testing.T, takes time.Duration) (p *puller, sold []string) {
	h, log := behindTheTails(t, 1<<20)
	log.takes = takes
	start := h.log.Head().String()
	for range 20 {
		sold = append(sold, h.sell("b1"))
		for range spanCommits {
			h.sell("b9")
		}
	}
	synctest.Wait()
	p = h.pull(staff("u1", "b1"), domain.NamespaceAll, start)
	p.want("without a turn", p.next(), nil)
	synctest.Wait()
	return p, sold
}

// A client that polls has a round trip for each Next that gives it something.
func Test_catching_up_takes_one_turn_for_little_that_is_far_apart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, sold := sparse(t, 0)
		p.want("in its turn", p.next(), sold)
		p.conn.hub.Close()
	})
}

func Test_catching_up_gives_its_turn_back_in_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, sold := sparse(t, turnLease/8)
		begun := time.Now()
		got := p.next()
		if took := time.Since(begun); took > turnLease || len(got) == 0 || len(got) == len(sold) {
			t.Errorf("got %d of %d in %v, want some in %v at most", len(got), len(sold), took, turnLease)
		}
		p.Wake() // by the transport, which has written them
		p.want("in all turns", append(got, p.turned()...), sold)
		p.conn.hub.Close()
	})
}
