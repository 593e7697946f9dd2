package domain

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func Test_sets_of_sequences_are_sets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s seqs
		model := map[int64]bool{}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			from := rapid.Int64Range(0, 40).Draw(t, "from")
			r := SeqRange{from, from + rapid.Int64Range(-1, 4).Draw(t, "more")}
			fits := r.To >= r.From
			for seq := r.From; seq <= r.To; seq++ {
				fits = fits && !model[seq]
			}
			added, err := s.add(r)
			if (err == nil) != fits {
				t.Fatalf("%v takes %v: %v, want %t", s, r, err, fits)
			}
			if err != nil {
				continue
			}
			s = added
			for seq := r.From; seq <= r.To; seq++ {
				model[seq] = true
			}
		}
		var want seqs
		for seq := range int64(50) {
			if got := s.has(seq); got != model[seq] {
				t.Fatalf("%v has %d: %t, want %t", s, seq, got, model[seq])
			}
			if n := len(want); model[seq] && n > 0 && want[n-1].To == seq-1 {
				want[n-1].To = seq
			} else if model[seq] {
				want = append(want, SeqRange{seq, seq})
			}
		}
		if len(s)+len(want) > 0 && !reflect.DeepEqual(s, want) {
			t.Fatalf("ranges %v, want %v", s, want)
		}
	})
}
