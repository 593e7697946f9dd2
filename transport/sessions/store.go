// Package sessions keeps, in a small SQLite file, what clients changed of their
// rooms, by session: so that a session that is recovered, also after a crash,
// is in the rooms it was in. Most sessions change nothing and have no row.
//
// # Concurrency properties
//
// All methods of [Store] are safe for concurrent use; SQLite serializes them.
package sessions

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

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
	// Keep is how long a session is remembered after its last change. Zero
	// means 30 days.
	Keep time.Duration
	// Max is how many sessions are remembered; the oldest are forgotten
	// beyond. Zero means 100,000.
	Max int
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Store is an [actors.SessionStore] on disk.
type Store struct {
	db  *sql.DB
	now func() time.Time
}

const schema = `
CREATE TABLE IF NOT EXISTS sessions (
	sid   TEXT    NOT NULL PRIMARY KEY,
	rooms TEXT    NOT NULL, -- JSON {"joined":{room:pos},"left":[room]}
	at    INTEGER NOT NULL  -- Unix milliseconds of the last change
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_at ON sessions (at);
`

// Open opens the store or makes it, and forgets what is too old or too much. A
// file that is damaged is an error that names it: it may be deleted, sessions
// then come back to their automatic rooms.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Keep == 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.Max == 0 {
		cfg.Max = DefaultMax
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	path := filepath.Join(cfg.Dir, FileName)
	pragmas := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	s := &Store{db: db, now: cfg.Now}
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{schema, nil},
		{"DELETE FROM sessions WHERE at < ?", []any{cfg.Now().Add(-cfg.Keep).UnixMilli()}},
		{"DELETE FROM sessions WHERE at <= (SELECT at FROM sessions ORDER BY at DESC LIMIT 1 OFFSET ?)", []any{cfg.Max}},
	} {
		if _, err := db.ExecContext(ctx, step.sql, step.args...); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
		}
	}
	return s, nil
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// stored is the form of a row's rooms.
type stored struct {
	Joined map[string]domain.Position `json:"joined,omitempty"`
	Left   []string                   `json:"left,omitempty"`
}

// Load implements [actors.SessionStore].
func (s *Store) Load(ctx context.Context, sid string) (actors.SessionRooms, error) {
	var text string
	err := s.db.QueryRowContext(ctx, "SELECT rooms FROM sessions WHERE sid = ?", sid).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return actors.SessionRooms{}, nil
	}
	if err != nil {
		return actors.SessionRooms{}, fmt.Errorf("read session %s: %w", sid, err)
	}
	var rooms stored
	if err := json.Unmarshal([]byte(text), &rooms); err != nil {
		return actors.SessionRooms{}, fmt.Errorf("read session %s: %w", sid, err)
	}
	return actors.SessionRooms(rooms), nil
}

// Save implements [actors.SessionStore]. What it saved is on disk.
func (s *Store) Save(ctx context.Context, sid string, rooms actors.SessionRooms) error {
	text, err := json.Marshal(stored(rooms))
	if err != nil {
		return fmt.Errorf("save session %s: %w", sid, err)
	}
	_, err = s.db.ExecContext(ctx,
		"INSERT INTO sessions (sid, rooms, at) VALUES (?, ?, ?) ON CONFLICT (sid) DO UPDATE SET rooms = excluded.rooms, at = excluded.at",
		sid, string(text), s.now().UnixMilli())
	if err != nil {
		return fmt.Errorf("save session %s: %w", sid, err)
	}
	return nil
}
