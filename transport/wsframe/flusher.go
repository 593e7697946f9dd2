package wsframe

import (
	"sync"
	"sync/atomic"
)

// Flusher gives the right to write to one connection to one goroutine at a
// time, which it starts when somebody wakes it and lets go when there is
// nothing left to write. The zero value is shut: nothing starts before Open,
// nor after Retire.
type Flusher struct {
	state atomic.Int32
	ended chan struct{} // closed by the last goroutine; see Retire
}

// The states of a Flusher. Who holds the right moved idle to running and gives
// it back by moving running to idle. A wake-up that comes meanwhile moves
// running to again, which makes the holder look once more.
const (
	flusherShut int32 = iota
	flusherIdle
	flusherRunning
	flusherAgain
	flusherRetired
)

// Turner is a connection as its [Flusher] knows it.
type Turner interface {
	// Turn writes one turn, a bounded part of what there is to write, and says
	// whether there may be more. memory is empty and for the turn's frames; it
	// is returned, as it has become, for the next turn. Turn is called by one
	// goroutine at a time.
	Turn(memory [][]byte) (used [][]byte, more bool)
}

// memories holds the flushers' memory, shared by all that run.
var memories = sync.Pool{New: func() any { return new([][]byte) }}

// Open lets flushers start. What was woken before is not remembered.
func (f *Flusher) Open() { f.state.CompareAndSwap(flusherShut, flusherIdle) }

// Wake makes sure that t has a turn after this call, as soon as the connection
// can take more. It never blocks.
func (f *Flusher) Wake(t Turner) {
	for {
		switch f.state.Load() {
		case flusherIdle:
			if f.state.CompareAndSwap(flusherIdle, flusherRunning) {
				go f.run(t)
				return
			}
		case flusherRunning:
			if f.state.CompareAndSwap(flusherRunning, flusherAgain) {
				return
			}
		default:
			return
		}
	}
}

// Take gives the caller the right to write if nobody has it. It has to Give it
// back.
func (f *Flusher) Take() bool { return f.state.CompareAndSwap(flusherIdle, flusherRunning) }

// Give gives back the right that Take gave. If somebody has called Wake since,
// t gets its turns now.
func (f *Flusher) Give(t Turner) {
	if !f.release() {
		go f.run(t)
	}
}

// Retire waits for the flusher to end and lets none start again. It must be
// called once at most.
func (f *Flusher) Retire() {
	f.ended = make(chan struct{})
	if was := f.state.Swap(flusherRetired); was == flusherRunning || was == flusherAgain {
		<-f.ended
	}
}

// run gives turns until there is nothing to write.
func (f *Flusher) run(t Turner) {
	memory := memories.Get().(*[][]byte)
	for {
		for more := true; more; {
			var used [][]byte
			used, more = t.Turn((*memory)[:0])
			clear(used)
			*memory = used[:0]
		}
		if f.release() {
			break
		}
	}
	memories.Put(memory)
}

// release gives the right back, unless somebody has asked to look once more:
// then it is false and the caller still has it.
func (f *Flusher) release() bool {
	if f.state.CompareAndSwap(flusherRunning, flusherIdle) {
		return true
	}
	if f.state.CompareAndSwap(flusherAgain, flusherRunning) {
		return false
	}
	close(f.ended) // retired
	return true
}
