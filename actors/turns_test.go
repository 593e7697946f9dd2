package actors

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// onePlace makes turns with one place.
func onePlace() (ts *turns, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ts = newTurns(ctx, time.Now)
	go ts.place()
	return ts, cancel
}

// waiting starts a goroutine that waits for a turn and says when it has it.
func waiting(t *testing.T, ts *turns, kind turnKind, name string, has chan<- string) {
	go func() {
		turn, err := ts.take(nil, kind)
		if err != nil {
			t.Errorf("%s: %v, want a turn", name, err)
			return
		}
		has <- name
		turn.end()
	}()
	synctest.Wait()
}

func Test_turns_go_to_either_kind_in_turn_and_to_the_first_that_came(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts, end := onePlace()
		defer end()
		first, err := ts.take(nil, turnToCatchUp)
		if err != nil {
			t.Fatal(err)
		}
		has := make(chan string, 6)
		for _, name := range []string{"c1", "c2", "c3"} {
			waiting(t, ts, turnToCatchUp, name, has)
		}
		for _, name := range []string{"j1", "j2", "j3"} {
			waiting(t, ts, turnToJoin, name, has)
		}
		if len(has) > 0 {
			t.Fatalf("%s has a turn while another has not ended, want one at a time", <-has)
		}
		first.end()
		synctest.Wait()
		var order []string
		for range 6 {
			order = append(order, <-has)
		}
		catchUps := slices.DeleteFunc(slices.Clone(order), func(s string) bool { return s[0] == 'j' })
		joins := slices.DeleteFunc(slices.Clone(order), func(s string) bool { return s[0] == 'c' })
		if !slices.IsSorted(catchUps) || !slices.IsSorted(joins) {
			t.Errorf("turns went to %v, want each kind in the order of asking", order)
		}
		for i := 1; i < len(order); i++ {
			if order[i][0] == order[i-1][0] {
				t.Errorf("turns went to %v, want the kinds in turn", order)
			}
		}
	})
}

func Test_turns_are_not_waited_for_without_end(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts, end := onePlace()
		if _, err := ts.take(nil, turnToCatchUp); err != nil { // waits for a socket that takes nothing
			t.Fatal(err)
		}
		start := time.Now()
		next, err := ts.take(nil, turnToCatchUp)
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != turnLease {
			t.Errorf("the next turn came after %v, want %v", waited, turnLease)
		}
		next.end()

		held, err := ts.take(nil, turnToJoin)
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan struct{})
		close(gone)
		if _, err := ts.take(gone, turnToJoin); !errors.Is(err, errNoTurn) {
			t.Errorf("a turn for somebody who has gone: %v, want %v", err, errNoTurn)
		}
		end()
		if _, err := ts.take(nil, turnToJoin); !errors.Is(err, errNoTurn) {
			t.Errorf("a turn after the end: %v, want %v", err, errNoTurn)
		}
		held.end()
		held.end() // may be ended again
	})
}

func Test_turns_rest_while_live_events_are_delivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts, end := onePlace()
		defer end()
		took := func() time.Duration {
			start := time.Now()
			for range 100 {
				turn, err := ts.take(nil, turnToCatchUp)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(turnLease / 2)
				turn.end()
			}
			return time.Since(start)
		}
		if got, want := took(), 50*turnLease; got != want {
			t.Errorf("with nothing live 100 turns took %v, want %v", got, want)
		}
		ts.delivered(time.Now())
		// The last turns' rest is still to come.
		if got, least := took(), (50+restFactor*49)*turnLease; got < least {
			t.Errorf("with live events 100 turns took %v, want %v", got, least)
		}
	})
}
