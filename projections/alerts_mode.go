package projections

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// When the mode changes, the new mode's file is folded from the beginning and
// finds causes that had no alert because the old mode meant them to have none.
// What was settled under the old mode stays settled: a new file takes over from
// the old one up to which position that is, and which causes were still
// pending. (Both tables are no part of the fold, hence not of its digest.)
const alertsLocalSchema = `
CREATE TABLE local_settled (id INTEGER PRIMARY KEY CHECK (id = 0), upto INTEGER NOT NULL);
CREATE TABLE local_kept (pos INTEGER PRIMARY KEY);
`

// unsettled is the condition on pending rows that are to be alerted.
const unsettled = "(pos > coalesce((SELECT upto FROM local_settled), 0) OR pos IN (SELECT pos FROM local_kept))"

// takeOver copies what the other mode's file has settled into a file that has
// not begun to fold. An old file that is no good has settled nothing.
func takeOver(into *file, old string) (err error) {
	ctx := context.Background()
	if p, err := position(ctx, into.writer); err != nil || p.Seq > 0 {
		return err
	}
	if _, err := os.Stat(old); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("look for the other mode's alerts: %w", err)
	}
	from, err := connect(old, readerSettings...)
	if err != nil {
		return nil // no good
	}
	defer func() { err = errors.Join(err, from.close()) }()
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
	for _, pos := range kept {
		if err := w.exec("INSERT OR REPLACE INTO local_kept VALUES (?)", pos); err != nil {
			return err
		}
	}
	return nil
}
