package eventlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bms/domain"
)

// closed makes a log of n commits in a folder and closes it.
func closed(t *testing.T, dir string, n int) []string {
	t.Helper()
	l := open(t, Config{Dir: dir})
	commits := make([]*domain.Commit, n)
	for i := range commits {
		commits[i] = adjustment(streamName(i%7), uint64(i/7+1), fmt.Sprintf("marked-%04d", i+1))
	}
	if err := l.Append(t.Context(), commits...); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	texts := make([]string, n)
	for i, c := range commits {
		texts[i] = textOf(t, c)
	}
	return texts
}

// textOf is all there is to see of a commit.
func textOf(t *testing.T, c *domain.Commit) string {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Events {
		b = fmt.Appendf(b, " v%d", c.Events[i].Version)
	}
	return string(b)
}

// spoil changes one byte of a file.
func spoil(t *testing.T, file string, change func(content []byte) (at int)) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[change(content)] ^= 0x04
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamage_a_flipped_bit_is_named_and_not_served(t *testing.T) {
	dir := t.TempDir()
	closed(t, dir, 2*tailChecked)
	spoil(t, filepath.Join(dir, fileName), func(b []byte) int { return bytes.Index(b, []byte("marked-0100")) + 2 })

	l := open(t, Config{Dir: dir}) // the damage is not at the end
	for name, read := range map[string]func() error{
		"read":   func() error { _, err := l.Read(t.Context(), 90, 50); return err },
		"next":   func() error { _, err := l.Next(t.Context(), 99, 1); return err },
		"stream": func() error { _, err := l.ReadStream(t.Context(), streamName(99%7), 99/7, 1); return err },
		"find":   func() error { _, err := l.FindCommand(t.Context(), "u-17", "marked-0100"); return err },
	} {
		err := read()
		if !errors.Is(err, domain.ErrCorrupt) || !strings.Contains(err.Error(), "log.db: commit 100:") {
			t.Errorf("%s: got %v, want %v that names file and commit", name, err, domain.ErrCorrupt)
		}
	}
	for _, after := range []uint64{0, 100} {
		if commits, err := l.Read(t.Context(), after, 99); err != nil || len(commits) != 99 {
			t.Errorf("read after %d: got %d commits and %v, want 99", after, len(commits), err)
		}
	}
}

func TestDamage_at_the_end_stops_open(t *testing.T) {
	dir := t.TempDir()
	closed(t, dir, 20)
	spoil(t, filepath.Join(dir, fileName), func(b []byte) int { return bytes.Index(b, []byte("marked-0015")) + 2 })
	_, err := Open(t.Context(), Config{Dir: dir})
	if !errors.Is(err, domain.ErrCorrupt) || !strings.Contains(err.Error(), "log.db: commit 15:") {
		t.Fatalf("open: got %v, want %v that names file and commit", err, domain.ErrCorrupt)
	}
}

// TestDamage_anywhere flips bits all over the file: the log may refuse, but
// never gives anything else than what was appended.
func TestDamage_anywhere_is_never_served_as_something_else(t *testing.T) {
	dir := t.TempDir()
	want := closed(t, dir, 60)
	file := filepath.Join(dir, fileName)
	sound, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 150 {
		at := random.IntN(len(sound))
		spoiled := bytes.Clone(sound)
		spoiled[at] ^= 1 << random.IntN(8)
		if err := os.WriteFile(file, spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := everything(t, dir)
		if err != nil {
			refused++
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("byte %d spoiled: commit %d reads as\n%s\nwant\n%s", at, i+1, got[i], want[i])
			}
		}
	}
	if refused == 0 {
		t.Fatal("no flipped bit was noticed")
	}
}

// everything opens a log and returns the texts of all its commits.
func everything(t *testing.T, dir string) (texts []string, err error) {
	t.Helper()
	l, err := Open(t.Context(), Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for {
		commits, err := l.Read(t.Context(), uint64(len(texts)), 0)
		if err != nil || len(commits) == 0 {
			return texts, err
		}
		for _, c := range commits {
			texts = append(texts, textOf(t, c))
		}
	}
}

func TestDamage_a_missing_commit_is_named(t *testing.T) {
	dir := t.TempDir()
	closed(t, dir, 2*tailChecked)
	alter(t, filepath.Join(dir, fileName), "DELETE FROM commits WHERE seq = 100")
	l := open(t, Config{Dir: dir})
	_, err := l.Read(t.Context(), 0, 0)
	if !errors.Is(err, domain.ErrCorrupt) || !strings.Contains(err.Error(), "commit 100:") {
		t.Fatalf("read: got %v, want %v that names the commit", err, domain.ErrCorrupt)
	}
	if _, err := l.FindCommand(t.Context(), "u-17", "marked-0100"); !errors.Is(err, domain.ErrCorrupt) || !strings.Contains(err.Error(), "commit 100:") {
		t.Fatalf("find: got %v, want %v that names the commit", err, domain.ErrCorrupt)
	}
}

func TestDamage_a_log_that_lost_its_end_is_noticed(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, file string){
		"end_missing":   func(t *testing.T, file string) { alter(t, file, "DELETE FROM commits WHERE seq > 90") },
		"empty":         func(t *testing.T, file string) { truncate(t, file, 0) },
		"half":          func(t *testing.T, file string) { truncate(t, file, 16384) },
		"not_one_page":  func(t *testing.T, file string) { truncate(t, file, 1000) },
		"another_log":   func(t *testing.T, file string) { replace(t, file, 100) },
		"a_shorter_one": func(t *testing.T, file string) { replace(t, file, 10) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			closed(t, dir, 100)
			harm(t, filepath.Join(dir, fileName))
			l, err := Open(t.Context(), Config{Dir: dir})
			if !errors.Is(err, domain.ErrCorrupt) || !strings.Contains(err.Error(), dir) {
				t.Fatalf("open: got %v, %v, want %v that names the file", l, err, domain.ErrCorrupt)
			}
		})
	}
}

