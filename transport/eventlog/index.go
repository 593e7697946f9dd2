package eventlog

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"bms/domain"
)

const indexName = "index.db"

// indexSchema is the whole of index.db: what the log can be looked up by. It
// holds nothing that is not in log.db.
const indexSchema = `
CREATE TABLE streams (
	stream  TEXT    NOT NULL,
	version INTEGER NOT NULL,
	seq     INTEGER NOT NULL,
	PRIMARY KEY (stream, version)
) WITHOUT ROWID;
CREATE TABLE commands (
	id  BLOB    NOT NULL PRIMARY KEY, -- see commandKey
	seq INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE covered (      -- one row: how far the index reaches
	seq      INTEGER NOT NULL,
	checksum INTEGER NOT NULL -- of the commit seq, to know the log again
);
INSERT INTO covered VALUES (0, 0);
`

// index maps streams and commands to sequences, uniquely: it is the fence
// behind the writer's own check of versions, and the only one for command ids.
//
// It lies in a file of its own because of what a commit costs. An index entry
// lands on a page of its own more often than not, and the write-ahead log takes
// whole pages: with 64 writers on 64 branches and random command ids, one file
// took 2.5 pages and 34 µs of CPU a commit, two take 0.25 pages and 14 µs. As the
// index can always be made again from the log, its transactions need not be
// those of the log: entries go in (and conflicts come out) with each append, in
// memory, and reach the file many at a time. What is not in the file yet is in
// tail, for readers; after a crash Open reads it from the log.
//
// The writer owns it, except for tail.
type index struct {
	conn                           *conn
	addStream, addCommand, version *stmt
	dropStream, dropCommand        *stmt
	pending                        int // commits in the open transaction
	commits                        int // transactions so far
	tail                           *tail
	gate                           sync.Locker // keeps readers out
	batch                          int         // commits that one transaction takes together
	hook                           func(step string)
	logger                         *slog.Logger
}

// restartEvery is the number of transactions after which the write-ahead log of
// the index starts over.
const restartEvery = 8

// commandKey is the key of a command: the first half of the SHA-256 of the user's
// length, user and command id. 128 bits don't collide, not even on purpose.
func commandKey(userID, commandID string) [16]byte {
	buf := binary.AppendUvarint(make([]byte, 0, 128), uint64(len(userID)))
	buf = append(buf, userID...)
	buf = append(buf, commandID...)
	sum := sha256.Sum256(buf)
	return [16]byte(sum[:16])
}

// unreadIndex is an index that nobody reads yet.
func unreadIndex(batch int, logger *slog.Logger) *index {
	return &index{tail: &tail{}, gate: &sync.Mutex{}, batch: batch, hook: func(string) {}, logger: logger}
}

// make makes the index file of a log, and closes it.
func (x *index) make(file string, log *conn) error {
	if err := removeDatabase(file); err != nil {
		return err
	}
	if err := x.bringUp(file, log, false, false); err != nil {
		return err
	}
	return errors.Join(x.flushAt(1), x.close())
}

// bringUp opens the index file of a log, making it if it is not there, and
// brings it up to the log's end. A useless one is made anew if remake is set,
// which it must not be while readers have it open, and else is an error that
// uselessIndex tells.
//
// A foreign one says that log.db has lost its end, or was replaced: the index
// never runs ahead of what is on disk. That is domain.ErrCorrupt, except after
// an unclean stop with relaxed durability (lossy).
func (x *index) bringUp(file string, log *conn, remake, lossy bool) error {
	var err error
	if remake { // before SQLite has recovered it
		err = inspected(file)
	}
	if err == nil {
		err = x.open(file, log, lossy)
	}
	if remake && uselessIndex(err) {
		x.logger.Warn("the log's index is made anew", "error", err)
		if err = errors.Join(x.close(), removeDatabase(file)); err == nil {
			err = x.open(file, log, lossy)
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("index %s: %w", file, err), x.close())
	}
	return nil
}

// inspected looks for what SQLite does not notice: an index whose write-ahead
// log would be dropped when some of it is in the database already.
func inspected(file string) error {
	wal, err := inspectWAL(file)
	if err == nil && wal.mixed() {
		return fmt.Errorf("%w: its write-ahead log is damaged", errUseless)
	}
	return err
}

// open opens the file, making it if it is not there, and brings it up to the
// log's end.
func (x *index) open(file string, log *conn, lossy bool) error {
	if err := x.openFile(file); err != nil {
		return err
	}
	if err := x.belongs(log, lossy); err != nil {
		return err
	}
	return x.catchUp(log)
}

func (x *index) openFile(file string) (err error) {
	// The page cache holds what is not committed; synchronous=NORMAL keeps
	// the file sound at any crash, and is all that is needed here.
	x.conn, err = openSummed(file, "rwc", "busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)", "wal_autocheckpoint(0)", "cache_size(-65536)", "temp_store(MEMORY)")
	if err != nil {
		return err
	}
	version, err := pragmaInt(x.conn, "user_version")
	if err != nil {
		return err
	}
	switch version {
	case schemaVersion:
	case 0:
		if err := x.conn.exec(fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", indexSchema, applicationID, schemaVersion)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: it has format %d, this program knows %d", errUseless, version, schemaVersion)
	}
	for _, p := range []struct {
		stmt **stmt
		sql  string
	}{
		{&x.addStream, "INSERT OR IGNORE INTO streams (stream, version, seq) VALUES (?, ?, ?)"},
		{&x.addCommand, "INSERT OR IGNORE INTO commands (id, seq) VALUES (?, ?)"},
		{&x.dropStream, "DELETE FROM streams WHERE stream = ? AND version = ?"},
		{&x.dropCommand, "DELETE FROM commands WHERE id = ?"},
		{&x.version, "SELECT max(version) FROM streams WHERE stream = ?"},
	} {
		if *p.stmt, err = x.conn.prepare(p.sql); err != nil {
			return err
		}
	}
	return nil
}

