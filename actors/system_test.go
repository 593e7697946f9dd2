package actors

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/anthdm/hollywood/actor"
)

// probe is a Behavior made of two functions.
type probe struct {
	receive  func(msg any)
	panicked func(reason any)
}

func (p probe) Receive(msg any) { p.receive(msg) }

func (p probe) Panicked(reason any) {
	if p.panicked != nil {
		p.panicked(reason)
	}
}

func newTestSystem(t *testing.T) *System {
	t.Helper()
	s, err := NewSystem(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func Test_messages_of_one_sender_come_in_order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const senders, each = 4, 20_000
		var got [senders]int
		bad := 0
		ref := newTestSystem(t).Spawn("probe", "1", 8, probe{receive: func(msg any) {
			m := msg.([2]int)
			if m[1] != got[m[0]] {
				bad++
			}
			got[m[0]] = m[1] + 1
		}})
		var all sync.WaitGroup
		for sender := range senders {
			all.Go(func() {
				for i := range each {
					ref.Send([2]int{sender, i})
				}
			})
		}
		all.Wait()
		<-ref.Stop()
		if bad != 0 || got != [senders]int{each, each, each, each} {
			t.Errorf("got %v with %d out of order, want %d of each, in order", got, bad, each)
		}
	})
}

// Hollywood itself loses messages around a stop, without a word.
func Test_every_message_whose_send_said_true_is_handled_around_a_stop(t *testing.T) {
	for range 200 {
		var handled, sent atomic.Int64
		ref := newTestSystem(t).Spawn("probe", "1", 8, probe{receive: func(any) { handled.Add(1) }})
		var senders sync.WaitGroup
		for range 4 {
			senders.Go(func() {
				for range 1000 {
					if !ref.Send("message") {
						return
					}
					sent.Add(1)
				}
			})
		}
		for sent.Load() < 10 {
			runtime.Gosched()
		}
		<-ref.Stop()
		senders.Wait()
		if handled.Load() != sent.Load() {
			t.Fatalf("handled %d, want the %d that were sent", handled.Load(), sent.Load())
		}
		if ref.Send("late") {
			t.Fatal("send to a stopped actor said true")
		}
	}
}

// Hollywood's own second poison never completes if both wait in the mailbox.
func Test_stop_completes_however_often_it_is_called(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := make(chan struct{})
		ref := newTestSystem(t).Spawn("probe", "1", 8, probe{receive: func(any) { <-busy }})
		ref.Send("keep busy")
		var stops sync.WaitGroup
		for range 10 {
			stops.Go(func() { <-ref.Stop() })
		}
		synctest.Wait()
		close(busy)
		stops.Wait()
		<-ref.Stop()
	})
}

func Test_an_actor_can_ask_for_its_own_stop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ref *Ref
		handled := 0
		ref = newTestSystem(t).Spawn("probe", "1", 8, probe{receive: func(msg any) {
			handled++
			if msg == "stop" {
				ref.Stop()
			}
		}})
		ref.Send("before")
		ref.Send("stop")
		synctest.Wait()
		<-ref.Stop()
		if handled != 2 {
			t.Errorf("handled %d messages, want 2", handled)
		}
	})
}

func Test_actors_of_one_name_are_different_actors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSystem(t)
		var got [2]any
		one := s.Spawn("probe", "same", 8, probe{receive: func(msg any) { got[0] = msg }})
		two := s.Spawn("probe", "same", 0, probe{receive: func(msg any) { got[1] = msg }}) // an inbox of 0 panics Hollywood
		one.Send("one")
		two.Send("two")
		<-one.Stop()
		<-two.Stop()
		if got != [2]any{"one", "two"} {
			t.Errorf("got %v, want one and two", got)
		}
	})
}

func Test_a_panic_ends_the_handling_of_its_message_and_nothing_else(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		s, err := NewSystem(slog.New(slog.NewTextHandler(&logged, nil)))
		if err != nil {
			t.Fatal(err)
		}
		var handled, told int
		ref := s.Spawn("probe", "p1", 8, probe{
			receive: func(msg any) {
				if msg == "bad" {
					panic("secret-free reason")
				}
				handled++
			},
			panicked: func(any) {
				told++
				panic("again")
			},
		})
		for range 20 {
			ref.Send("bad")
			ref.Send("good")
		}
		<-ref.Stop()
		if handled != 20 || told != 20 {
			t.Errorf("handled %d and told of %d panics, want 20 and 20", handled, told)
		}
		if got := s.Panics(); got != 40 {
			t.Errorf("%d panics counted, want 40", got)
		}
		if text := logged.String(); !strings.Contains(text, "probe/p1") || !strings.Contains(text, "system_test.go") {
			t.Errorf("log %q, want the actor's name and a stack", text)
		}
	})
}

// childEnv makes the test binary run one of the actors below and exit.
const childEnv = "BMS_TEST_PANICS"

// Hollywood's supervision kills the process at the fourth panic of an actor.
// This pins it: the child without a fence dies, the one with it lives
// (invariant 7).
func Test_the_fence_survives_what_kills_hollywood(t *testing.T) {
	switch os.Getenv(childEnv) {
	case "unfenced":
		panicUnfenced(t)
		return
	case "fenced":
		panicFenced(t)
		return
	}
	for _, tt := range []struct {
		child string
		lives bool
	}{{"unfenced", false}, {"fenced", true}} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=30s")
		cmd.Env = append(os.Environ(), childEnv+"="+tt.child)
		out, err := cmd.CombinedOutput()
		if lives := err == nil && strings.Contains(string(out), "handled what came after"); lives != tt.lives {
			t.Errorf("%s: lives is %t (%v), want %t; it said:\n%s", tt.child, lives, err, tt.lives, out)
		}
		if !tt.lives && !strings.Contains(string(out), "nil pointer dereference") {
			t.Errorf("%s: died of something else:\n%s", tt.child, out)
		}
	}
}

func panicUnfenced(t *testing.T) {
	engine, err := actor.NewEngine(actor.NewEngineConfig())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	pid := engine.SpawnFunc(func(c *actor.Context) {
		switch c.Message() {
		case "bad":
			panic("poisoned")
		case "good":
			fmt.Println("handled what came after")
			close(done)
		}
	}, "unfenced", actor.WithRestartDelay(1))
	for range 4 {
		engine.Send(pid, "bad")
	}
	engine.Send(pid, "good")
	<-done
}

func panicFenced(t *testing.T) {
	s := newTestSystem(t)
	ref := s.Spawn("fenced", "1", 8, probe{receive: func(msg any) {
		if msg == "bad" {
			panic("poisoned")
		}
		fmt.Println("handled what came after")
	}})
	for range 4 {
		ref.Send("bad")
	}
	ref.Send("good")
	<-ref.Stop()
}
