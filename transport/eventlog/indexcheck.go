package eventlog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"

	"bms/domain"
)

// ErrIndex is wrapped by what ReadOnly.CheckIndex finds wrong with an index. The
// log is as it was: without index.db, the next start makes it anew.
var ErrIndex = errors.New("the index is wrong")

// CheckIndex compares the index with the log, entry by entry, and returns the
// sequence that it reaches up to; what comes after is in the memory of who writes
// the log, if anybody does. It reads a little at a time, so that it keeps nobody
// from anything.
//
// The error wraps ErrIndex if the index is damaged or not what the log comes to,
// fs.ErrNotExist if there is none; else it is one of the log, or the context's.
func (r *ReadOnly) CheckIndex(ctx context.Context) (covered uint64, err error) {
	file := filepath.Join(filepath.Dir(r.pool.file), indexName)
	if _, err := os.Stat(file); err != nil {
		return 0, err
	}
	if !lockHeld(filepath.Dir(file)) {
		err = inspected(file)
	}
	c := &indexCheck{pool: r.pool, seed: maphash.MakeSeed()}
	if err == nil {
		c.index, err = openSummed(file, "rw", "busy_timeout(5000)", "query_only(1)", "cache_size(-2048)")
	}
	if err == nil {
		err = errors.Join(c.run(ctx), c.index.close())
	}
	if uselessIndex(err) && !errors.Is(err, domain.ErrCorrupt) {
		err = fmt.Errorf("%w: %w", ErrIndex, err)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return uint64(c.covered), err
}

// indexCheck is a check under way.
type indexCheck struct {
	pool    *pool
	index   *conn
	seed    maphash.Seed
	covered int64
}

// entries are some of an index: their number, and the sum of their hashes, which
// doesn't depend on the order in which they come.
type entries struct{ n, sum uint64 }

func add[T comparable](e *entries, seed maphash.Seed, entry T) {
	e.n++
	e.sum += maphash.Comparable(seed, entry)
}

type (
	streamEntry struct {
		stream       string
		version, seq uint64
	}
	commandEntry struct {
		command string
		seq     uint64
	}
)

func (c *indexCheck) run(ctx context.Context) error {
	version, err := pragmaInt(c.index, "user_version")
	if err != nil {
		return err
	}
	if version != schemaVersion {
		return fmt.Errorf("%w: it has format %d, this program knows %d", errUseless, version, schemaVersion)
	}
	var checksum int64
	if c.covered, checksum, err = coveredBy(c.index); err != nil {
		return err
	}
	wantStreams, wantCommands, last, err := c.ofLog(ctx)
	if err != nil {
		return err
	}
	if last.seq != uint64(c.covered) || last.checksum != checksum {
		return fmt.Errorf("%w: it says that commit %d has checksum %d, of the log that is commit %d, which has %d", errUseless, c.covered, checksum, last.seq, last.checksum)
	}
	streams, commands, err := c.ofIndex(ctx)
	switch {
	case err != nil:
		return err
	case streams != wantStreams:
		return fmt.Errorf("%w: it has %d versions of streams up to commit %d, the log has %d, or they are others", errUseless, streams.n, c.covered, wantStreams.n)
	case commands != wantCommands:
		return fmt.Errorf("%w: it has %d commands up to commit %d, the log has %d, or they are others", errUseless, commands.n, c.covered, wantCommands.n)
	}
	return nil
}

// checkBatch is how many rows are read at a time.
const checkBatch = 2048

// ofLog makes the entries that the index should have, and returns the last.
func (c *indexCheck) ofLog(ctx context.Context) (streams, commands entries, last indexEntry, err error) {
	for n := checkBatch; n == checkBatch && err == nil; {
		n = 0
		err = c.pool.with(ctx, func(r *reader) error {
			s, err := r.conn.once("SELECT seq, stream, version, user_id, command_id, checksum FROM commits WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?")
			if err != nil {
				return err
			}
			return errors.Join(s.each(func(row []driver.Value) (bool, error) {
				n++
				last = entryOf(row)
				add(&streams, c.seed, streamEntry{last.stream, last.version, last.seq})
				if last.keyed {
					add(&commands, c.seed, commandEntry{string(last.command[:]), last.seq})
				}
				return true, nil
			}, int64(last.seq), c.covered, int64(checkBatch)), s.close())
		})
	}
	return streams, commands, last, err
}

// ofIndex reads the entries that the index has. Later ones may come in
// meanwhile; those up to where it reached are there for good.
func (c *indexCheck) ofIndex(ctx context.Context) (streams, commands entries, err error) {
	stream, version := "", int64(0)
	err = c.each(ctx, "SELECT seq, stream, version FROM streams WHERE (stream, version) > (?, ?) ORDER BY stream, version LIMIT ?",
		func() []driver.Value { return []driver.Value{stream, version} },
		func(row []driver.Value) {
			stream, _ = row[1].(string)
			version, _ = row[2].(int64)
			if seq, _ := row[0].(int64); seq <= c.covered {
				add(&streams, c.seed, streamEntry{stream, uint64(version), uint64(seq)})
			}
		})
	if err != nil {
		return streams, commands, err
	}
	id := []byte{}
	err = c.each(ctx, "SELECT seq, id FROM commands WHERE id > ? ORDER BY id LIMIT ?",
		func() []driver.Value { return []driver.Value{id} },
		func(row []driver.Value) {
			id, _ = row[1].([]byte)
			if seq, _ := row[0].(int64); seq <= c.covered {
				add(&commands, c.seed, commandEntry{string(id), uint64(seq)})
			}
		})
	return streams, commands, err
}

// each calls f with every row of the index, which are asked for from where the
// last ones ended.
func (c *indexCheck) each(ctx context.Context, sql string, after func() []driver.Value, f func(row []driver.Value)) error {
	s, err := c.index.prepare(sql)
	if err != nil {
		return err
	}
	for n := checkBatch; n == checkBatch && err == nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n = 0
		err = s.each(func(row []driver.Value) (bool, error) {
			n++
			f(row)
			return true, nil
		}, append(after(), int64(checkBatch))...)
	}
	return err
}
