package sessions

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// Copy is a store's content as a backup has it.
type Copy struct {
	Rows []Row `json:"rows,omitempty"`
	// Since is the time, in Unix milliseconds, from when on nothing of sessions
	// that began then or later is missing.
	Since int64 `json:"since"`
}

// Row is a session as a backup has it.
type Row struct {
	SID string `json:"sid"`
	// Rooms are what its client changed of them.
	Rooms json.RawMessage `json:"rooms"`
	// At is the time of the last use, in Unix milliseconds.
	At int64 `json:"at"`
}

// Export reads the store in a folder: sessions until they have maxBytes, those
// used last first. A node may be using the store. The copy of a folder without
// one is nil.
func Export(ctx context.Context, dir string, maxBytes int) (c *Copy, err error) {
	path := filepath.Join(dir, FileName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	file := (&url.URL{Path: path}).EscapedPath()
	db, err := sql.Open("sqlite", "file:"+file+"?mode=rw&_pragma=busy_timeout(5000)&_pragma=query_only(1)")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil) // both are of one moment
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	c = &Copy{}
	if err := tx.QueryRowContext(ctx, "SELECT since FROM whole").Scan(&c.Since); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	found, err := tx.QueryContext(ctx, "SELECT sid, rooms, at FROM sessions ORDER BY at DESC")
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	for found.Next() {
		var row Row
		var rooms string
		if err := found.Scan(&row.SID, &rooms, &row.At); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if maxBytes -= len(row.SID) + len(rooms) + 48; maxBytes < 0 { // as JSON, about
			c.Since = max(c.Since, row.At+1)
			return c, nil
		}
		row.Rooms = json.RawMessage(rooms)
		c.Rows = append(c.Rows, row)
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return c, nil
}

// Import makes the store of a folder, which no node is using, of a copy.
func Import(ctx context.Context, dir string, c *Copy) (err error) {
	s, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("import sessions: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE whole SET since = ?", c.Since); err != nil {
		return errors.Join(fmt.Errorf("import sessions: %w", err), tx.Rollback())
	}
	for _, row := range c.Rows {
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO sessions (sid, rooms, at) VALUES (?, ?, ?)", row.SID, string(row.Rooms), row.At); err != nil {
			return errors.Join(fmt.Errorf("import session %s: %w", row.SID, err), tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("import sessions: %w", err)
	}
	return nil
}
