package eventlog

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bms/domain"
)

func readOnly(t testing.TB, dir string) *ReadOnly {
	t.Helper()
	r, err := OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// backedUp makes a log of n commits, closed, and its backup.
func backedUp(t *testing.T, n int) (file string, want []string) {
	t.Helper()
	dir := t.TempDir()
	want = closed(t, dir, n)
	file = filepath.Join(t.TempDir(), "log.backup")
	if _, err := readOnly(t, dir).Backup(t.Context(), BackupConfig{File: file}); err != nil {
		t.Fatal(err)
	}
	return file, want
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestBackup_of_a_log_in_use_restores_to_the_same_commits_in_a_new_epoch(t *testing.T) {
	now := func() time.Time { return testTime }
	l := open(t, Config{Dir: t.TempDir(), Now: now})
	message := &domain.Commit{Stream: "orders", Version: 1, CommandType: "message", At: testTime, Message: []byte{}}
	bare := &domain.Commit{Stream: "empty", Version: 1, UserID: "u\x00\"ü", CommandID: "c", At: testTime}
	if err := l.Append(t.Context(), message, bare); err != nil {
		t.Fatal(err)
	}
	for v := range uint64(3000) {
		if err := l.Append(t.Context(), adjustment(streamName(int(v%5)), v/5+1, fmt.Sprint("c-", v))); err != nil {
			t.Fatal(err)
		}
	}
	head, v := l.Head(), uint64(3000)
	file := filepath.Join(t.TempDir(), "log.backup")
	m, err := readOnly(t, l.config.Dir).Backup(t.Context(), BackupConfig{
		File: file, Notes: json.RawMessage(`{"why":"test"}`), Now: now,
		Progress: func(done, of uint64) { // what comes after the beginning is not in it
			if err := l.Append(t.Context(), adjustment(streamName(int(v%5)), v/5+1, fmt.Sprint("c-", v))); err != nil {
				t.Error(err)
			}
			v++
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if m.Head != head || m.First != 1 || m.Commits != head.Seq {
		t.Fatalf("manifest %+v, want head %+v", m, head)
	}
	beyond := l.Head()
	if beyond == head {
		t.Fatal("nothing was appended during the backup")
	}

	dir := filepath.Join(t.TempDir(), "new")
	restored, end, err := Restore(t.Context(), RestoreConfig{File: file, Dir: dir, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if string(restored.Notes) != `{"why":"test"}` || restored.Head != head || !restored.CreatedAt.Equal(testTime) {
		t.Fatalf("manifest %+v, want that of the backup, %+v", restored, m)
	}
	if end.Seq != head.Seq || end.Index != head.Index || end.Epoch <= head.Epoch {
		t.Fatalf("restored head %+v, want %+v in a later epoch", end, head)
	}
	again := open(t, Config{Dir: dir, Now: now})
	if got := again.Head(); got != end {
		t.Fatalf("head %+v, want %+v: the stop was clean", got, end)
	}
	for after := uint64(0); after < head.Seq; {
		want, err := l.Read(t.Context(), after, 500)
		if err != nil {
			t.Fatal(err)
		}
		got, err := again.Read(t.Context(), after, len(want))
		if err != nil || len(got) != min(len(want), int(head.Seq-after)) {
			t.Fatalf("read after %d: %d commits, %v", after, len(got), err)
		}
		for i, c := range got {
			if a, b := textOf(t, c), textOf(t, want[i]); a != b {
				t.Fatalf("restored\n     %s\nwant %s", a, b)
			}
			if err := again.Check(c.Position); err != nil {
				t.Fatalf("a position of before: %v", err)
			}
		}
		after += uint64(len(got))
	}
	if err := again.Check(beyond); !errors.Is(err, domain.ErrUnknownPosition) {
		t.Fatalf("check a position beyond the backup: got %v, want %v", err, domain.ErrUnknownPosition)
	}
	next := adjustment(streamName(0), 601, "new")
	if err := again.Append(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if next.Position.Epoch != end.Epoch || next.Position.Seq != head.Seq+1 {
		t.Fatalf("appended at %+v, want the new epoch %d", next.Position, end.Epoch)
	}
	if err := again.Check(beyond); !errors.Is(err, domain.ErrUnknownPosition) { // its sequence is taken now
		t.Fatalf("check a position beyond the backup: got %v, want %v", err, domain.ErrUnknownPosition)
	}
	if err := again.Append(t.Context(), adjustment(streamName(1), 601, "c-1")); !errors.Is(err, domain.ErrDuplicateCommand) {
		t.Fatalf("append a command again: got %v, want %v", err, domain.ErrDuplicateCommand)
	}
}

func TestBackup_of_an_empty_log(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir()})
	file := filepath.Join(t.TempDir(), "log.backup")
	if m, err := readOnly(t, l.config.Dir).Backup(t.Context(), BackupConfig{File: file}); err != nil || m.Commits != 0 {
		t.Fatalf("got %+v, %v", m, err)
	}
	dir := t.TempDir()
	if _, head, err := Restore(t.Context(), RestoreConfig{File: file, Dir: dir}); err != nil || head.Seq != 0 {
		t.Fatalf("got %+v, %v", head, err)
	}
	if err := open(t, Config{Dir: dir}).Append(t.Context(), adjustment("branch/b1", 1, "c")); err != nil {
		t.Fatal(err)
	}
}

func TestBackup_keeps_how_far_consumers_are(t *testing.T) {
	dir, file, to := t.TempDir(), filepath.Join(t.TempDir(), "b"), t.TempDir()
	closed(t, dir, 20)
	alter(t, filepath.Join(dir, fileName), "INSERT INTO offsets VALUES ('mail', '*', 7), ('mail', 'orders', 20)")
	if _, err := readOnly(t, dir).Backup(t.Context(), BackupConfig{File: file}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Restore(t.Context(), RestoreConfig{File: file, Dir: to}); err != nil {
		t.Fatal(err)
	}
	l := open(t, Config{Dir: to})
	for topic, want := range map[string]uint64{"*": 7, "orders": 20} {
		if got, err := l.pool.offset(t.Context(), "mail", topic); err != nil || got != want {
			t.Errorf("offset of %q: got %d, %v, want %d", topic, got, err, want)
		}
	}
}

// failing writes up to a number of bytes and then fails.
type failing struct {
	w    io.Writer
	left int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.err
	}
	return f.w.Write(p)
}

func TestBackup_that_fails_leaves_nothing(t *testing.T) {
	var cancel context.CancelFunc
	for name, c := range map[string]struct {
		config BackupConfig
		spoil  bool
		want   error
		says   string
	}{
		"disk_full":    {BackupConfig{wrap: func(w io.Writer) io.Writer { return &failing{w, 4000, syscall.ENOSPC} }}, false, syscall.ENOSPC, "write backup"},
		"interrupted":  {BackupConfig{Progress: func(uint64, uint64) { cancel() }}, false, context.Canceled, ""},
		"damaged_log":  {BackupConfig{}, true, domain.ErrCorrupt, "commit 100:"},
		"no_directory": {BackupConfig{File: "no/such/folder/b"}, false, fs.ErrNotExist, "no/such/folder"},
	} {
		t.Run(name, func(t *testing.T) {
			var ctx context.Context
			ctx, cancel = context.WithCancel(t.Context())
			defer cancel()
			dir, to := t.TempDir(), t.TempDir()
			closed(t, dir, 3*backupBatch)
			if c.spoil {
				spoil(t, filepath.Join(dir, fileName), func(b []byte) int { return bytes.Index(b, []byte("marked-0100")) + 2 })
			}
			if c.config.File == "" {
				c.config.File = filepath.Join(to, "log.backup")
			}
			_, err := readOnly(t, dir).Backup(ctx, c.config)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), ".partial") {
				t.Fatalf("got %v, want %v that says %q", err, c.want, c.says)
			}
			if left := names(t, to); left != "" {
				t.Fatalf("left behind: %s", left)
			}
		})
	}
}

func TestBackup_overwrites_nothing(t *testing.T) {
	file, _ := backedUp(t, 10)
	dir := t.TempDir()
	closed(t, dir, 20)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readOnly(t, dir).Backup(t.Context(), BackupConfig{File: file}); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), file) {
		t.Fatalf("got %v, want %v that names the file", err, fs.ErrExist)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, before) {
		t.Fatalf("the file has changed, %v", err)
	}
}

func TestRestore_wants_an_empty_folder(t *testing.T) {
	file, _ := backedUp(t, 10)
	dir := t.TempDir()
	closed(t, dir, 3)
	_, _, err := Restore(t.Context(), RestoreConfig{File: file, Dir: dir})
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v, want %v that names the folder", err, fs.ErrExist)
	}
	if got, err := everything(t, dir); err != nil || len(got) != 3 {
		t.Fatalf("the log there has %d commits, %v", len(got), err)
	}
}

func TestRestore_takes_a_new_file_system_for_empty(t *testing.T) {
	file, _ := backedUp(t, 10)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Restore(t.Context(), RestoreConfig{File: file, Dir: dir}); err != nil {
		t.Error(err)
	}
}

func TestRestore_knows_what_is_no_backup(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "short": "x", "text": strings.Repeat("what I did on my holidays\n", 100), "newer": strings.Replace(backupMagic, "1\n", "2\n", 1) + "x",
	} {
		file, dir := filepath.Join(t.TempDir(), name), t.TempDir()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := Restore(t.Context(), RestoreConfig{File: file, Dir: dir})
		if err == nil || (name != "newer") != errors.Is(err, ErrNotBackup) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v", name, err)
		}
		if left := names(t, dir); left != "" {
			t.Errorf("%s: left behind: %s", name, left)
		}
	}
	if _, _, err := Restore(t.Context(), RestoreConfig{File: "no-such-file", Dir: t.TempDir()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v, want %v", err, fs.ErrNotExist)
	}
}

