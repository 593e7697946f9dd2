package actors

import (
	"context"
	"errors"
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
	queues [turnKinds]chan chan struct{} // unbuffered: to be received from it is to have the turn
	// live is when an event was last delivered soon after it was fed, in
	// nanoseconds of the clock.
	live atomic.Int64
	now  func() time.Time
	ctx  context.Context // no turns once it has ended
}

func newTurns(ctx context.Context, now func() time.Time) *turns {
	t := &turns{now: now, ctx: ctx}
	for kind := range t.queues {
		t.queues[kind] = make(chan chan struct{})
	}
	return t
}

// turn is the right to use a processor for a moment. The zero value is none.
type turn struct{ ended chan struct{} }

// end gives the turn back, at once if not before.
func (t *turn) end() {
	if t.ended != nil {
		close(t.ended)
		t.ended = nil
	}
}

// errNoTurn is what waiting for a turn ends with when whoever waits has gone,
// or the turns have ended.
var errNoTurn = errors.New("no turn")

// take waits for a turn, until gone is closed.
func (t *turns) take(gone <-chan struct{}, kind turnKind) (turn, error) {
	ended := make(chan struct{})
	select {
	case t.queues[kind] <- ended:
		return turn{ended}, nil
	case <-gone:
	case <-t.ctx.Done():
	}
	return turn{}, errNoTurn
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
		ended, ok := t.next(first)
		if !ok {
			return
		}
		began := time.Now()
		timer.Reset(turnLease)
		select {
		case <-ended:
		case <-timer.C:
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

// next receives from the queue that is first now, from another if nobody waits
// there.
func (t *turns) next(first turnKind) (ended chan struct{}, ok bool) {
	select {
	case ended = <-t.queues[first]:
		return ended, true
	default:
	}
	select {
	case ended = <-t.queues[turnToJoin]:
	case ended = <-t.queues[turnToCatchUp]:
	case <-t.ctx.Done():
		return nil, false
	}
	return ended, true
}
