package actors

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// turnLease is how long a turn is waited for. Whoever takes longer is taken to
// wait for something else than a processor: a socket that takes no more, a
// disk.
const turnLease = time.Millisecond

// restLeast is the shortest rest: shorter ones are saved up, since a timer
// below a millisecond makes the processors spin.
const restLeast = time.Millisecond

// restFactor is how long a place rests for the work it did, while live events are
// being delivered: it takes a third of a processor.
const restFactor = 2

// threadSlice is how long a place works, while live events are being delivered,
// before it lets the system run another thread.
const threadSlice = 250 * time.Microsecond

// turnKind tells apart who waits for a turn.
type turnKind int

const (
	turnToJoin    turnKind = iota // a client comes in
	turnToCatchUp                 // a connection goes on from behind the tails
	turnKinds
)

// turns lets what comes in bulk have its turns at the processors: clients that
// connect and connections that catch up. After a restart all of them do so at
// once, and each would be ready to run; a live event, which takes a dozen hops
// from goroutine to goroutine on its way from the command to the socket, would
// wait behind all of them at each.
//
// There are as many places as half the processors, so that the others are
// there for what is live. Each kind has a queue, and a place takes from them in
// turn, the first come first. Between two turns a place lets go of its
// processor until everything else that could run has run, also what has just
// been read from the network; and while live events are being delivered it
// rests for twice as long as the turn took.
type turns struct {
	mu     sync.Mutex // guards queues
	some   sync.Cond  // on mu: there is something in queues, or ctx has ended
	queues [turnKinds][]*turn
	// live is when an event was last delivered soon after it was fed, in
	// nanoseconds of the clock.
	live atomic.Int64
	now  func() time.Time
	ctx  context.Context // no turns once it has ended
}

func newTurns(ctx context.Context, now func() time.Time) *turns {
	t := &turns{now: now, ctx: ctx}
	t.some.L = &t.mu
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.some.Broadcast()
	})
	return t
}

// turn is the right to use a processor for a moment, or the wish for it. Nil is
// none.
type turn struct {
	state atomic.Int32
	offer func()        // says that it may begin; it must not block
	ended chan struct{} // closed at its end, if it was offered
}

// The states of a turn. Who asks for one may be at something else when its turn
// comes, held up in a write to a socket that takes no more. So a turn is offered,
// and whoever doesn't begin it while it is waited for has to ask for another.
const (
	turnWaits   int32 = iota // in its queue
	turnOffered              // a place waits for it to begin and to end
	turnBegun
	turnOver // it has ended, or been given up
)

// ask asks for a turn. offer is called, by another goroutine, when it may begin.
func (t *turns) ask(kind turnKind, offer func()) *turn {
	asked := &turn{offer: offer, ended: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queues[kind] = append(t.queues[kind], asked)
	t.some.Signal()
	return asked
}

// begin begins a turn that is on offer, and reports whether it was.
func (t *turn) begin() bool {
	return t != nil && t.state.CompareAndSwap(turnOffered, turnBegun)
}

// comes reports whether a turn will be on offer, or is.
func (t *turn) comes() bool {
	if t == nil {
		return false
	}
	state := t.state.Load()
	return state == turnWaits || state == turnOffered
}

// has reports whether a turn has begun and not ended.
func (t *turn) has() bool { return t != nil && t.state.Load() == turnBegun }

// end gives a turn back, or up; at once if not before.
func (t *turn) end() {
	if t == nil {
		return
	}
	if was := t.state.Swap(turnOver); was == turnOffered || was == turnBegun {
		close(t.ended)
	}
}

// errNoTurn is what waiting for a turn ends with when whoever waits has gone,
// or the turns have ended.
var errNoTurn = errors.New("no turn")

// take waits for a turn, until gone is closed.
func (t *turns) take(gone <-chan struct{}, kind turnKind) (*turn, error) {
	offered := make(chan struct{})
	asked := t.ask(kind, func() { close(offered) })
	select {
	case <-offered:
		return asked, nil
	case <-gone:
	case <-t.ctx.Done():
	}
	asked.end()
	return nil, errNoTurn
}

// delivered notes that a live event has been delivered.
func (t *turns) delivered(at time.Time) { t.live.Store(at.UnixNano()) }

// liveFor is how long after the last live event places go on resting.
const liveFor = 250 * time.Millisecond

// place gives out one turn after the other, until t ends.
func (t *turns) place() {
	y := NewYielder()
	defer y.Close()
	timer := time.NewTimer(turnLease)
	defer timer.Stop()
	var owed, worked time.Duration // rest, and work since the thread yielded
	for first := turnKind(0); ; first = (first + 1) % turnKinds {
		next, ok := t.next(first)
		if !ok {
			return
		}
		began := time.Now()
		timer.Reset(turnLease)
		next.offer()
		select {
		case <-next.ended:
		case <-timer.C:
			next.state.CompareAndSwap(turnOffered, turnOver)
		}
		took := time.Since(began)
		y.Yield()
		if t.now().UnixNano()-t.live.Load() > int64(liveFor) {
			owed, worked = 0, 0
			continue
		}
		owed, worked = owed+restFactor*took, worked+took
		if worked >= threadSlice {
			worked = 0
			owed = max(owed-yieldThread(), 0) // what others had meanwhile was rest
		}
		if owed < restLeast {
			continue
		}
		timer.Reset(owed)
		owed = 0
		select {
		case <-timer.C:
		case <-t.ctx.Done():
			return
		}
	}
}

// next waits for somebody who wants a turn, and takes him from the queue that is
// first now, or from another if nobody waits there. What he is offered is his.
func (t *turns) next(first turnKind) (_ *turn, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.ctx.Err() == nil {
		for i := range turnKinds {
			queue := &t.queues[(first+i)%turnKinds]
			for len(*queue) > 0 {
				next := (*queue)[0]
				(*queue)[0] = nil
				*queue = (*queue)[1:]
				if next.state.CompareAndSwap(turnWaits, turnOffered) { // else given up
					return next, true
				}
			}
		}
		t.some.Wait()
	}
	return nil, false
}