// TestRestore_refuses_a_damaged_backup flips bits and cuts the file anywhere:
// every change is noticed, and there is no log then.
func TestRestore_refuses_a_damaged_backup(t *testing.T) {
	file, _ := backedUp(t, 300)
	sound, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 150 {
		at := len(backupMagic) + random.IntN(len(sound)-len(backupMagic))
		spoiled, how := bytes.Clone(sound), "flipped"
		switch {
		case i < 20:
			at, how = len(sound)-1-i, "cut"
			spoiled = spoiled[:at]
		case i%10 == 0:
			how, spoiled = "cut", spoiled[:at]
		default:
			spoiled[at] ^= 1 << random.IntN(8)
		}
		if err := os.WriteFile(file, spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "new")
		_, _, err := Restore(t.Context(), RestoreConfig{File: file, Dir: dir})
		if err == nil {
			t.Fatalf("byte %d of %d %s: restored", at, len(sound), how)
		}
		if !errors.Is(err, domain.ErrCorrupt) || !strings.Contains(err.Error(), file) {
			t.Errorf("byte %d %s: got %v, want %v that names the file", at, how, err, domain.ErrCorrupt)
		}
		if _, err := os.Stat(filepath.Join(dir, fileName)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("byte %d %s: there is a log: %v", at, how, err)
		}
	}
}

