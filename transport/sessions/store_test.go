package sessions

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
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

func Test_a_running_store_forgets_too(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := open(t, Config{Dir: t.TempDir(), Keep: 24 * time.Hour, Max: 20, Now: func() time.Time { return now }})
	left := actors.SessionRooms{Left: []string{"branch:b1"}}
	save(t, s, "used", left)
	save(t, s, "unused", left)
	for range 23 {
		now = now.Add(time.Hour)
		load(t, s, "used")
	}
	now = now.Add(2 * time.Hour)
	save(t, s, "new", left)
	for sid, known := range map[string]bool{"used": true, "unused": false, "new": true} {
		if got := len(load(t, s, sid).Left) > 0; got != known {
			t.Errorf("session %s: known %t, want %t", sid, got, known)
		}
	}
	for i := range 200 {
		now = now.Add(time.Millisecond)
		save(t, s, fmt.Sprint(i), left)
		var rows int
		if err := s.db.QueryRow("SELECT count(*) FROM sessions").Scan(&rows); err != nil || rows > 22 {
			t.Fatalf("%d sessions after %d more (%v), want 22 at most", rows, i+1, err)
		}
	}
}

func Test_a_damaged_file_is_set_aside(t *testing.T) {
	for name, damage := range map[string]func(whole []byte) []byte{
		"no_database":  func([]byte) []byte { return []byte(strings.Repeat("not SQLite ", 1000)) },
		"a_page_wrong": func(whole []byte) []byte { copy(whole[4096:], bytes.Repeat([]byte{0xff}, 4096)); return whole },
		"cut_short":    func(whole []byte) []byte { return whole[:len(whole)-4096-100] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, FileName)
			rooms := actors.SessionRooms{Left: []string{"branch:b1"}}
			s := open(t, Config{Dir: dir})
			for i := range 500 {
				save(t, s, fmt.Sprint(i), rooms)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			var told bytes.Buffer
			s = open(t, Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&told, nil))})
			if got := load(t, s, "7"); !reflect.DeepEqual(got, actors.SessionRooms{}) {
				t.Errorf("got %v of a damaged file, want nothing", got)
			}
			save(t, s, "7", rooms)
			if got := load(t, s, "7"); !reflect.DeepEqual(got, rooms) {
				t.Errorf("got %v, want what was saved since", got)
			}
			if _, err := os.Stat(path + ".damaged"); err != nil || !strings.Contains(told.String(), path) {
				t.Errorf("set aside: %v, told %q, want the file and its name", err, told.String())
			}
		})
	}
}

func Test_a_file_that_is_damaged_while_in_use_is_set_aside(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	rooms := actors.SessionRooms{Left: []string{"branch:b1"}}
	for i := range 500 {
		save(t, s, fmt.Sprint(i), rooms)
	}
	if _, err := s.db.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, FileName), bytes.Repeat([]byte{0xff}, len(whole)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec("PRAGMA shrink_memory"); err != nil { // what it has of the file
		t.Fatal(err)
	}
	for i := range 500 {
		save(t, s, fmt.Sprint(i), rooms)
		if got := load(t, s, fmt.Sprint(i)); !reflect.DeepEqual(got, rooms) {
			t.Fatalf("got %v, want what was saved", got)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, FileName+".damaged")); err != nil {
		t.Error(err)
	}
}

func Test_a_folder_that_takes_no_file_is_named(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if _, err := Open(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v, want an error that names %s", err, dir)
	}
	for field, cfg := range map[string]Config{"Keep": {Keep: -1}, "Max": {Max: -1}} {
		if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Fatalf("got %v, want an error that names %s", err, field)
		}
	}
}
