// Package sessions keeps, in a small SQLite file, what clients changed of their
// rooms, by session: so that a session that is recovered, also after a crash,
// is in the rooms it was in. Most sessions change nothing and have no row.
//
// It is a convenience, not the truth: a power cut may cost the last changes, a
// file that is damaged is set aside and begun anew, and what has long been unused
// is forgotten. The store knows from when on it has forgotten nothing, and a
// session that is older and of which it knows nothing is not recovered. So that
// this is not one in use that changed nothing, such a session gets a row, too,
// before that time comes near to when it began.
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

// Config says where a Store is and how long it remembers.
type Config struct {
	// Dir is the folder, which exists.
	Dir string
	// Keep is how long a session is remembered after it was used last, half of
	// it at least where the client changed nothing. Zero means 30 days.
	Keep time.Duration
	// Max is how many sessions are remembered, but for those in use, and for a
	// tenth more for a while; beyond, those that were not used for the longest
	// time are forgotten. Zero means 100,000.
	Max int
	// InUse lists the sessions that are connected, which are not forgotten.
	// Nil means none.
	InUse func() []actors.SessionInUse
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
		c.InUse = func() []actors.SessionInUse { return nil }
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
	saves  int // since Run was told to forget
	whole  whole
	// early is the time, in Unix milliseconds, before which a session began
	// that has a row also if it changed nothing.
	early int64

	due chan struct{} // holds a token when Run is to forget
}

// Open opens the store or makes it, and forgets what is too old or too many. A
// file that is damaged is set aside, and the log says so. The error is that of
// a folder in which none can be made, or names a field of the Config.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.defaults()
	s := &Store{cfg: cfg, path: filepath.Join(cfg.Dir, FileName), due: make(chan struct{}, 1)}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	if err := s.prune(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", s.path, errors.Join(err, s.Close()))
	}
	return s, nil
}

// open opens the file, or another one in its place.
func (s *Store) open(ctx context.Context) (err error) {
	now := s.cfg.Now()
	if s.db, s.whole, err = openFile(ctx, s.path, now); err != nil && damaged(err) {
		s.cfg.Logger.Error("sessions are forgotten: their file is damaged and set aside", "file", s.path, "error", err)
		if err = setAside(s.path); err == nil {
			s.db, s.whole, err = openFile(ctx, s.path, now)
		}
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", s.path, err)
	}
	s.early = max(s.early, s.whole.since)
	return nil
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
	s.signal() // it knows nothing of what is in use
	return f(s.db)
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
		now := s.cfg.Now()
		var text string
		err := db.QueryRowContext(ctx, "UPDATE sessions SET at = ? WHERE sid = ? RETURNING rooms", now.UnixMilli(), sid).Scan(&text)
		if err == nil {
			return json.Unmarshal([]byte(text), &rooms)
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if s.whole.forgotten(began, now) {
			return actors.ErrSessionForgotten
		}
		if began.UnixMilli() < s.early {
			_, err = db.ExecContext(ctx, insertQuiet, sid, now.UnixMilli())
			return err
		}
		return nil
	})
	if err != nil {
		return actors.SessionRooms{}, fmt.Errorf("read session %s: %w", sid, err)
	}
	return actors.SessionRooms(rooms), nil
}

// Save implements [actors.SessionStore]. What it saved outlives the process.
func (s *Store) Save(ctx context.Context, sid string, rooms actors.SessionRooms) error {
	text, err := json.Marshal(stored(rooms))
	if err != nil {
		return fmt.Errorf("save session %s: %w", sid, err)
	}
	err = s.use(ctx, func(db *sql.DB) error {
		now := s.cfg.Now().UnixMilli()
		if len(rooms.Joined)+len(rooms.Left) == 0 { // as if it had never been anything else
			_, err := db.ExecContext(ctx, "UPDATE sessions SET rooms = ?, at = ? WHERE sid = ?", noRooms, now, sid)
			return err
		}
		if _, err := db.ExecContext(ctx,
			"INSERT INTO sessions (sid, rooms, at) VALUES (?, ?, ?) ON CONFLICT (sid) DO UPDATE SET rooms = excluded.rooms, at = excluded.at",
			sid, string(text), now); err != nil {
			return err
		}
		if s.saves++; s.saves > s.cfg.Max/10 {
			s.signal()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save session %s: %w", sid, err)
	}
	return nil
}