func truncate(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

// replace puts another log of n commits in a file's place.
func replace(t *testing.T, file string, n int) {
	t.Helper()
	dir := t.TempDir()
	l := open(t, Config{Dir: dir})
	for i := range n {
		if err := l.Append(t.Context(), adjustment("other", uint64(i+1), fmt.Sprint("other-", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, fileName), file); err != nil {
		t.Fatal(err)
	}
}

// alter runs SQL on a closed file.
func alter(t *testing.T, file, sql string) {
	t.Helper()
	open := openConn
	if filepath.Base(file) == indexName {
		open = openSummed
	}
	c, err := open(file, "rw")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.exec(sql), c.close()); err != nil {
		t.Fatal(err)
	}
}

// An index that is sound and says what is not so is doubted, and what it says of a
// command no answer: not that there is none, and not that the log is damaged.
func TestIndex_that_names_another_commit_is_made_anew(t *testing.T) {
	dir := t.TempDir()
	closed(t, dir, 100)
	alter(t, filepath.Join(dir, indexName), "UPDATE commands SET seq = seq % 100 + 1")
	l := open(t, quiet(dir))
	_, err := l.FindCommand(t.Context(), "u-17", "marked-0050")
	if !errors.Is(err, domain.ErrLogUnavailable) || errors.Is(err, domain.ErrCorrupt) || !strings.Contains(err.Error(), "index.db: it has commit 51") {
		t.Fatalf("find: got %v, want %v that says which commit the index has", err, domain.ErrLogUnavailable)
	}
	for v := range uint64(2) { // the second is behind what the first woke
		if err := l.Append(t.Context(), adjustment("other", v+1, fmt.Sprint("other-", v))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		if c, err := l.FindCommand(t.Context(), "u-17", fmt.Sprintf("marked-%04d", i+1)); err != nil || c.Position.Seq != uint64(i+1) {
			t.Fatalf("find command %d: got %v, %v", i+1, c, err)
		}
	}
}

func TestIndex_is_made_anew(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, index string){
		"absent": func(t *testing.T, index string) {
			if err := os.Remove(index); err != nil {
				t.Fatal(err)
			}
		},
		"no_database": func(t *testing.T, index string) {
			if err := os.WriteFile(index, bytes.Repeat([]byte("x"), 8192), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"ahead_of_log_after_an_unclean_relaxed_stop": func(t *testing.T, index string) {
			alter(t, index, "UPDATE covered SET seq = 1000")
			alter(t, filepath.Join(filepath.Dir(index), fileName), "INSERT INTO meta VALUES ('open', 'relaxed')")
		},
		"behind_log": func(t *testing.T, index string) {
			alter(t, index, "DELETE FROM streams; DELETE FROM commands; UPDATE covered SET seq = 0")
		},
		"other_format": func(t *testing.T, index string) { alter(t, index, "PRAGMA user_version = 99") },
		"without_checksums": func(t *testing.T, index string) {
			c, err := openConn(index, "rw")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.exec("UPDATE covered SET seq = seq"), c.close()); err != nil {
				t.Fatal(err)
			}
		},
		"ahead_of_what_it_says": func(t *testing.T, index string) {
			log, err := openConn(filepath.Join(filepath.Dir(index), fileName), "rw")
			if err != nil {
				t.Fatal(err)
			}
			row, err := log.queryOne("SELECT checksum FROM commits WHERE seq = 50")
			if err = errors.Join(err, log.close()); err != nil {
				t.Fatal(err)
			}
			alter(t, index, fmt.Sprintf("UPDATE covered SET seq = 50, checksum = %d", row[0]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want := closed(t, dir, 100)
			harm(t, filepath.Join(dir, indexName))
			l := open(t, Config{Dir: dir})
			for i := range want {
				c, err := l.FindCommand(t.Context(), "u-17", fmt.Sprintf("marked-%04d", i+1))
				if err != nil || textOf(t, c) != want[i] {
					t.Fatalf("find command %d: got %v, %v", i+1, c, err)
				}
			}
			if err := l.Append(t.Context(), adjustment(streamName(0), 16, "marked-0001")); !errors.Is(err, domain.ErrDuplicateCommand) {
				t.Fatalf("append: got %v, want %v", err, domain.ErrDuplicateCommand)
			}
			if err := l.Append(t.Context(), adjustment(streamName(0), 1, "new")); !errors.Is(err, domain.ErrVersionConflict) {
				t.Fatalf("append: got %v, want %v", err, domain.ErrVersionConflict)
			}
			if own, err := l.ReadStream(t.Context(), streamName(0), 0, 0); err != nil || len(own) != 15 {
				t.Fatalf("read stream: got %d commits, %v, want 15", len(own), err)
			}
		})
	}
}
