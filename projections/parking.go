package projections

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"bms/domain"
)

const (
	// maxTries is how often a commit is tried before it is parked.
	maxTries = 3
	// maxParked bounds the commits set aside in one projection, those that
	// wait behind others included. Beyond it something is wrong with more
	// than single commits, and the projection stops.
	maxParked = 10_000
	// maxParkedError bounds what is kept of an error, in bytes.
	maxParkedError = 2000
)

// errTooManyParked stops a projection.
var errTooManyParked = fmt.Errorf("more than %d commits would be parked", maxParked)

// parkable reports whether an error is the commit's fault, as far as one can
// tell: another commit may well fold. A disk that is full, a damaged file and
// an event that is newer than this program are not.
func parkable(err error) bool {
	if errors.Is(err, domain.ErrUnknownEvent) || errors.Is(err, domain.ErrCorrupt) || errors.Is(err, errTooManyParked) || errors.Is(err, errStale) {
		return false
	}
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
			return true
		}
		return false
	}
	return true
}

// parking is what is set aside in a file: commits that could not be folded, and
// later ones with a key of theirs, which wait behind them. The zero value is
// empty.
type parking struct {
	rows    int
	events  int // of the commits
	blocked map[string]bool
	// trying is the sequence of the commit that failed last, tries how often.
	trying uint64
	tries  int
}

func (p *parking) count() int { return p.rows }

// load reads what is set aside from the file.
func (p *parking) load(c *conn) error {
	p.rows, p.events, p.blocked = 0, 0, map[string]bool{}
	return c.query(context.Background(), func(r row) error {
		p.rows++
		p.events += int(r.int(1))
		for key := range strings.SplitSeq(r.text(0), "\n") {
			p.blocked[key] = true
		}
		return nil
	}, "SELECT keys, events FROM local_parked")
}

// failed counts the tries of a commit.
func (p *parking) failed(c *domain.Commit) int {
	if p.trying != c.Position.Seq {
		p.trying, p.tries = c.Position.Seq, 0
	}
	p.tries++
	return p.tries
}

func (p *parking) blocks(keys []string) bool {
	for _, k := range keys {
		if p.blocked[k] {
			return true
		}
	}
	return false
}

// add sets a commit aside within the transaction: with a cause, or, without
// one, to wait.
func (p *parking) add(c *conn, commit *domain.Commit, keys []string, at time.Time, tries int, cause error) error {
	if p.rows >= maxParked {
		return errTooManyParked
	}
	if err := c.exec("INSERT INTO local_parked VALUES (?, ?, ?, ?, ?, ?, ?)",
		key(commit.Position), commit.Stream, strings.Join(keys, "\n"), at.UnixMilli(), int64(tries), causeText(cause), int64(len(commit.Events))); err != nil {
		return err
	}
	p.rows++
	p.events += len(commit.Events)
	for _, k := range keys {
		p.blocked[k] = true
	}
	return nil
}

// causeText is NULL for none.
func causeText(cause error) any {
	if cause == nil {
		return nil
	}
	text := cause.Error()
	return strings.ToValidUTF8(text[:min(len(text), maxParkedError)], "")
}

// keysOf are the keys of a commit: what must stay in order.
func (in *instance) keysOf(c *domain.Commit) []string {
	if in.keys == nil {
		return []string{c.Stream}
	}
	var all []string
	in.keys(c, func(k string) { all = append(all, k) })
	if len(all) == 0 {
		all = append(all, c.Stream)
	}
	return all
}

// park sets a commit aside that was tried often enough, and makes the position
// pass it.
func (in *instance) park(c *domain.Commit, cause error) (err error) {
	defer func() {
		if in.file.open {
			err = errors.Join(err, in.rollback())
		}
	}()
	if err := in.file.begin(); err != nil {
		return err
	}
	if err := in.file.learn(c.Position); err != nil {
		return err
	}
	// A commit whose keys can't be told is in the way of its stream.
	keys := []string{c.Stream}
	if err := guard(func() error { keys = in.keysOf(c); return nil }); err != nil {
		cause = errors.Join(cause, err)
	}
	if err := in.parking.add(in.file.writer, c, keys, in.config.Now(), in.parking.tries, cause); err != nil {
		return err
	}
	in.config.step(in.name, stepParking)
	if err := in.file.commit(c.Position); err != nil {
		return err
	}
	in.written, in.through = c.Position, c.Position
	in.file.stretch.Store(&stretch{from: c.Position, to: c.Position})
	in.logger.Error("commit is parked; what comes after it in its keys waits, the rest goes on",
		"pos", c.Position, "stream", c.Stream, "tries", in.parking.tries, "error", cause)
	return nil
}

