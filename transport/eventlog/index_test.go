package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bms/domain"
)

// A flipped bit in the index never lets a command take effect twice or gives a
// version to two commits: what is in the page is not believed, and all is as
// before once the index was made anew (invariants 2 and 3).
func TestIndex_a_flipped_bit_never_forgets(t *testing.T) {
	const commits, streams, flips = 600, 20, 20
	dir := t.TempDir()
	l := open(t, Config{Dir: dir})
	var all []*domain.Commit
	for i := range commits {
		all = append(all, adjustment(streamName(i%streams), uint64(i/streams+1), fmt.Sprint("c-", i)))
	}
	if err := l.Append(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, indexName)
	sound, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(11, 12))
	noticed := 0
	for range flips {
		spoiled := bytes.Clone(sound)
		at := random.IntN(len(spoiled))
		spoiled[at] ^= 1 << random.IntN(8)
		if err := os.WriteFile(file, spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, quiet(dir))
		unavailable := 0
		expect := func(what string, ask func() error, want error) {
			t.Helper()
			err := ask()
			if errors.Is(err, domain.ErrLogUnavailable) { // it is made anew, once
				unavailable++
				err = ask()
			}
			if !errors.Is(err, want) {
				t.Fatalf("bit of byte %d flipped, page %d: %s: got %v, want %v", at, at/4096+1, what, err, want)
			}
		}
		for s := range streams {
			expect("the last version again", func() error {
				return l.Append(t.Context(), adjustment(streamName(s), commits/streams, fmt.Sprint("again-", s)))
			}, domain.ErrVersionConflict)
		}
		for i := range commits {
			expect(fmt.Sprintf("command %d again", i), func() error {
				return l.Append(t.Context(), adjustment(streamName(i%streams), commits/streams+1, fmt.Sprint("c-", i)))
			}, domain.ErrDuplicateCommand)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if unavailable > 1 {
			t.Fatalf("bit of byte %d flipped: %d answers were that the log is unavailable, want one at most", at, unavailable)
		}
		noticed += unavailable
	}
	t.Logf("%d of %d flipped bits were noticed after the start", noticed, flips)
	if noticed == 0 {
		t.Fatal("no flipped bit was noticed after the start")
	}
}

func checkIndex(t *testing.T, dir string) (covered uint64, err error) {
	t.Helper()
	r, err := OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	return r.CheckIndex(t.Context())
}

func TestIndex_is_compared_with_the_log(t *testing.T) {
	const commits = 2*checkBatch + 100
	sound := t.TempDir()
	l := open(t, Config{Dir: sound, IndexBatch: 1000})
	for i := 0; i < commits; i += 100 {
		group := make([]*domain.Commit, 100)
		for j := range group {
			n := i + j
			group[j] = adjustment(streamName(n%7), uint64(n/7+1), fmt.Sprint("c-", n))
			if n%11 == 0 {
				group[j].CommandID = "" // has no key
			}
		}
		if err := l.Append(t.Context(), group[:min(100, commits-i)]...); err != nil {
			t.Fatal(err)
		}
	}
	// In use, it ends where it was last brought to the file.
	if covered, err := checkIndex(t, sound); err != nil || covered == 0 || covered >= commits {
		t.Fatalf("compared up to %d, %v, want some of %d", covered, err, commits)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if covered, err := checkIndex(t, sound); err != nil || covered != commits {
		t.Fatalf("compared up to %d, %v, want %d", covered, err, commits)
	}
	for name, c := range map[string]struct{ sql, want string }{
		"a_version_missing":    {"DELETE FROM streams WHERE stream = 'branch/b003' AND version = 300", "versions of streams"},
		"a_version_too_many":   {"INSERT INTO streams VALUES ('branch/b003', 999999, 5)", "versions of streams"},
		"a_version_elsewhere":  {"UPDATE streams SET seq = seq - 7 WHERE stream = 'branch/b003' AND version = 300", "versions of streams"},
		"of_another_stream":    {"UPDATE streams SET stream = 'branch/b009' WHERE stream = 'branch/b003' AND version = 300", "versions of streams"},
		"a_command_missing":    {"DELETE FROM commands WHERE seq = 3000", "commands up to"},
		"a_command_too_many":   {"INSERT INTO commands VALUES (x'00112233445566778899aabbccddeeff', 12)", "commands up to"},
		"a_command_of_another": {"UPDATE commands SET id = x'00112233445566778899aabbccddeeff' WHERE seq = 3000", "commands up to"},
		"of_another_log":       {"UPDATE covered SET checksum = checksum + 1", "checksum"},
		"beyond_the_log":       {"UPDATE covered SET seq = seq + 1", "of the log that is commit"},
		"another_format":       {"PRAGMA user_version = 99", "format 99"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyClosed(t, sound)
			alter(t, filepath.Join(dir, indexName), c.sql)
			if covered, err := checkIndex(t, dir); !errors.Is(err, ErrIndex) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("compared up to %d with %v, want %v that says %q", covered, err, ErrIndex, c.want)
			}
		})
	}
	t.Run("a_flipped_bit", func(t *testing.T) {
		dir := copyClosed(t, sound)
		spoil(t, filepath.Join(dir, indexName), func(b []byte) int { return len(b) / 2 })
		if covered, err := checkIndex(t, dir); !errors.Is(err, ErrIndex) {
			t.Fatalf("compared up to %d with %v, want %v", covered, err, ErrIndex)
		}
	})
	t.Run("absent", func(t *testing.T) {
		dir := copyClosed(t, sound)
		if err := os.Remove(filepath.Join(dir, indexName)); err != nil {
			t.Fatal(err)
		}
		if covered, err := checkIndex(t, dir); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("compared up to %d with %v, want %v", covered, err, fs.ErrNotExist)
		}
	})
}

// copyClosed copies the files of a log that nobody has open.
func copyClosed(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{fileName, indexName} {
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
