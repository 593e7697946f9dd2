package eventlog

import (
	"context"
	"errors"
	"strings"
	"testing"

	"bms/domain"
)

func TestReadOnly_reads_beside_the_writer(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenReadOnly(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "there is no log") {
		t.Fatalf("open: got %v, want an error that says there is no log", err)
	}
	l := open(t, Config{Dir: dir})
	r, err := OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.Head() != l.Head() {
		t.Fatalf("head is %v, want %v", r.Head(), l.Head())
	}
	next := make(chan []*domain.Commit, 1)
	go func() {
		commits, err := r.Next(t.Context(), 0, 10)
		if err != nil {
			t.Error(err)
		}
		next <- commits
	}()
	want := adjustment("branch/b1", 1, "c1")
	if err := l.Append(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if commits := <-next; len(commits) != 1 || textOf(t, commits[0]) != textOf(t, want) {
		t.Fatalf("next: got %v, want the commit", commits)
	}
	if err := l.Append(t.Context(), adjustment("branch/b2", 1, "c2"), adjustment("branch/b1", 2, "c3")); err != nil {
		t.Fatal(err)
	}
	own, err := r.ReadStream(t.Context(), "branch/b1", 0, 10)
	if err != nil || len(own) != 2 || own[1].CommandID != "c3" {
		t.Fatalf("read stream: got %v, %v", own, err)
	}
	if r.Head() != l.Head() {
		t.Fatalf("head is %v, want %v", r.Head(), l.Head())
	}
	if err := errors.Join(r.Check(l.Head()), r.Check(domain.Position{Epoch: l.Head().Epoch})); err != nil {
		t.Fatal(err)
	}
	ahead := l.Head()
	ahead.Seq++
	if err := r.Check(ahead); !errors.Is(err, domain.ErrUnknownPosition) {
		t.Fatalf("check: got %v, want %v", err, domain.ErrUnknownPosition)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx, 3, 10); !errors.Is(err, context.Canceled) {
		t.Fatalf("next: got %v, want %v", err, context.Canceled)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(t.Context(), 0, 10); !errors.Is(err, domain.ErrLogUnavailable) {
		t.Fatalf("read: got %v, want %v", err, domain.ErrLogUnavailable)
	}
}