// belongs returns nil if the log has the last commit that the index covers.
func (x *index) belongs(log *conn, lossy bool) error {
	covered, checksum, err := coveredBy(x.conn)
	if err != nil || covered == 0 {
		return err
	}
	row, err := log.queryOne("SELECT checksum FROM commits WHERE seq = ?", covered)
	switch {
	case err != nil:
		return err
	case row != nil && row[0] == driver.Value(checksum):
		return nil
	case lossy:
		return fmt.Errorf("%w: it reaches beyond what is left of that", errUseless)
	}
	return fmt.Errorf("%w: log.db is not the log that this index is of, or has lost its end; if it was replaced on purpose, remove index.db", domain.ErrCorrupt)
}

// coveredBy is how far an index reaches, and the checksum of the commit there.
func coveredBy(index *conn) (seq, checksum int64, err error) {
	row, err := index.queryOne("SELECT seq, checksum FROM covered")
	if err != nil || row == nil {
		return 0, 0, err
	}
	seq, _ = row[0].(int64)
	checksum, _ = row[1].(int64)
	return seq, checksum, nil
}

// catchUp indexes what the log has beyond the index, and begins the
// transaction of what comes next.
func (x *index) catchUp(log *conn) error {
	covered, _, err := coveredBy(x.conn)
	if err != nil {
		return err
	}
	if err := x.conn.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	s, err := log.once("SELECT seq, stream, version, user_id, command_id, checksum FROM commits WHERE seq > ? ORDER BY seq")
	if err != nil {
		return err
	}
	var entries []indexEntry // not in the file yet
	batches := 0
	err = s.each(func(row []driver.Value) (bool, error) {
		e := entryOf(row)
		fresh, err := x.add(&e)
		switch {
		case err == nil && !fresh && covered > 0: // or in the log twice, which shows when it is made anew
			err = fmt.Errorf("%w: it has the version or the command of commit %d, which is beyond it", errUseless, e.seq)
		case err == nil && !fresh:
			err = fmt.Errorf("%w: commit %d: its version or its command is in the log twice", domain.ErrCorrupt, e.seq)
		}
		if err != nil {
			return false, err
		}
		if entries = append(entries, e); len(entries) == x.batch {
			if batches++; batches == 2 {
				x.logger.Info("index is being made anew from the log", "from", covered+1)
			}
			err = x.commit(e)
			entries = entries[:0]
		}
		return err == nil, err
	}, covered)
	if err = errors.Join(err, s.close()); err == nil {
		x.pending = len(entries)
		x.tail.set(entries)
	}
	return err
}

func entryOf(row []driver.Value) indexEntry {
	seq, _ := row[0].(int64)
	stream, _ := row[1].(string)
	version, _ := row[2].(int64)
	userID, _ := row[3].(string)
	commandID, _ := row[4].(string)
	sum, _ := row[5].(int64)
	e := indexEntry{stream: stream, version: uint64(version), seq: uint64(seq), checksum: sum}
	if commandID != "" {
		e.command, e.keyed = commandKey(userID, commandID), true
	}
	return e
}

// indexEntry is what the index knows of a commit.
type indexEntry struct {
	command  [16]byte
	keyed    bool // command is set
	stream   string
	version  uint64
	seq      uint64
	checksum int64
}

// add puts a commit's entries in, or neither and returns false if version or
// command are there already.
func (x *index) add(e *indexEntry) (fresh bool, err error) {
	if e.keyed {
		if fresh, err = x.addCommand.changes(e.command[:], int64(e.seq)); err != nil || !fresh {
			return false, err
		}
	}
	if fresh, err = x.addStream.changes(e.stream, int64(e.version), int64(e.seq)); err != nil || fresh {
		return fresh, err
	}
	if e.keyed {
		err = x.dropCommand.run(e.command[:])
	}
	return false, err
}

// drop takes a commit's entries out again.
func (x *index) drop(e *indexEntry) error {
	if e.keyed {
		if err := x.dropCommand.run(e.command[:]); err != nil {
			return err
		}
	}
	return x.dropStream.run(e.stream, int64(e.version))
}

// flushAt brings what is pending to the file once it is so many commits, all
// of which must be durable in the log.
func (x *index) flushAt(commits int) error {
	if x.pending < commits {
		return nil
	}
	end, ok := x.tail.end()
	if !ok {
		return nil
	}
	if err := x.commit(end); err != nil {
		return err
	}
	x.pending = 0
	x.tail.set(nil)
	x.hook("flushed")
	return nil
}

// commit ends the open transaction, whose last entry is given, and begins the
// next.
func (x *index) commit(end indexEntry) error {
	if err := x.conn.exec(fmt.Sprintf("UPDATE covered SET seq = %d, checksum = %d; COMMIT", end.seq, end.checksum)); err != nil {
		return err
	}
	if x.commits++; x.commits%restartEvery == 0 {
		// Only between two transactions can the write-ahead log start over.
		// All but the last one's pages were copied beside the writer.
		x.gate.Lock()
		_, _, err := walCheckpoint(x.conn, "main")
		x.gate.Unlock()
		if err != nil {
			return err
		}
	}
	return x.conn.exec("BEGIN IMMEDIATE")
}

func (x *index) close() error {
	if x.conn == nil {
		return nil
	}
	c := x.conn
	x.conn = nil
	return c.close()
}
