// Package sessions keeps, in a small SQLite file, what clients changed of their
// rooms, by session: so that a session that is recovered, also after a crash,
// is in the rooms it was in. Most sessions change nothing and have no row.
//
// It is a convenience, not the truth: a power cut may cost the last changes, a
// file that is damaged is set aside and begun anew, and what has long been unused
// is forgotten. The store knows from when on it has forgotten nothing, and a
// session that is older and of which it knows nothing is not recovered.
//
// # Concurrency properties
//
// All methods of [Store] are safe for concurrent use; one is at work at a time.
package sessions

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"bms/actors"
	"bms/domain"
)

// FileName is the store's file in its folder.
const FileName = "sessions.db"

// Defaults of Config.
const (
	DefaultKeep = 30 * 24 * time.Hour
	DefaultMax  = 100_000
)

// pruneEvery is the time after which a running store notes what is in use and
// forgets what is too old.
const pruneEvery = time.Hour

// Config says where a Store is and how long it remembers.
type Config struct {
	// Dir is the folder, which exists.
	Dir string
	// Keep is how long a session is remembered after it was used last. Zero
	// means 30 days.
	Keep time.Duration
	// Max is how many sessions are remembered, but for a tenth more for a
	// while; beyond, those that were not used for the longest time are
	// forgotten. Zero means 100,000.
	Max int
	// InUse lists the sessions that are connected, which are not forgotten. It
	// is called while the store is in use. Nil means none.
	InUse func() []string
	// Logger is told of damage. Nil means none.
	Logger *slog.Logger
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

func (c *Config) check() error {
	if c.Keep < 0 {
		return fmt.Errorf("sessions: Keep is %s", c.Keep)
	}
	if c.Max < 0 {
		return fmt.Errorf("sessions: Max is %d", c.Max)
	}
	return nil
}

func (c *Config) defaults() {
	if c.Keep == 0 {
		c.Keep = DefaultKeep
	}
	if c.Max == 0 {
		c.Max = DefaultMax
	}
	if c.InUse == nil {
		c.InUse = func() []string { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

var errClosed = errors.New("the store is closed")

// Store is an [actors.SessionStore] on disk.
type Store struct {
	cfg  Config
	path string

	mu     sync.Mutex // guards what follows, and is held while the file is used
	db     *sql.DB    // nil when no other file could be made for a damaged one
	closed bool
	saves  int // since it forgot last
}

// Open opens the store or makes it, and forgets what is too old or too many. A
// file that is damaged is set aside, and the log says so. The error is that of
// a folder in which none can be made, or names a field of the Config.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.defaults()
	s := &Store{cfg: cfg, path: filepath.Join(cfg.Dir, FileName)}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// open opens the file, or another one in its place.
func (s *Store) open(ctx context.Context) (err error) {
	if s.db, err = openFile(ctx, s.path, s.cfg.Now()); err != nil && damaged(err) {
		s.cfg.Logger.Error("sessions are forgotten: their file is damaged and set aside", "file", s.path, "error", err)
		if err = setAside(s.path); err == nil {
			s.db, err = openFile(ctx, s.path, s.cfg.Now())
		}
	}
	if err == nil {
		err = s.prune(ctx)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", s.path, errors.Join(err, s.close()))
	}
	return nil
}

// Run notes once an hour which sessions are in use, and forgets those that are
// too old or too many, until the context ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := s.use(ctx, func(*sql.DB) error { return s.prune(ctx) }); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Error("old sessions are not forgotten", "file", s.path, "error", err)
		}
	}
}

// Close closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.close()
}

func (s *Store) close() error {
	db := s.db
	if s.db = nil; db == nil {
		return nil
	}
	return db.Close()
}

