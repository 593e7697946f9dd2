package wsframe

import (
	"slices"
	"testing"
	"testing/synctest"
)

// turns is a Turner whose turns wait for the test.
type turns struct {
	begun chan [][]byte
	more  chan bool
}

func (t *turns) Turn(memory [][]byte) ([][]byte, bool) {
	t.begun <- slices.Clone(memory)
	return append(memory, []byte("a frame")), <-t.more
}

func newTurns() *turns { return &turns{make(chan [][]byte), make(chan bool)} }

// none checks that no turn begins.
func (t *turns) none(tb testing.TB, when string) {
	tb.Helper()
	synctest.Wait()
	select {
	case <-t.begun:
		tb.Fatalf("a turn %s, want none", when)
	default:
	}
}

func Test_a_wake_up_is_followed_by_a_turn_and_further_ones_as_long_as_there_is_more(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Flusher
		turns := newTurns()
		f.Wake(turns)
		turns.none(t, "before Open")
		f.Open()
		turns.none(t, "for what was woken before Open")
		f.Wake(turns)
		for _, more := range []bool{true, false} {
			if memory := <-turns.begun; len(memory) > 0 {
				t.Errorf("a turn begins with %q, want nothing", memory)
			}
			turns.more <- more
		}
		turns.none(t, "after the last")
	})
}

func Test_a_wake_up_during_a_turn_brings_about_one_more(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Flusher
		turns := newTurns()
		f.Open()
		f.Wake(turns)
		<-turns.begun
		f.Wake(turns)
		f.Wake(turns)
		turns.none(t, "beside another")
		turns.more <- false
		<-turns.begun
		turns.more <- false
		turns.none(t, "after the one more")
	})
}

func Test_who_takes_the_right_keeps_flushers_away_until_it_is_given_back(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Flusher
		turns := newTurns()
		if f.Take() {
			t.Error("taken while shut")
		}
		f.Open()
		if !f.Take() || f.Take() {
			t.Error("taken not once, want once")
		}
		f.Give(turns)
		turns.none(t, "without a wake-up")
		f.Take()
		f.Wake(turns)
		turns.none(t, "while the right is taken")
		f.Give(turns)
		<-turns.begun
		if f.Take() {
			t.Error("taken during a turn")
		}
		turns.more <- false
	})
}

func Test_retire_waits_for_the_turn_and_none_follows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, again := range []bool{false, true} {
			var f Flusher
			turns := newTurns()
			f.Open()
			f.Wake(turns)
			<-turns.begun
			if again {
				f.Wake(turns)
			}
			retired := make(chan struct{})
			go func() {
				f.Retire()
				close(retired)
			}()
			synctest.Wait()
			select {
			case <-retired:
				t.Fatal("retired during a turn")
			default:
			}
			turns.more <- false
			<-retired
			f.Wake(turns)
			turns.none(t, "after Retire")
		}
		var idle Flusher
		idle.Open()
		idle.Retire()
	})
}

func Test_lane_is_bounded_in_frames_and_bytes(t *testing.T) {
	c := &Config{ControlFrames: 2, ControlBytes: 10}
	var l Lane
	for _, put := range []struct {
		frame string
		fits  bool
	}{{"12345", true}, {"a frame of any size", true}, {"", false}} {
		if got := l.Put([]byte(put.frame), c); got != put.fits {
			t.Errorf("%q fits %v, want %v", put.frame, got, put.fits)
		}
	}
	if got := l.Take(nil); len(got) != 2 {
		t.Errorf("%q in the lane, want two frames", got)
	}
	if !l.Put([]byte("a frame of any size"), c) {
		t.Error("no room after Take")
	}
	if l.Put([]byte("1"), c) {
		t.Error("room for another frame beside all the bytes")
	}
}
