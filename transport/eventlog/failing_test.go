package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// A disk that takes nothing must cost a try now and then, not one a command, and
// the log finds out by itself when it is well again.
func TestFailing_pauses_and_ends_by_itself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		var tries, probes atomic.Int64
		l := hooked(t, quiet(t.TempDir()), func(l *Log, step string) {
			switch step {
			case "begun":
				tries.Add(1)
			case "probing":
				probes.Add(1)
			default:
				return
			}
			if broken.Load() {
				if err := l.writer.conn.exec("PRAGMA query_only = 1"); err != nil {
					t.Error(err)
				}
			}
		})
		version := uint64(0)
		appended := func() error {
			err := l.Append(t.Context(), adjustment("branch/b1", version+1, fmt.Sprint("c-", version+1)))
			if err == nil {
				version++
			}
			return err
		}
		for range 3 {
			for range 20 {
				if err := appended(); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Failing(); err != nil {
				t.Fatalf("failing: %v, want nil", err)
			}
			broken.Store(true)
			tries.Store(0)
			probes.Store(0)
			for range 500 {
				if err := appended(); !errors.Is(err, domain.ErrLogUnavailable) || !strings.Contains(err.Error(), "readonly") {
					t.Fatalf("append: got %v, want %v that says why", err, domain.ErrLogUnavailable)
				}
			}
			if tries.Load() != 2 {
				t.Fatalf("%d tries for 500 commands at once, want 2", tries.Load())
			}
			time.Sleep(10 * time.Second)
			if n := probes.Load(); n < 10 || n > 20 {
				t.Fatalf("%d probes in 10 s, want about one a second", n)
			}
			if err := l.Failing(); !errors.Is(err, domain.ErrLogUnavailable) {
				t.Fatalf("failing: %v, want %v", err, domain.ErrLogUnavailable)
			}
			if commits, err := l.ReadStream(t.Context(), "branch/b1", version-1, 10); err != nil || len(commits) != 1 {
				t.Fatalf("read: %v, %v", commits, err)
			}
			broken.Store(false)
			time.Sleep(retryLast + time.Millisecond)
			if err := l.Failing(); err != nil {
				t.Fatalf("failing: %v although nothing is wrong any more", err)
			}
		}
	})
}

// waste overwrites all of the index, and of its write-ahead log but the header. No
// checkpoint comes in between, and the writer has nothing to bring to the file.
func waste(t *testing.T, l *Log) {
	t.Helper()
	l.checkpoints.mu.Lock()
	defer l.checkpoints.mu.Unlock()
	for file, from := range map[string]int64{l.pool.index: 0, l.pool.index + "-wal": walHeader} {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err == nil {
			_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(max(info.Size()-from, 0))), from)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIndex_damaged_while_running_is_made_anew(t *testing.T) {
	for name, notice := range map[string]func(t *testing.T, l *Log, fail *atomic.Bool){
		"found_by_the_writer": func(t *testing.T, l *Log, fail *atomic.Bool) {
			waste(t, l)
			fail.Store(true) // it opens its files again
			if err := l.Append(t.Context(), adjustment("other", 1, "other")); !errors.Is(err, domain.ErrLogUnavailable) {
				t.Fatalf("append: got %v, want %v", err, domain.ErrLogUnavailable)
			}
		},
		"found_by_a_reader": func(t *testing.T, l *Log, _ *atomic.Bool) {
			waste(t, l)
			if _, err := l.FindCommand(t.Context(), "u-17", "c-700"); !errors.Is(err, domain.ErrLogUnavailable) {
				t.Fatalf("find: got %v, want %v", err, domain.ErrLogUnavailable)
			}
		},
		"found_by_a_reader_of_a_stream": func(t *testing.T, l *Log, _ *atomic.Bool) {
			waste(t, l)
			if _, err := l.ReadStream(t.Context(), "branch/b1", 700, 10); !errors.Is(err, domain.ErrLogUnavailable) {
				t.Fatalf("read: got %v, want %v", err, domain.ErrLogUnavailable)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			const commits, batch = 1000, 100
			var fail atomic.Bool
			config := quiet(t.TempDir())
			config.IndexBatch = batch
			flushed := make(chan struct{}, commits)
			l := hooked(t, config, func(l *Log, step string) {
				if step == "flushed" {
					flushed <- struct{}{}
				}
				if step == "begun" && fail.Swap(false) {
					if err := l.writer.conn.exec("PRAGMA query_only = 1"); err != nil {
						t.Error(err)
					}
				}
			})
			var all []*domain.Commit
			for v := range uint64(commits) {
				all = append(all, adjustment("branch/b1", v+1, fmt.Sprint("c-", v+1)))
			}
			for i := 0; i < commits; i += 50 {
				if err := l.Append(t.Context(), all[i:i+50]...); err != nil {
					t.Fatal(err)
				}
			}
			for range commits / batch {
				<-flushed // nothing is written any more that would put sound pages back
			}
			notice(t, l, &fail)
			for v := range uint64(2) { // the second is behind what the first woke
				if err := l.Append(t.Context(), adjustment("branch/b1", commits+v+1, fmt.Sprint("c-", commits+v+1))); err != nil {
					t.Fatalf("append: %v", err)
				}
			}
			for v := range uint64(commits + 2) {
				id := fmt.Sprint("c-", v+1)
				if c, err := l.FindCommand(t.Context(), "u-17", id); err != nil || c.Version != v+1 {
					t.Fatalf("command %q: %v, %v, want version %d", id, c, err, v+1)
				}
			}
			if own, err := l.ReadStream(t.Context(), "branch/b1", 0, 0); err != nil || len(own) != commits+2 {
				t.Fatalf("the stream has %d commits, %v, want %d", len(own), err, commits+2)
			}
			if err := l.Append(t.Context(), adjustment("branch/b1", commits+3, "c-5")); !errors.Is(err, domain.ErrDuplicateCommand) {
				t.Fatalf("append: got %v, want %v", err, domain.ErrDuplicateCommand)
			}
			if err := l.Failing(); err != nil {
				t.Fatalf("failing: %v, want nil", err)
			}
			if _, err := os.Stat(filepath.Join(config.Dir, newIndexName)); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("%s is still there: %v", newIndexName, err)
			}
		})
	}
}