// use has the file used, and the next one if it turns out to be damaged.
func (s *Store) use(ctx context.Context, f func(*sql.DB) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if s.db != nil {
		err := f(s.db)
		if err == nil || !damaged(err) {
			return err
		}
		if err := s.close(); err != nil {
			s.cfg.Logger.Error("close a damaged file", "file", s.path, "error", err)
		}
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	return f(s.db)
}

// prune notes which sessions are in use, and forgets those that were not for too
// long, and of too many those that were not for the longest time.
func (s *Store) prune(ctx context.Context) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("forget sessions: %w", err)
	}
	if err = s.pruneIn(ctx, tx); err != nil {
		return fmt.Errorf("forget sessions: %w", errors.Join(err, tx.Rollback()))
	}
	if err = tx.Commit(); err != nil {
		return fmt.Errorf("forget sessions: %w", err)
	}
	s.saves = 0
	return nil
}

func (s *Store) pruneIn(ctx context.Context, tx *sql.Tx) error {
	now := s.cfg.Now()
	for _, sid := range s.cfg.InUse() {
		if _, err := tx.ExecContext(ctx, "UPDATE sessions SET at = ? WHERE sid = ?", now.UnixMilli(), sid); err != nil {
			return fmt.Errorf("note that %s is in use: %w", sid, err)
		}
	}
	for _, old := range []struct {
		which string
		bound int64
	}{
		{"at < ?", now.Add(-s.cfg.Keep).UnixMilli()},
		{"sid IN (SELECT sid FROM sessions ORDER BY at DESC LIMIT -1 OFFSET ?)", int64(s.cfg.Max)},
	} {
		// What is forgotten is of sessions that began at its time at the latest.
		if _, err := tx.ExecContext(ctx, "UPDATE whole SET since = max(since, (SELECT ifnull(max(at), 0) + 1 FROM sessions WHERE "+old.which+"))", old.bound); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE "+old.which, old.bound); err != nil {
			return err
		}
	}
	return nil
}

// stored is the form of a row's rooms.
type stored struct {
	Joined map[string]domain.Position `json:"joined,omitempty"`
	Left   []string                   `json:"left,omitempty"`
}

// Load implements [actors.SessionStore]. The session counts as used.
func (s *Store) Load(ctx context.Context, sid string, began time.Time) (actors.SessionRooms, error) {
	var rooms stored
	err := s.use(ctx, func(db *sql.DB) error {
		var text string
		err := db.QueryRowContext(ctx, "UPDATE sessions SET at = ? WHERE sid = ? RETURNING rooms", s.cfg.Now().UnixMilli(), sid).Scan(&text)
		if errors.Is(err, sql.ErrNoRows) {
			return isWhole(ctx, db, began)
		}
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(text), &rooms)
	})
	if err != nil {
		return actors.SessionRooms{}, fmt.Errorf("read session %s: %w", sid, err)
	}
	return actors.SessionRooms(rooms), nil
}

// isWhole returns actors.ErrSessionForgotten if anything of a session that began
// then may have been forgotten.
func isWhole(ctx context.Context, db *sql.DB, began time.Time) error {
	var since int64
	if err := db.QueryRowContext(ctx, "SELECT since FROM whole").Scan(&since); err != nil {
		return err
	}
	if began.UnixMilli() < since {
		return actors.ErrSessionForgotten
	}
	return nil
}

// Save implements [actors.SessionStore]. What it saved outlives the process.
func (s *Store) Save(ctx context.Context, sid string, rooms actors.SessionRooms) error {
	text, err := json.Marshal(stored(rooms))
	if err != nil {
		return fmt.Errorf("save session %s: %w", sid, err)
	}
	err = s.use(ctx, func(db *sql.DB) error {
		if len(rooms.Joined)+len(rooms.Left) == 0 { // as if it had never been anything else
			_, err := db.ExecContext(ctx, "DELETE FROM sessions WHERE sid = ?", sid)
			return err
		}
		if _, err := db.ExecContext(ctx,
			"INSERT INTO sessions (sid, rooms, at) VALUES (?, ?, ?) ON CONFLICT (sid) DO UPDATE SET rooms = excluded.rooms, at = excluded.at",
			sid, string(text), s.cfg.Now().UnixMilli()); err != nil {
			return err
		}
		if s.saves++; s.saves > s.cfg.Max/10 {
			return s.prune(ctx)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save session %s: %w", sid, err)
	}
	return nil
}