func TestRestore_that_was_interrupted_is_not_taken_for_a_log(t *testing.T) {
	file, want := backedUp(t, 3*backupBatch)
	dir := t.TempDir()

	// Killed: what there was of it stays.
	half := filepath.Join(dir, restoringName)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := Restore(ctx, RestoreConfig{File: file, Dir: dir, Progress: func(done, _ uint64) {
		if b, err := os.ReadFile(half); done == 2*backupBatch && err == nil {
			if err := os.WriteFile(half+".copy", b, 0o600); err != nil {
				t.Error(err)
			}
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	if left := names(t, dir); strings.Contains(left, restoringName+" ") || strings.Contains(left, fileName+" ") {
		t.Fatalf("left behind: %s", left)
	}
	if err := os.Rename(half+".copy", half); err != nil {
		t.Fatal(err)
	}

	if l, err := Open(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Fatalf("open: got %v, %v, want an error", l, err)
	}
	if _, err := OpenReadOnly(t.Context(), dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open for reading: got %v, want %v", err, fs.ErrNotExist)
	}
	if _, _, err := Restore(t.Context(), RestoreConfig{File: file, Dir: dir}); err != nil {
		t.Fatalf("restore again: %v", err)
	}
	if got, err := everything(t, dir); err != nil || len(got) != len(want) {
		t.Fatalf("got %d commits, %v, want %d", len(got), err, len(want))
	}
	if left := names(t, dir); strings.Contains(left, restoringName) {
		t.Fatalf("left behind: %s", left)
	}
}

// There is a log or an error, never both: up to the last moment.
func TestRestore_that_fails_leaves_no_log(t *testing.T) {
	file, want := backedUp(t, backupBatch+5)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := Restore(ctx, RestoreConfig{File: file, Dir: dir, Progress: func(done, of uint64) {
		if done == of {
			cancel()
		}
	}})
	if left := names(t, dir); !errors.Is(err, context.Canceled) || strings.Contains(left, ".db") {
		t.Fatalf("got %v and %q, want %v and no log", err, left, context.Canceled)
	}

	// Killed between the last two steps: the index has its name.
	m, head, err := Restore(t.Context(), RestoreConfig{File: file, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if head.Epoch <= m.Head.Epoch || head.Seq != m.Head.Seq || head.Index != m.Head.Index {
		t.Fatalf("the head is %+v, that of the backup %+v; want the same in a later epoch", head, m.Head)
	}
	if err := os.Rename(filepath.Join(dir, fileName), filepath.Join(dir, restoringName)); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Fatalf("open: got %v, %v, want an error", l, err)
	}
	if _, head, err = Restore(t.Context(), RestoreConfig{File: file, Dir: dir}); err != nil {
		t.Fatalf("restore again: %v", err)
	}
	if left := names(t, dir); strings.Contains(left, restoringName) || !strings.Contains(left, indexName+" ") {
		t.Fatalf("left: %s", left)
	}
	if covered, err := checkIndex(t, dir); err != nil || covered != head.Seq {
		t.Fatalf("the index reaches up to %d, %v, want %d", covered, err, head.Seq)
	}
	l := open(t, Config{Dir: dir})
	if l.Head() != head {
		t.Fatalf("opened with head %+v, restored with %+v", l.Head(), head)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := everything(t, dir); err != nil || len(got) != len(want) {
		t.Fatalf("got %d commits, %v, want %d", len(got), err, len(want))
	}
}

// On a full disk a close leaves behind what it could not copy, and says nothing.
func TestRestore_that_was_not_written_whole_has_failed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syncWhole(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+"-wal", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syncWhole(file); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("got %v, want an error", err)
	}
}

func TestRestore_into_a_folder_that_is_being_restored_into(t *testing.T) {
	file, _ := backedUp(t, 10)
	dir := t.TempDir()
	held, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.release() }()
	if _, _, err := Restore(t.Context(), RestoreConfig{File: file, Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v, want %v", err, ErrInUse)
	}
}

// FuzzRestore feeds what is behind the magic; nothing may panic or be taken for
// a backup but the sound one.
func FuzzRestore(f *testing.F) {
	var buf bytes.Buffer
	w, err := newBackupWriter(&buf, Manifest{Format: backupFormat, First: 1, Epochs: []ManifestEpoch{{1, 1}}})
	if err != nil {
		f.Fatal(err)
	}
	if err := w.close(); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes()[len(backupMagic):])
	f.Fuzz(func(t *testing.T, content []byte) {
		b, err := newBackupReader(bytes.NewReader(append([]byte(backupMagic), content...)))
		if err != nil {
			return
		}
		defer b.close()
		var row [numColumns]driver.Value
		for err == nil {
			err = b.read(&row)
		}
	})
}
