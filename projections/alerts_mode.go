package projections

import "context"

// A rebuilt file finds pending causes in the past. What was settled when the
// file before it served stays settled: a cause of a rebuild, of another mode or
// of another version of the fold, that it didn't have to alert of, is never
// alerted of. So a new file takes over up to which position that is, and which
// causes were still pending. (Both tables are no part of the fold, hence not of
// its digest.)
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
		return nil // no good
	}
	var kept []int64
	if err := from.query(ctx, func(r row) error {
		kept = append(kept, r.int(0))
		return nil
	}, "SELECT pos FROM pending WHERE "+unsettled); err != nil {
		return nil // no good
	}
	w := into.writer
	if err := w.exec("INSERT OR REPLACE INTO local_settled VALUES (0, ?)", key(settled)); err != nil {
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
