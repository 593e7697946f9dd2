package eventlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bms/domain"
)

func TestEpochs_check(t *testing.T) {
	es := epochs{{100, 1}, {200, 11}, {300, 11}, {400, 21}} // nothing was written in 200
	for _, c := range []struct {
		epoch, seq, first uint64
		want              error
	}{
		{100, 0, 1, nil},
		{100, 1, 1, nil},
		{100, 10, 1, nil},
		{100, 11, 1, domain.ErrUnknownPosition}, // was lost with the end of its epoch
		{200, 10, 1, nil},                       // the head when the epoch began
		{200, 11, 1, domain.ErrUnknownPosition},
		{200, 9, 1, domain.ErrUnknownPosition},
		{300, 10, 1, nil},
		{300, 20, 1, nil},
		{300, 21, 1, domain.ErrUnknownPosition},
		{400, 20, 1, nil},
		{400, 30, 1, nil},
		{400, 31, 1, domain.ErrUnknownPosition},
		{400, 0, 1, nil},
		{0, 0, 1, domain.ErrUnknownPosition},
		{150, 5, 1, domain.ErrUnknownPosition},
		{500, 30, 1, domain.ErrUnknownPosition},
		{100, 0, 6, domain.ErrTrimmed},
		{100, 4, 6, domain.ErrTrimmed},
		{100, 5, 6, nil},
		{400, 0, 6, domain.ErrTrimmed},
	} {
		p := domain.Position{Epoch: c.epoch, Seq: c.seq}
		if err := es.check(p, c.first, 30); !errors.Is(err, c.want) {
			t.Errorf("check epoch %d sequence %d of a log from %d: got %v, want %v", c.epoch, c.seq, c.first, err, c.want)
		}
	}
	for seq, want := range map[uint64]uint64{1: 100, 10: 100, 11: 300, 20: 300, 21: 400, 30: 400} {
		if got := es.of(seq); got != want {
			t.Errorf("sequence %d is of epoch %d, want %d", seq, got, want)
		}
	}
}

// copyFolder takes what a crash would leave: the files as they are, while the
// log is open.
func copyFolder(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{fileName, fileName + "-wal", indexName, indexName + "-wal"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestEpochs_begin_after_an_unclean_stop_with_relaxed_durability(t *testing.T) {
	for _, c := range []struct {
		name, durability string
		newEpoch         bool
	}{{"fsync", Fsync, false}, {"relaxed", Relaxed, true}} {
		t.Run(c.name, func(t *testing.T) {
			now := func() time.Time { return testTime }
			dir := t.TempDir()
			l := open(t, Config{Dir: dir, Durability: c.durability, Now: now})
			for v := range uint64(10) {
				if err := l.Append(t.Context(), adjustment("branch/b1", v+1, fmt.Sprint("c-", v))); err != nil {
					t.Fatal(err)
				}
			}
			before := l.Head()
			if want := uint64(testTime.UnixMilli()); before.Epoch != want {
				t.Fatalf("the first epoch is %d, want the clock's %d", before.Epoch, want)
			}

			// What was not on disk yet is lost with the machine; here it is
			// the last commit of three.
			crashed := copyFolder(t, dir)
			for v := uint64(10); v < 13; v++ {
				if err := l.Append(t.Context(), adjustment("branch/b1", v+1, fmt.Sprint("c-", v))); err != nil {
					t.Fatal(err)
				}
			}
			lost := l.Head()

			again := open(t, Config{Dir: crashed, Durability: c.durability, Now: now})
			head := again.Head()
			if head.Seq != before.Seq || (head.Epoch > before.Epoch) != c.newEpoch {
				t.Fatalf("the head is %+v, was %+v; want a new epoch: %t", head, before, c.newEpoch)
			}
			if err := again.Check(before); err != nil {
				t.Fatalf("check what is there: %v", err)
			}
			for range 5 { // new history under the sequences that were lost
				v := again.Head().Seq
				if err := again.Append(t.Context(), adjustment("branch/b1", v+1, fmt.Sprint("d-", v))); err != nil {
					t.Fatal(err)
				}
			}
			if err := again.Check(lost); c.newEpoch && !errors.Is(err, domain.ErrUnknownPosition) {
				t.Fatalf("check what was lost: got %v, want %v", err, domain.ErrUnknownPosition)
			}
			commits, err := again.Read(t.Context(), 0, 0)
			if err != nil || len(commits) != 15 {
				t.Fatalf("read: got %d commits, %v, want 15", len(commits), err)
			}
			for i, commit := range commits {
				want := before.Epoch
				if i >= 10 {
					want = head.Epoch
				}
				if got := commit.Position.Epoch; got != want {
					t.Fatalf("commit %d is of epoch %d, want %d", i+1, got, want)
				}
				if err := again.Check(commit.Position); err != nil {
					t.Fatal(err)
				}
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
			clean := open(t, Config{Dir: crashed, Durability: c.durability, Now: now})
			if got := clean.Head().Epoch; got != head.Epoch {
				t.Fatalf("the epoch is %d after a clean stop, want %d", got, head.Epoch)
			}
		})
	}
}

// A start after an unclean stop with relaxed durability fails half-way; what the
// next one may do does not depend on which durability that one was for.
func TestEpochs_a_start_that_fails_leaves_the_mark_of_the_stop(t *testing.T) {
	dir := t.TempDir()
	closed(t, dir, 100)
	alter(t, filepath.Join(dir, indexName), "UPDATE covered SET seq = 1000") // the log has lost its end
	alter(t, filepath.Join(dir, fileName), "INSERT INTO meta VALUES ('open', 'relaxed')")
	obstacle := filepath.Join(dir, indexName+"-journal", "not empty")
	if err := os.MkdirAll(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(t.Context(), Config{Dir: dir}); err == nil {
		t.Fatalf("opened %v although the index can't be removed", l)
	}
	if err := os.RemoveAll(filepath.Dir(obstacle)); err != nil {
		t.Fatal(err)
	}
	l := open(t, Config{Dir: dir})
	if got := l.Head().Seq; got != 100 {
		t.Fatalf("the log has %d commits, want 100", got)
	}
}
