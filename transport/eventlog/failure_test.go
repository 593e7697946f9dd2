package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"bms/domain"
)

// quiet is for tests in which the log has reason to complain.
func quiet(dir string) Config {
	return Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)}
}

// hooked opens a log whose writer calls hook between its steps.
func hooked(t *testing.T, config Config, hook func(l *Log, step string)) *Log {
	t.Helper()
	var l *Log
	l, err := openHooked(t.Context(), config, func(step string) { hook(l, step) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestDurability_is_what_sqlite_is_told(t *testing.T) {
	for durability, want := range map[string]string{Fsync: "2 wal", Relaxed: "1 wal"} {
		var got atomic.Value
		config := quiet(t.TempDir())
		config.Durability = durability
		l := hooked(t, config, func(l *Log, step string) {
			if step != "planning" {
				return
			}
			synchronous, err := l.writer.conn.queryOne("PRAGMA synchronous")
			journal, err2 := l.writer.conn.queryOne("PRAGMA journal_mode")
			if err := errors.Join(err, err2); err != nil {
				t.Error(err)
				return
			}
			got.Store(fmt.Sprint(synchronous[0], " ", journal[0]))
		})
		if err := l.Append(t.Context(), adjustment("branch/b1", 1, "c1")); err != nil {
			t.Fatal(err)
		}
		if got.Load() != want {
			t.Errorf("%s: synchronous and journal mode are %v, want %s", durability, got.Load(), want)
		}
		if l.Durability() != durability {
			t.Errorf("durability is %q, want %q", l.Durability(), durability)
		}
	}
}

// limit lets a connection's file grow no further: SQLite says SQLITE_FULL. The
// limit is the connection's; the one the writer opens next is without.
func limit(t *testing.T, c *conn) {
	t.Helper()
	row, err := c.queryOne("PRAGMA page_count")
	if err != nil {
		t.Error(err)
	}
	if err := c.exec(fmt.Sprintf("PRAGMA max_page_count = %d", row[0])); err != nil {
		t.Error(err)
	}
}

func TestFullDisk_fails_the_group_and_recovers(t *testing.T) {
	var full atomic.Bool
	l := hooked(t, quiet(t.TempDir()), func(l *Log, step string) {
		if full.Load() && step == "begun" {
			limit(t, l.writer.conn)
		}
	})
	version := uint64(0)
	for range 3 {
		for range 20 {
			version++
			if err := l.Append(t.Context(), adjustment("branch/b1", version, fmt.Sprint("good-", version))); err != nil {
				t.Fatalf("append while there is room: %v", err)
			}
		}
		head := l.Head()
		big := adjustment("branch/b1", version+1, fmt.Sprint("bad-", version+1))
		big.Events[0].Data = []byte(`"` + strings.Repeat("x", 100_000) + `"`)
		full.Store(true)
		err := l.Append(t.Context(), adjustment("branch/b2", 1, "never"), big)
		full.Store(false)
		if !errors.Is(err, domain.ErrLogUnavailable) || !strings.Contains(err.Error(), "full") {
			t.Fatalf("append to a full disk: got %v, want %v that says full", err, domain.ErrLogUnavailable)
		}
		if l.Head() != head {
			t.Fatalf("head is %v after a failed append, want %v", l.Head(), head)
		}
		if _, err := l.FindCommand(t.Context(), "u-17", "never"); !errors.Is(err, domain.ErrNotFound) {
			t.Fatalf("find what failed: got %v, want %v", err, domain.ErrNotFound)
		}
	}
	if own, err := l.ReadStream(t.Context(), "branch/b1", 0, 0); err != nil || uint64(len(own)) != version {
		t.Fatalf("the stream has %d commits, %v, want %d", len(own), err, version)
	}
}

func TestFullDisk_of_the_index_loses_nothing(t *testing.T) {
	var full atomic.Bool
	config := quiet(t.TempDir())
	config.IndexBatch = 1000
	l := hooked(t, config, func(l *Log, step string) {
		if full.Load() && step == "planning" {
			full.Store(false)
			limit(t, l.writer.index.conn)
		}
	})
	var kept []string
	failures := 0
	version := uint64(1)
	for i := range 3000 {
		full.Store(i%700 == 100)
		id := fmt.Sprint("c-", i)
		switch err := l.Append(t.Context(), adjustment("branch/b1", version, id)); {
		case err == nil:
			kept = append(kept, id)
			version++
		case errors.Is(err, domain.ErrLogUnavailable):
			failures++
		default:
			t.Fatal(err)
		}
	}
	if failures == 0 {
		t.Fatal("no append failed for want of room")
	}
	for i, id := range kept {
		c, err := l.FindCommand(t.Context(), "u-17", id)
		if err != nil || c.Version != uint64(i+1) {
			t.Fatalf("command %q: got %v, %v, want version %d", id, c, err, i+1)
		}
	}
}

func TestUnknownOutcome_a_commit_that_failed_and_was_kept_is_found(t *testing.T) {
	var keep atomic.Bool
	l := hooked(t, quiet(t.TempDir()), func(l *Log, step string) {
		if keep.Load() && step == "inserted" {
			if err := l.writer.conn.exec("COMMIT"); err != nil { // so that the writer's own fails
				t.Error(err)
			}
		}
	})
	if err := l.Append(t.Context(), adjustment("branch/b1", 1, "first")); err != nil {
		t.Fatal(err)
	}
	next := make(chan []*domain.Commit, 1)
	go func() {
		commits, err := l.Next(t.Context(), 1, 10)
		if err != nil {
			t.Error(err)
		}
		next <- commits
	}()
	keep.Store(true)
	if err := l.Append(t.Context(), adjustment("branch/b1", 2, "second")); !errors.Is(err, domain.ErrLogUnavailable) {
		t.Fatalf("append: got %v, want %v", err, domain.ErrLogUnavailable)
	}
	keep.Store(false)
	c, err := l.FindCommand(t.Context(), "u-17", "second")
	if err != nil || c.Position.Seq != 2 || l.Head() != c.Position {
		t.Fatalf("find: got %v, %v, head %v; want the commit at the head", c, err, l.Head())
	}
	if commits := <-next; len(commits) != 1 || commits[0].CommandID != "second" {
		t.Fatalf("next: got %v, want the commit", commits)
	}
	if err := l.Append(t.Context(), adjustment("branch/b1", 2, "again")); !errors.Is(err, domain.ErrVersionConflict) {
		t.Fatalf("append: got %v, want %v", err, domain.ErrVersionConflict)
	}
	if err := l.Append(t.Context(), adjustment("branch/b1", 3, "third")); err != nil {
		t.Fatal(err)
	}
}

func TestQueue_full_waits_until_the_context_ends_invariant_9(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	config := quiet(t.TempDir())
	config.QueueCalls = 1
	held := false
	l := hooked(t, config, func(_ *Log, step string) {
		if step == "begun" && !held {
			held = true
			entered <- struct{}{}
			<-leave
		}
	})
	results := make(chan error, 2)
	appendOne := func(ctx context.Context, stream string) {
		results <- l.Append(ctx, adjustment(stream, 1, stream))
	}
	go appendOne(t.Context(), "branch/b1")
	<-entered // the writer is busy with the first
	ctx, cancel := context.WithCancel(t.Context())
	go appendOne(ctx, "branch/b2")
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Fatalf("append to a full queue: got %v, want %v", err, context.Canceled)
	}
	close(leave)
	if err := <-results; err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), adjustment("branch/b2", 1, "b2")); err != nil {
		t.Fatal(err)
	}
	if got := l.Head().Seq; got != 2 {
		t.Fatalf("the log has %d commits, want 2", got)
	}
}

