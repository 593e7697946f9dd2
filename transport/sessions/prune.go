package sessions

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"bms/actors"
)

const (
	// pruneEvery is the time after which a running store notes what is in use
	// and forgets what is too old.
	pruneEvery = time.Hour
	// notedAtOnce is how many sessions in use are noted in one go; others can
	// be loaded and saved in between.
	notedAtOnce = 256
)

// noRooms is the row of a session that changed nothing, and insertQuiet makes it.
const (
	noRooms     = "{}"
	insertQuiet = "INSERT INTO sessions (sid, rooms, at) VALUES (?, '" + noRooms + "', ?)"
)

// whole says from when on nothing is forgotten.
type whole struct {
	// stored is what the file says, in Unix milliseconds: sessions that began
	// then or later have a row if they ever changed anything.
	stored int64
	// since is the same, but for a time to come: the clock is behind, or was
	// ahead when that was noted. Then it is when the file was opened.
	since int64
}

// forgotten reports whether anything of a session without a row that began then
// may have been forgotten.
func (w whole) forgotten(began, now time.Time) bool {
	since := w.stored
	if since > now.UnixMilli() {
		since = w.since
	}
	return began.UnixMilli() < since
}

// Run notes once an hour which sessions are in use, and forgets those that are
// too old or too many, until the context ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.due:
		case <-ctx.Done():
			return nil
		}
		if err := s.prune(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Error("old sessions are not forgotten", "file", s.path, "error", err)
		}
	}
}

// signal has Run forget what is too much.
func (s *Store) signal() {
	s.saves = 0
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// prune notes which sessions are in use, and forgets those that were not for too
// long, and of too many those that were not for the longest time.
func (s *Store) prune(ctx context.Context) error {
	now := s.cfg.Now()
	var bound int64 // what was used before is to be forgotten
	err := s.use(ctx, func(db *sql.DB) (err error) {
		if bound, err = s.bound(ctx, db, now); err != nil {
			return err
		}
		// A session in use that began before bound is refused when it comes
		// back without a row, once what was used then is forgotten. So those
		// have one, and those that come near to it.
		s.early = max(bound+(now.UnixMilli()-bound)/2, s.whole.since)
		return nil
	})
	if err != nil {
		return fmt.Errorf("find what sessions to forget: %w", err)
	}
	for some := range slices.Chunk(s.cfg.InUse(), notedAtOnce) {
		if err := s.use(ctx, func(db *sql.DB) error {
			return inTx(ctx, db, func(tx *sql.Tx) error { return s.note(ctx, tx, some, now.UnixMilli()) })
		}); err != nil {
			return fmt.Errorf("note what sessions are in use: %w", err)
		}
	}
	if err := s.use(ctx, func(db *sql.DB) error { return s.forget(ctx, db, bound) }); err != nil {
		return fmt.Errorf("forget sessions: %w", err)
	}
	return nil
}

// bound is the time before which sessions are to have been used last that are
// forgotten, in Unix milliseconds.
func (s *Store) bound(ctx context.Context, db *sql.DB, now time.Time) (int64, error) {
	bound := now.Add(-s.cfg.Keep).UnixMilli()
	var oldest int64 // of as many as are kept
	switch err := db.QueryRowContext(ctx, "SELECT at FROM sessions ORDER BY at DESC LIMIT 1 OFFSET ?", s.cfg.Max-1).Scan(&oldest); {
	case errors.Is(err, sql.ErrNoRows):
		return bound, nil
	case err != nil:
		return 0, err
	}
	return max(bound, oldest), nil
}

// note notes that sessions are in use. Of those that began early, also those that
// changed nothing have a row from then on.
func (s *Store) note(ctx context.Context, tx *sql.Tx, inUse []actors.SessionInUse, now int64) error {
	used, err := tx.PrepareContext(ctx, "UPDATE sessions SET at = ? WHERE sid = ?")
	if err != nil {
		return err
	}
	defer func() { _ = used.Close() }() // with its transaction at the latest
	for _, session := range inUse {
		result, err := used.ExecContext(ctx, now, session.SID)
		if err != nil {
			return fmt.Errorf("session %s: %w", session.SID, err)
		}
		n, err := result.RowsAffected()
		if err == nil && n == 0 && !session.HasRooms && session.Began.UnixMilli() < s.early {
			_, err = tx.ExecContext(ctx, insertQuiet, session.SID, now)
		}
		if err != nil {
			return fmt.Errorf("session %s: %w", session.SID, err)
		}
	}
	return nil
}

// forget forgets what was used last before a time. Of what is forgotten, those
// that had rooms began at that time at the latest; those that had none are as
// whole without their row.
func (s *Store) forget(ctx context.Context, db *sql.DB, bound int64) error {
	var last sql.NullInt64
	if err := inTx(ctx, db, func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, "SELECT max(at) FROM sessions WHERE at < ? AND rooms <> ?", bound, noRooms).Scan(&last); err != nil {
			return err
		}
		if last.Valid {
			if _, err := tx.ExecContext(ctx, "UPDATE whole SET since = max(since, ?)", last.Int64+1); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE at < ?", bound)
		return err
	}); err != nil {
		return err
	}
	if last.Valid {
		s.whole.stored, s.whole.since = max(s.whole.stored, last.Int64+1), max(s.whole.since, last.Int64+1)
	}
	return nil
}

// inTx does something in a transaction.
func inTx(ctx context.Context, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
