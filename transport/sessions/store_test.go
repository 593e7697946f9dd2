package sessions

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"bms/actors"
	"bms/domain"
)

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func load(t *testing.T, s *Store, sid string) actors.SessionRooms {
	t.Helper()
	rooms, err := s.Load(context.Background(), sid)
	if err != nil {
		t.Fatal(err)
	}
	return rooms
}

func save(t *testing.T, s *Store, sid string, rooms actors.SessionRooms) {
	t.Helper()
	if err := s.Save(context.Background(), sid, rooms); err != nil {
		t.Fatal(err)
	}
}

func Test_what_was_saved_is_there_after_reopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	if got := load(t, s, "s1"); !reflect.DeepEqual(got, actors.SessionRooms{}) {
		t.Fatalf("unknown session: got %v, want nothing", got)
	}
	want := actors.SessionRooms{Joined: map[string]domain.Position{"user-role:staff": {Epoch: 7, Seq: 9, Index: 1}}, Left: []string{"branch:b1", "branch:b2"}}
	save(t, s, "s1", actors.SessionRooms{Left: []string{"branch:b9"}})
	save(t, s, "s1", want)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := load(t, open(t, Config{Dir: dir}), "s1"); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func Test_old_and_supernumerary_sessions_are_forgotten_at_opening(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cfg := Config{Dir: dir, Keep: time.Hour, Max: 3, Now: func() time.Time { return now }}
	s := open(t, cfg)
	left := actors.SessionRooms{Left: []string{"branch:b1"}}
	for i := range 6 {
		save(t, s, fmt.Sprint(i), left)
		now = now.Add(20 * time.Minute)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(-20 * time.Minute) // 0 is 100 minutes old, 5 is new
	s = open(t, cfg)
	for i, known := range []bool{false, false, false, true, true, true} {
		if got := len(load(t, s, fmt.Sprint(i)).Left) > 0; got != known {
			t.Errorf("session %d: known %t, want %t", i, got, known)
		}
	}
}

func Test_a_damaged_file_is_named(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	if err := os.WriteFile(path, []byte(strings.Repeat("not SQLite ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("got %v, want an error that names %s", err, path)
	}
}