// parkedRow is a row of what is set aside.
type parkedRow struct {
	pos    domain.Position
	keys   []string
	failed bool
}

func (in *instance) parkedRows(ctx context.Context) ([]parkedRow, error) {
	var rows []parkedRow
	err := in.file.writer.query(ctx, func(r row) error {
		rows = append(rows, parkedRow{pos: in.file.epochs.Load().at(r.int(0)), keys: strings.Split(r.text(1), "\n"), failed: r.bool(2)})
		return nil
	}, "SELECT pos, keys, error IS NOT NULL FROM local_parked ORDER BY pos")
	return rows, err
}

// release folds a parked commit, or, to skip it, only lets go of it, and then
// folds those that waited behind it and need not any more. A commit that fails
// again stays parked, and its error is returned, wrapped in ErrStillFailing.
func (in *instance) release(ctx context.Context, pos domain.Position, skip bool) error {
	rows, err := in.parkedRows(ctx)
	if err != nil {
		return err
	}
	held, seen := map[string]bool{}, false // keys of rows that stay
	for _, row := range rows {
		waits := false
		for _, k := range row.keys {
			waits = waits || held[k]
		}
		asked := row.pos.Seq == pos.Seq
		switch {
		case asked && (waits || skip && !row.failed):
			return fmt.Errorf("commit %s: %w", row.pos, ErrParkedBehind)
		case asked:
			seen = true
			if err := in.releaseOne(ctx, row, skip); err != nil {
				return err
			}
		case seen && !waits && !row.failed:
			err := in.releaseOne(ctx, row, false)
			if err != nil && !errors.Is(err, ErrStillFailing) {
				return err
			}
			if err == nil {
				continue
			}
			fallthrough
		default:
			for _, k := range row.keys {
				held[k] = true
			}
		}
	}
	if !seen {
		return fmt.Errorf("commit %s: %w", pos, ErrNotParked)
	}
	return nil
}

// releaseOne folds or skips one commit, in a transaction of its own.
func (in *instance) releaseOne(ctx context.Context, row parkedRow, skip bool) (err error) {
	defer func() {
		if in.file.open {
			err = errors.Join(err, in.rollback())
		}
	}()
	if err := in.file.begin(); err != nil {
		return err
	}
	if !skip {
		commits, err := in.config.Log.Read(ctx, row.pos.Seq-1, 1)
		if err != nil {
			return fmt.Errorf("read parked commit %s: %w", row.pos, err)
		}
		if err := gapless(row.pos.Seq-1, commits); err != nil || len(commits) == 0 {
			return errors.Join(fmt.Errorf("%w: parked commit %s is not in the log", domain.ErrCorrupt, row.pos), err)
		}
		err = guard(func() error { return in.apply(commits[0]) })
		if err == nil {
			err = guard(in.fold.flush)
		}
		if err != nil {
			if !parkable(err) {
				return err
			}
			return errors.Join(fmt.Errorf("commit %s: %w: %w", row.pos, ErrStillFailing, err), in.rollback(), in.failedAgain(row.pos, err))
		}
	}
	if err := in.file.writer.exec("DELETE FROM local_parked WHERE pos = ?", key(row.pos)); err != nil {
		return err
	}
	if err := in.file.commit(in.written); err != nil {
		return err
	}
	in.fold.published()
	in.logger.Warn("parked commit is released", "pos", row.pos, "skipped", skip)
	return in.parking.load(in.file.writer)
}

func (in *instance) failedAgain(pos domain.Position, cause error) error {
	return in.file.writer.exec("UPDATE local_parked SET error = ?, tries = tries + 1, at = ? WHERE pos = ?", causeText(cause), in.config.Now().UnixMilli(), key(pos))
}