// A disk that damages the index again and again: it is said, and the index made
// anew once in a while, not all the time and not only once.
func TestIndex_damaged_again_is_made_anew_after_a_while(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := hooked(t, quiet(t.TempDir()), func(*Log, string) {})
		var all []*domain.Commit
		for v := range uint64(1000) {
			all = append(all, adjustment("branch/b1", v+1, fmt.Sprint("c-", v+1)))
		}
		if err := l.Append(t.Context(), all...); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = hooked(t, quiet(l.config.Dir), func(*Log, string) {})
		find := func(id string) error {
			_, err := l.FindCommand(t.Context(), "u-17", id)
			return err
		}
		for damage := range 3 {
			id := fmt.Sprint("c-", 100*damage+1) // from a page that no reader has in memory
			waste(t, l)
			if err := find(id); !errors.Is(err, domain.ErrLogUnavailable) {
				t.Fatalf("damage %d: found with %v, want %v", damage, err, domain.ErrLogUnavailable)
			}
			if damage > 0 {
				time.Sleep(remakePause / 2)
				if err := l.Failing(); !errors.Is(err, domain.ErrLogUnavailable) || !strings.Contains(err.Error(), indexName) {
					t.Fatalf("damage %d: failing: %v, want %v that names the index", damage, err, domain.ErrLogUnavailable)
				}
				if err := find(id); !errors.Is(err, domain.ErrLogUnavailable) {
					t.Fatalf("damage %d: found with %v, want it not made anew yet", damage, err)
				}
				time.Sleep(remakePause / 2)
			}
			time.Sleep(time.Second)
			if err := l.Failing(); err != nil {
				t.Fatalf("damage %d: failing: %v, want nil once the index is made anew", damage, err)
			}
		}
		if err := l.Append(t.Context(), adjustment("branch/b1", 1001, "c-7")); !errors.Is(err, domain.ErrDuplicateCommand) {
			t.Fatalf("append: got %v, want %v", err, domain.ErrDuplicateCommand)
		}
		if err := find("c-7"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSize_is_that_of_the_files(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Config{Dir: dir})
	before := l.Size()
	big := adjustment("branch/b1", 1, "c")
	big.Result = []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	if err := l.Append(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	if got := l.Size(); before < 4096 || got < before+1<<20 {
		t.Fatalf("size %d, then %d, want more than a MiB more", before, got)
	}
}