func TestOpen_twice_fails_with_one_clear_error(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{Dir: dir})
	_, err := Open(t.Context(), Config{Dir: dir})
	want := fmt.Sprintf("log is in use: folder %q is held by process %d; stop that one or use another folder", dir, os.Getpid())
	if !errors.Is(err, ErrInUse) || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func TestOpen_refuses_what_is_no_log(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string) Config
		want    string
	}{
		"no_dir":         {func(*testing.T, string) Config { return Config{} }, "Config.Dir is empty"},
		"bad_durability": {func(_ *testing.T, dir string) Config { return Config{Dir: dir, Durability: "fast"} }, `Config.Durability is "fast"`},
		"negative":       {func(_ *testing.T, dir string) Config { return Config{Dir: dir, Readers: -1} }, "Config.Readers is -1"},
		"below_a_file": {func(t *testing.T, dir string) Config {
			if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return Config{Dir: dir + "/file/log"}
		}, "cannot be made"},
		"no_database": {func(t *testing.T, dir string) Config {
			if err := os.WriteFile(dir+"/"+fileName, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
			return Config{Dir: dir}
		}, "not a database"},
		"other_database": {func(t *testing.T, dir string) Config {
			c, err := openConn(dir+"/"+fileName, "rwc")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.exec("CREATE TABLE people (name)"), c.close()); err != nil {
				t.Fatal(err)
			}
			return Config{Dir: dir}
		}, "some other SQLite database"},
		"newer_format": {func(t *testing.T, dir string) Config {
			closed(t, dir, 1)
			alter(t, dir+"/"+fileName, "PRAGMA user_version = 2")
			return Config{Dir: dir}
		}, "format 2, this program knows 1"},
	} {
		t.Run(name, func(t *testing.T) {
			config := c.prepare(t, t.TempDir())
			_, err := Open(t.Context(), config)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error that says %q", err, c.want)
			}
		})
	}
}
