package sessions

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"

	"modernc.org/sqlite" // and the driver of that name
	sqlite3 "modernc.org/sqlite/lib"
)

const schema = `
CREATE TABLE IF NOT EXISTS sessions (
	sid   TEXT    NOT NULL PRIMARY KEY,
	rooms TEXT    NOT NULL, -- JSON {"joined":{room:pos},"left":[room]}
	at    INTEGER NOT NULL  -- Unix milliseconds of the last use
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_at ON sessions (at);
CREATE TABLE IF NOT EXISTS whole (
	one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
	since INTEGER NOT NULL -- Unix milliseconds: nothing is forgotten of a session that began then or later
);
`

// errDamaged is returned for a file that SQLite reads but finds wrong.
var errDamaged = errors.New("the file is damaged")

// openFile opens a file and looks at all of it. One that is made knows nothing of
// what was before now.
func openFile(ctx context.Context, path string, now time.Time) (_ *sql.DB, w whole, err error) {
	// NORMAL: a crash of the process loses nothing, a power cut the last
	// changes, and no client waits for the disk.
	pragmas := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode())
	if err != nil {
		return nil, w, err
	}
	db.SetMaxOpenConns(1)
	var found string
	if _, err = db.ExecContext(ctx, schema); err == nil {
		err = db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found)
	}
	if err == nil && found != "ok" {
		err = fmt.Errorf("%w: %s", errDamaged, found)
	}
	if err == nil {
		_, err = db.ExecContext(ctx, "INSERT INTO whole VALUES (1, ?) ON CONFLICT DO NOTHING", now.UnixMilli())
	}
	if err == nil {
		err = db.QueryRowContext(ctx, "SELECT since FROM whole").Scan(&w.stored)
	}
	if err != nil {
		return nil, w, errors.Join(err, db.Close())
	}
	w.since = min(w.stored, now.UnixMilli())
	return db, w, nil
}

// damaged reports whether an error is about what is in the file, rather than
// about the disk or the folder.
func damaged(err error) bool {
	if errors.Is(err, errDamaged) {
		return true
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	code := e.Code() & 0xff
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// setAside renames a file, and what SQLite has beside it, in the place of what
// was set aside before.
func setAside(path string) error {
	for _, beside := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+beside, path+".damaged"+beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set %s aside: %w", path+beside, err)
		}
	}
	return nil
}
