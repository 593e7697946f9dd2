package sessions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
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
	rooms, err := s.Load(context.Background(), sid, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return rooms
}

// forgotten reports whether a session that began then is one that may have been
// forgotten.
func forgotten(t *testing.T, s *Store, sid string, began time.Time) bool {
	t.Helper()
	rooms, err := s.Load(context.Background(), sid, began)
	if err != nil && !errors.Is(err, actors.ErrSessionForgotten) {
		t.Fatal(err)
	}
	if err == nil && len(rooms.Joined)+len(rooms.Left) > 0 {
		t.Fatalf("session %s has %v, want it unknown", sid, rooms)
	}
	return err != nil
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
	prune(t, s)
	for sid, known := range map[string]bool{"used": true, "unused": false, "new": true} {
		if got := len(load(t, s, sid).Left) > 0; got != known {
			t.Errorf("session %s: known %t, want %t", sid, got, known)
		}
	}
	for i := range 200 {
		now = now.Add(time.Millisecond)
		save(t, s, fmt.Sprint(i), left)
		if len(s.due) > 0 { // then Run does
			<-s.due
			prune(t, s)
		}
		var rows int
		if err := s.db.QueryRow("SELECT count(*) FROM sessions").Scan(&rows); err != nil || rows > 22 {
			t.Fatalf("%d sessions after %d more (%v), want 22 at most", rows, i+1, err)
		}
	}
}

// prune does what a running store does once an hour.
func prune(t *testing.T, s *Store) {
	t.Helper()
	if err := s.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A till that has left a room and then stays connected for longer than sessions
// are kept is in its rooms still when its line breaks.
func Test_a_session_in_use_is_not_forgotten_however_long_ago_it_was_saved(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	dir, inUse := t.TempDir(), []actors.SessionInUse{{SID: "till", Began: now, HasRooms: true}}
	cfg := Config{Dir: dir, Max: 10, Now: func() time.Time { return now }, InUse: func() []actors.SessionInUse { return inUse }}
	s := open(t, cfg)
	began, left := now, actors.SessionRooms{Left: []string{"branch:b1"}}
	save(t, s, "till", left)
	save(t, s, "gone", left)
	for day := range 31 {
		now = now.Add(24 * time.Hour)
		prune(t, s)
		for i := range 15 { // more than are kept
			save(t, s, fmt.Sprintf("%d-%d", day, i), left)
		}
	}
	// It is killed, and has been away for a while when the store is opened.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	inUse = nil
	now = now.Add(20 * 24 * time.Hour)
	s = open(t, cfg)
	if got := load(t, s, "till"); !reflect.DeepEqual(got, left) {
		t.Errorf("the till has %v, want %v", got, left)
	}
	if !forgotten(t, s, "gone", began) {
		t.Error("the session that has gone is taken for one without rooms, want it forgotten")
	}
}

// Who has changed nothing and stays connected has nothing kept of him, until what
// is forgotten of others comes near to when he began.
func Test_a_session_in_use_that_changed_nothing_is_recovered_however_old_it_is(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	left := actors.SessionRooms{Left: []string{"branch:b1"}}
	for name, max := range map[string]int{"others_too_old": 0, "others_too_many": 10} {
		t.Run(name, func(t *testing.T) {
			now := start
			inUse := []actors.SessionInUse{{SID: "quiet", Began: start.Add(-time.Hour)}}
			s := open(t, Config{Dir: t.TempDir(), Max: max, Now: func() time.Time { return now }, InUse: func() []actors.SessionInUse { return inUse }})
			s.whole = whole{} // it is older than a month
			save(t, s, "gone", left)
			for range 31 {
				now = now.Add(24 * time.Hour)
				for i := range max { // as many as are kept
					save(t, s, fmt.Sprint(i), left)
				}
				prune(t, s)
			}
			if !forgotten(t, s, "gone", start.Add(-time.Hour)) {
				t.Error("a session that has gone is known, want it forgotten")
			}
			if forgotten(t, s, "quiet", start.Add(-time.Hour)) {
				t.Error("the session in use is forgotten, want it without rooms")
			}
			inUse = nil
			now = now.Add(14 * 24 * time.Hour)
			prune(t, s)
			if forgotten(t, s, "quiet", start.Add(-time.Hour)) {
				t.Error("the session is forgotten two weeks later, want it without rooms")
			}
		})
	}
}

func Test_a_session_in_use_that_changed_nothing_has_no_row_before_it_is_old(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	inUse := []actors.SessionInUse{{SID: "quiet", Began: start}}
	s := open(t, Config{Dir: t.TempDir(), Keep: 24 * time.Hour, Now: func() time.Time { return now }, InUse: func() []actors.SessionInUse { return inUse }})
	for hour := range 24 {
		var rows int
		if err := s.db.QueryRow("SELECT count(*) FROM sessions").Scan(&rows); err != nil || rows != hour/13 {
			t.Fatalf("%d rows after %d hours (%v), want one after 13", rows, hour, err)
		}
		now = now.Add(time.Hour)
		prune(t, s)
	}
}

func Test_a_session_that_comes_back_in_half_the_time_that_is_kept_is_recovered(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	s := open(t, Config{Dir: t.TempDir(), Keep: 24 * time.Hour, Now: func() time.Time { return now }})
	for range 10 {
		save(t, s, fmt.Sprint(now), actors.SessionRooms{Left: []string{"branch:b1"}})
		now = now.Add(12 * time.Hour)
		prune(t, s)
		if forgotten(t, s, "quiet", start) {
			t.Fatalf("forgotten at %s, want it without rooms", now)
		}
	}
}

// The requests of clients don't wait until it has been noted who all is in use.
func Test_sessions_are_loaded_while_those_in_use_are_noted(t *testing.T) {
	inUse := make([]actors.SessionInUse, 3*notedAtOnce)
	for i := range inUse {
		inUse[i] = actors.SessionInUse{SID: fmt.Sprint(i)} // from the beginning of time
	}
	var s *Store
	asked := false
	s = open(t, Config{Dir: t.TempDir(), InUse: func() []actors.SessionInUse {
		if s != nil { // it is not held
			load(t, s, "7")
			asked = true
		}
		return inUse
	}})
	save(t, s, "7", actors.SessionRooms{Left: []string{"branch:b1"}})
	prune(t, s)
	var rows int
	if err := s.db.QueryRow("SELECT count(*) FROM sessions").Scan(&rows); err != nil || !asked || rows != len(inUse) {
		t.Errorf("%d sessions (%v), asked %t, want %d", rows, err, asked, len(inUse))
	}
	if got := load(t, s, "7"); len(got.Left) != 1 {
		t.Errorf("got %v, want what was saved", got)
	}
}

func Test_a_save_has_run_forget_and_does_not_wait_for_it(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir(), Max: 10, InUse: func() []actors.SessionInUse { return nil }})
	for i := range 12 {
		save(t, s, fmt.Sprint(i), actors.SessionRooms{Left: []string{"branch:b1"}})
	}
	var rows int
	if err := s.db.QueryRow("SELECT count(*) FROM sessions").Scan(&rows); err != nil || rows != 12 || len(s.due) != 1 {
		t.Errorf("%d sessions (%v), told %d times, want 12 and once", rows, err, len(s.due))
	}
}

