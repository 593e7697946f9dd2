package eventlog

import (
	"fmt"
	"testing"

	"bms/domain"
)

func records(from, to uint64, bytes int) []*record {
	var all []*record
	for seq := from; seq <= to; seq++ {
		c := &domain.Commit{Stream: "s", Version: seq}
		c.Placed(1, seq)
		all = append(all, &record{commit: c, bytes: bytes})
	}
	return all
}

func TestRecent_is_bounded_invariant_9(t *testing.T) {
	for _, c := range []struct {
		name           string
		commits        int
		bytes          int64
		add            []uint64 // ends of groups
		size           int
		first, wantEnd uint64
	}{
		{"fits", 10, 1000, []uint64{5}, 10, 101, 105},
		{"by_commits", 10, 1000, []uint64{5, 9, 15}, 10, 106, 115},
		{"by_bytes", 10, 55, []uint64{5, 9, 15}, 10, 111, 115},
		{"a_group_larger_than_all", 10, 1000, []uint64{40}, 10, 131, 140},
		{"commits_larger_than_all", 10, 55, []uint64{3}, 100, 104, 103},
		{"one", 1, 1000, []uint64{1, 2, 3}, 10, 103, 103},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecent(c.commits, c.bytes, domain.Position{Epoch: 1, Seq: 100})
			last := uint64(100)
			for _, end := range c.add {
				r.add(records(last+1, 100+end, c.size))
				last = 100 + end
			}
			for after := uint64(90); after < 150; after++ {
				commits, end, ok := r.read(after, 3)
				if end != c.wantEnd {
					t.Fatalf("the end is %d, want %d", end, c.wantEnd)
				}
				if want := after >= c.wantEnd || after+1 >= c.first; ok != want {
					t.Fatalf("read after %d from memory: %t, want %t", after, ok, want)
				}
				for i, commit := range commits {
					if got, want := commit.Position.Seq, after+1+uint64(i); got != want {
						t.Fatalf("read after %d: sequence %d, want %d", after, got, want)
					}
				}
				if want := max(0, min(3, int(c.wantEnd)-int(after))); ok && len(commits) != want {
					t.Fatalf("read after %d: %d commits, want %d", after, len(commits), want)
				}
			}
			if r.bytes > c.bytes {
				t.Fatalf("%d bytes are held, at most %d", r.bytes, c.bytes)
			}
		})
	}
}

func TestHeads_are_bounded_and_keep_what_is_used(t *testing.T) {
	h := newHeads(10)
	for i := range 1000 {
		h.set(fmt.Sprint("s", i), uint64(i))
		h.set("busy", uint64(i))
		if v, ok := h.get("busy"); !ok || v != uint64(i) {
			t.Fatalf("head of the busy stream is %d, %t, want %d", v, ok, i)
		}
		if n := len(h.young) + len(h.elder); n > 20 {
			t.Fatalf("%d heads are held, want at most 20", n)
		}
	}
	if _, ok := h.get("s0"); ok {
		t.Fatal("the first stream is still there")
	}
}
