package eventlog

import (
	"database/sql/driver"
	"errors"
	"fmt"
)

const (
	fileName      = "log.db"
	applicationID = 0x424d5331 // "BMS1"
	schemaVersion = 1
)

// schema is the whole of log.db. The commits have no index but their sequence:
// see index.
const schema = `
CREATE TABLE commits (
	seq          INTEGER PRIMARY KEY, -- 1, 2, 3 … without a gap
	stream       TEXT    NOT NULL,    -- 'branch/b1'
	version      INTEGER NOT NULL,    -- 1, 2, 3 … within the stream
	user_id      TEXT    NOT NULL,    -- '' for the system
	command_id   TEXT    NOT NULL,    -- '' for none
	command_type TEXT    NOT NULL,
	at           INTEGER NOT NULL,    -- Unix milliseconds
	fingerprint  TEXT    NOT NULL,
	metadata     TEXT,                -- JSON object of strings
	result       TEXT,                -- JSON
	events       TEXT,                -- JSON array of {id,type,v,branchId?,data}
	message      BLOB,                -- payload of a Watermill message, which has no events
	checksum     INTEGER NOT NULL     -- CRC-32C of all the above
);
CREATE TABLE epochs (
	epoch    INTEGER PRIMARY KEY, -- Unix milliseconds, rising
	start    INTEGER NOT NULL,    -- the first sequence written in it
	checksum INTEGER NOT NULL     -- CRC-32C of the above
);
CREATE TABLE offsets (
	consumer TEXT    NOT NULL, -- consumer group
	topic    TEXT    NOT NULL, -- stream, or '*' for all
	seq      INTEGER NOT NULL, -- acknowledged up to here
	PRIMARY KEY (consumer, topic)
) WITHOUT ROWID;
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) WITHOUT ROWID;
`

// prepareSchema makes the tables of a new file and refuses a foreign one.
func prepareSchema(c *conn) error {
	id, err := pragmaInt(c, "application_id")
	if err != nil {
		return err
	}
	version, err := pragmaInt(c, "user_version")
	if err != nil {
		return err
	}
	row, err := c.queryOne("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return err
	}
	switch {
	case id == applicationID && version == schemaVersion:
		return nil
	case id == applicationID:
		return fmt.Errorf("the log has format %d, this program knows %d: use a newer program", version, schemaVersion)
	case id != 0 || version != 0 || row[0] != driver.Value(int64(0)):
		return fmt.Errorf("the file is some other SQLite database (application id %#x), not a log", id)
	}
	return c.exec(fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", schema, applicationID, schemaVersion))
}

func pragmaInt(c *conn, name string) (int64, error) {
	row, err := c.queryOne("PRAGMA " + name)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	n, _ := row[0].(int64)
	return n, nil
}

// mark leaves the mark of a log in use, with its durability, and copies it into
// the database, where markedAs finds it.
func (w *writer) mark() error {
	if err := w.conn.exec(w.marking()); err != nil {
		return err
	}
	frames, copied, err := walCheckpoint(w.conn, "main")
	if err == nil && copied < frames {
		w.log.config.Logger.Warn("the start of the write-ahead log was not copied: some other program keeps a read of the log open", "pages", frames, "copied", copied)
	}
	return err
}

func (w *writer) marking() string {
	return "INSERT OR REPLACE INTO meta (key, value) VALUES ('open', '" + w.log.config.Durability + "')"
}

// markedAs is the durability that a log was in use with when it was left, or ""
// after a clean stop. It reads the database alone, so that SQLite does not
// recover, and thereby change, what is beside it. It is "", too, if it can't be
// read.
func markedAs(file string) string {
	c, err := openConn(file, immutable)
	if err != nil {
		return ""
	}
	row, err := c.queryOne("SELECT value FROM meta WHERE key = 'open'")
	if err = errors.Join(err, c.close()); err != nil || row == nil {
		return ""
	}
	mark, _ := row[0].(string)
	return mark
}
