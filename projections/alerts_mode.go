package projections

import (
	"cmp"
	"context"
	"fmt"
	"sort"
	"time"

	"bms/domain"
)

// A rebuilt file finds pending causes in the past. What was settled when the
// file before it served stays settled: a cause of a rebuild, of another mode or
// of another version of the fold, that it didn't have to alert of, is never
// alerted of. So a new file takes over up to which position that is, and which
// causes were still pending. (Both tables are no part of the fold, hence not of
// its digest.)
//
// Where there is no file before it, as after a restore, nobody knows what was
// settled, or in which mode: then it is what is older than settledAfter.
const alertsLocalSchema = `
CREATE TABLE local_settled (id INTEGER PRIMARY KEY CHECK (id = 0), upto INTEGER NOT NULL);
CREATE TABLE local_kept (pos INTEGER PRIMARY KEY);
`

// unsettled is the condition on pending rows that are to be alerted.
const unsettled = "(pos > coalesce((SELECT upto FROM local_settled), 0) OR pos IN (SELECT pos FROM local_kept))"

// settle copies what a file has settled into another. A file that is no good
// has settled nothing.
func settle(into *file, from *conn) error {
	ctx := context.Background()
	settled, err := position(ctx, from)
	if err != nil {
		return errNoGood
	}
	var kept []int64
	if err := from.query(ctx, func(r row) error {
		kept = append(kept, r.int(0))
		return nil
	}, "SELECT pos FROM pending WHERE "+unsettled); err != nil {
		return errNoGood
	}
	return settleUpTo(into, settled, kept)
}

// settleUpTo notes that nothing up to a position is to be alerted of, but for
// some causes.
func settleUpTo(into *file, upTo domain.Position, kept []int64) error {
	w := into.writer
	if err := w.exec("INSERT OR REPLACE INTO local_settled VALUES (0, ?)", key(upTo)); err != nil {
		return err
	}
	if err := w.exec("DELETE FROM local_kept"); err != nil {
		return err
	}
	for _, pos := range kept {
		if err := w.exec("INSERT INTO local_kept VALUES (?)", pos); err != nil {
			return err
		}
	}
	return nil
}

// settledAfter is how much older than the end of the log a cause must be for a
// file without a past to take it for settled: an alert follows its cause in a
// moment, as long as the log takes it.
const settledAfter = time.Hour

// settleThePast settles in a file without a past what is long since past; all
// that is in the log, if that can't be read. A file that has inherited keeps that,
// which may be all that is left of the one before when a start was cut short.
func settleThePast(ctx context.Context, into *file, log logReader) error {
	inherited, err := into.writer.one(ctx, func(row) error { return nil }, "SELECT 1 FROM local_settled")
	if err != nil || inherited {
		return err
	}
	upTo, err := before(ctx, log, settledAfter)
	if err != nil {
		upTo = log.Head()
	}
	return settleUpTo(into, upTo, nil)
}

// before is the position of the last commit that is so much older than the last
// of all, by the commits' times: these rise, but for what clocks differ by.
func before(ctx context.Context, log logReader, age time.Duration) (domain.Position, error) {
	head := log.Head()
	var failed error
	commit := func(seq uint64) *domain.Commit {
		commits, err := log.Read(ctx, seq-1, 1)
		if err == nil && len(commits) > 0 {
			return commits[0]
		}
		failed = fmt.Errorf("read commit %d: %w", seq, cmp.Or(err, domain.ErrCorrupt))
		return &domain.Commit{}
	}
	if head.Seq == 0 {
		return head, nil
	}
	past := commit(head.Seq).At.Add(-age)
	older := sort.Search(int(head.Seq), func(i int) bool {
		return failed != nil || !commit(uint64(i)+1).At.Before(past)
	})
	if failed != nil || older == 0 {
		return domain.Position{}, failed
	}
	return commit(uint64(older)).Position, failed
}
