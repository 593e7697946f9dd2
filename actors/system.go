package actors

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/anthdm/hollywood/actor"
)

// Behavior is what an actor does. Its methods are called one at a time, on
// whichever goroutine Hollywood runs the actor; nothing in them may block.
type Behavior interface {
	// Receive handles one message.
	Receive(msg any)
	// Panicked is told of a panic in Receive, which ended the handling of
	// that message and nothing else. It puts the actor's state in order, for
	// instance by forgetting it and loading it again. A panic in Panicked is
	// logged and otherwise ignored.
	Panicked(reason any)
}

// System runs actors on a Hollywood engine and is the only code that knows
// Hollywood. It adds what Hollywood lacks: a fence around every Receive, so
// that Hollywood's own supervision (which kills the process at the fourth
// panic) is never entered; one owner per stop; and no message lost silently
// around one.
//
// # Concurrency properties
//
// All methods of System and Ref are safe for concurrent use and don't block,
// except for the wait on what Stop returns.
type System struct {
	engine  *actor.Engine
	logger  *slog.Logger
	spawned atomic.Uint64
	panics  atomic.Uint64
}

// NewSystem starts a system. The logger gets a line, with stack, per panic.
func NewSystem(logger *slog.Logger) (*System, error) {
	engine, err := actor.NewEngine(actor.NewEngineConfig())
	if err != nil {
		return nil, fmt.Errorf("start the actor engine: %w", err)
	}
	return &System{engine: engine, logger: logger}, nil
}

// Panics is the number of panics fenced so far.
func (s *System) Panics() uint64 { return s.panics.Load() }

// caught counts and logs a panic, on the goroutine that has recovered from it.
func (s *System) caught(name, message string, reason any) {
	s.panics.Add(1)
	s.logger.Error("actor panicked", "actor", name, "message", message, "reason", reason, "stack", string(debug.Stack()))
}

// Fence calls f and reports whether it returned. A panic in it is counted and
// logged, under the name of whose work f is and what it does, and goes no
// further.
func (s *System) Fence(name, what string, f func()) (returned bool) {
	defer func() {
		if reason := recover(); reason != nil {
			s.caught(name, what, reason)
		}
	}()
	f()
	return true
}

// Ref addresses a running actor.
type Ref struct {
	engine *actor.Engine
	pid    *actor.PID

	// mu makes Stop wait for sends under way, so that every message whose
	// Send returned true is handled before the actor ends.
	mu      sync.RWMutex
	stopped bool
	done    <-chan struct{} // set by the first Stop
}

// Spawn starts an actor. kind and id name it in logs; inbox is the initial
// number of places in its mailbox (the mailbox grows: who sends must bound
// what it sends). An idle actor with an inbox of 8 takes about 900 bytes.
func (s *System) Spawn(kind, id string, inbox int, b Behavior) *Ref {
	f := &fence{system: s, behavior: b, name: kind + "/" + id}
	// Hollywood answers a duplicate id with the actor that has it, hence the
	// counter.
	unique := id + "#" + strconv.FormatUint(s.spawned.Add(1), 10)
	pid := s.engine.Spawn(func() actor.Receiver { return f }, kind,
		actor.WithID(unique), actor.WithInboxSize(max(inbox, 1)))
	return &Ref{engine: s.engine, pid: pid}
}

// Send puts a message into the actor's mailbox. It returns false, and the
// message goes nowhere, once the actor is being stopped.
func (r *Ref) Send(msg any) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.stopped {
		return false
	}
	r.engine.Send(r.pid, msg)
	return true
}

// Stop lets the actor handle what it was sent and then ends it. It may be
// called any number of times; the channel it returns is closed when the actor
// has ended. An actor that stops itself must not wait for that.
func (r *Ref) Stop() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.stopped = true
		r.done = r.engine.PoisonCtx(context.Background(), r.pid).Done()
	}
	return r.done
}

// fence is the Hollywood receiver around a Behavior.
type fence struct {
	system   *System
	behavior Behavior
	name     string
}

func (f *fence) Receive(c *actor.Context) {
	switch msg := c.Message().(type) {
	case actor.Initialized, actor.Started, actor.Stopped:
	default:
		f.receive(msg)
	}
}

func (f *fence) receive(msg any) {
	defer func() {
		if reason := recover(); reason != nil {
			f.system.caught(f.name, fmt.Sprintf("%T", msg), reason)
			f.recovered(reason)
		}
	}()
	f.behavior.Receive(msg)
}

func (f *fence) recovered(reason any) {
	defer func() {
		if again := recover(); again != nil {
			f.system.panics.Add(1)
			f.system.logger.Error("actor panicked while recovering", "actor", f.name, "reason", again)
		}
	}()
	f.behavior.Panicked(reason)
}
