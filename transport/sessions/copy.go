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

// Row is a session as a backup has it.
type Row struct {
	SID string `json:"sid"`
	// Rooms are what its client changed of them.
	Rooms json.RawMessage `json:"rooms"`
	// At is the time of the last change, in Unix milliseconds.
	At int64 `json:"at"`
}

// Export reads the sessions in a folder, those changed last first, until they
// have maxBytes. A node may be using the store. A folder without one has none.
func Export(ctx context.Context, dir string, maxBytes int) (rows []Row, err error) {
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
	found, err := db.QueryContext(ctx, "SELECT sid, rooms, at FROM sessions ORDER BY at DESC")
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
			return rows, nil
		}
		row.Rooms = json.RawMessage(rooms)
		rows = append(rows, row)
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return rows, nil
}

// Import puts sessions into the store of a folder, which no node is using.
func Import(ctx context.Context, dir string, rows []Row) (err error) {
	s, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("import sessions: %w", err)
	}
	for _, row := range rows {
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO sessions (sid, rooms, at) VALUES (?, ?, ?)", row.SID, string(row.Rooms), row.At); err != nil {
			return errors.Join(fmt.Errorf("import session %s: %w", row.SID, err), tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("import sessions: %w", err)
	}
	return nil
}