// A node that starts before it has the time must not take what it has forgotten
// for what never was.
func Test_what_was_forgotten_stays_so_when_the_clock_is_behind_at_a_start(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	cfg := Config{Dir: t.TempDir(), Keep: 24 * time.Hour, Now: func() time.Time { return now }}
	s := open(t, cfg)
	now = now.Add(time.Hour)
	save(t, s, "gone", actors.SessionRooms{Left: []string{"branch:b1"}})
	now = now.Add(25 * time.Hour)
	prune(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now = start.Add(-time.Hour)
	s = open(t, cfg)
	now = now.Add(time.Minute)
	if forgotten(t, s, "new", now) {
		t.Error("a session that began since the start is forgotten, want it without rooms")
	}
	if !forgotten(t, s, "old", start.Add(-2*time.Hour)) {
		t.Error("a session from before the start is taken for one without rooms, want it forgotten")
	}
	now = start.Add(26 * time.Hour) // it has the time
	if !forgotten(t, s, "gone", start.Add(time.Hour)) {
		t.Error("a session from before is taken for one without rooms, want it forgotten")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s = open(t, cfg); !forgotten(t, s, "gone", start.Add(time.Hour)) {
		t.Error("after another start it is taken for one without rooms, want it forgotten")
	}
}

func Test_a_session_of_which_nothing_is_known_has_no_rooms_only_if_nothing_was_forgotten_since_it_began(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	dir := t.TempDir()
	cfg := Config{Dir: dir, Keep: 24 * time.Hour, Max: 10, Now: func() time.Time { return now }}
	s := open(t, cfg)
	left := actors.SessionRooms{Left: []string{"branch:b1"}}
	expect := func(when string, s *Store, whole time.Time) {
		t.Helper()
		if s.whole.forgotten(whole, now) || !s.whole.forgotten(whole.Add(-time.Millisecond), now) {
			t.Errorf("%s: want what began at %s whole, and what began before not", when, whole)
		}
	}
	expect("at first", s, start)
	now = now.Add(time.Hour)
	save(t, s, "old", left)
	now = now.Add(20 * time.Hour)
	save(t, s, "brief", left)
	save(t, s, "brief", actors.SessionRooms{}) // nothing to be forgotten any more
	now = now.Add(5 * time.Hour)
	prune(t, s)
	expect("when an old one is forgotten", s, start.Add(time.Hour+time.Millisecond))
	now = now.Add(100 * time.Hour)
	prune(t, s)
	expect("when there is none", s, start.Add(time.Hour+time.Millisecond))
	for i := range 11 { // one too many
		now = now.Add(time.Minute)
		save(t, s, fmt.Sprint(i), left)
	}
	prune(t, s)
	expect("when one of too many is forgotten", s, now.Add(-10*time.Minute+time.Millisecond))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expect("after reopening", open(t, cfg), now.Add(-10*time.Minute+time.Millisecond))
}

func Test_a_running_store_is_pruned_once_an_hour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Dir: t.TempDir(), Keep: 24 * time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		began := time.Now()
		save(t, s, "gone", actors.SessionRooms{Left: []string{"branch:b1"}})
		time.Sleep(26 * time.Hour)
		synctest.Wait()
		if !forgotten(t, s, "gone", began) {
			t.Error("known after 26 hours, want it forgotten after 25")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
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
			began := time.Now()
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
			if !forgotten(t, s, "7", began) {
				t.Error("a session of before is taken for one without rooms, want it forgotten")
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
