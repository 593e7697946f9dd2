package actors

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"bms/domain"
)

func Test_a_tail_keeps_batches_whole(t *testing.T) {
	bound := tailBound{frames: 3, bytes: 1 << 20}
	for name, tt := range map[string]struct {
		batches []int // frames of each
		size    int   // bytes of each event
		want    int   // of the batches are left
	}{
		"below_the_limit":          {batches: []int{1, 2}, want: 2},
		"one_at_a_time":            {batches: []int{1, 1, 1, 1, 1, 1}, want: 3},
		"one_larger_than_all":      {batches: []int{1, 2, 10}, want: 1},
		"frames_after_a_large_one": {batches: []int{1, 10, 1, 1}, want: 3},
		"enough_after_a_large_one": {batches: []int{1, 10, 1, 1, 1}, want: 3},
		"large_ones":               {batches: []int{10, 10, 10}, want: 1},
		"much_in_little":           {batches: []int{1, 1, 1}, size: bound.bytes, want: 1},
		"much_in_a_batch":          {batches: []int{1, 5}, size: bound.bytes, want: 1},
		"much_with_its_encodings":  {batches: []int{1, 1, 1}, size: bound.bytes / 4, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			tail := newTail(bound, domain.Position{})
			var seq, ends []uint64
			for number, n := range tt.batches {
				for range n {
					seq = append(seq, uint64(len(seq)+1))
					f := &Frame{
						event: &domain.Event{Pos: domain.Position{Seq: uint64(len(seq))}, Data: make([]byte, tt.size)},
						wire:  make([]atomic.Pointer[[]byte], 2),
					}
					tail.add(f, uint64(number))
					tail.add(f, uint64(number)) // tried again
				}
				ends = append(ends, uint64(len(seq)))
			}
			from := uint64(0)
			if gone := len(ends) - tt.want; gone > 0 {
				from = ends[gone-1]
			}
			frames, ok := tail.after(nil, domain.Position{Seq: from}, domain.Position{Seq: 1000}, 1000)
			var got []uint64
			for _, f := range frames {
				got = append(got, f.pos().Seq)
			}
			if !ok || !slices.Equal(got, seq[from:]) {
				t.Errorf("after %d: %v, %t, want %v", from, got, ok, seq[from:])
			}
			if _, ok := tail.after(nil, domain.Position{Seq: from - 1}, domain.Position{Seq: 1000}, 1000); ok && from > 0 {
				t.Errorf("it reaches back to %d, want %d", from-1, from)
			}
		})
	}
}

// Who is up to date when a large commit comes waits for no turn: it is live, and
// what others have to catch up with doesn't hold it up.
func Test_a_large_commit_overruns_nobody_who_is_up_to_date(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t) // whose only turn somebody has
		var all []*puller
		for i := range 20 {
			p := q.pull(staff(fmt.Sprint("u", i), "b1"), domain.NamespaceAll, "")
			p.next()
			all = append(all, p)
		}
		want := q.count("b1", 1000)
		for _, p := range all {
			p.want("who was up to date", p.turned(), want)
		}
		q.end(0)
	})
}
