package eventlog

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"bms/domain"
)

// epoch is a stretch of the log: it begins with the commit start and ends
// before the next one's start.
type epoch struct{ id, start uint64 }

func (e epoch) checksum() int64 { return int64(checksum(0, e.id, e.start)) }

// epochs in rising order of both. Immutable once the log is open.
type epochs []epoch

func loadEpochs(c *conn) (epochs, error) {
	s, err := c.once("SELECT epoch, start, checksum FROM epochs ORDER BY epoch")
	if err != nil {
		return nil, err
	}
	var all epochs
	err = s.each(func(row []driver.Value) (bool, error) {
		id, ok := row[0].(int64)
		start, ok2 := row[1].(int64)
		e := epoch{uint64(id), uint64(start)}
		if !ok || !ok2 || row[2] != driver.Value(e.checksum()) || len(all) > 0 && all[len(all)-1].start > e.start {
			return false, fmt.Errorf("%w: table epochs: %v", domain.ErrCorrupt, row)
		}
		all = append(all, e)
		return true, nil
	})
	return all, errors.Join(err, s.close())
}

// begin adds an epoch after the last sequence, named by the clock but later
// than any before.
func (es epochs) begin(c *conn, now time.Time, last uint64) (epochs, error) {
	next := epoch{id: uint64(max(now.UnixMilli(), 1)), start: last + 1}
	if len(es) > 0 {
		next.id = max(next.id, es[len(es)-1].id+1)
	}
	if err := next.insert(c); err != nil {
		return nil, fmt.Errorf("begin an epoch: %w", err)
	}
	return append(es, next), nil
}

func (e epoch) insert(c *conn) error {
	return c.exec(fmt.Sprintf("INSERT INTO epochs (epoch, start, checksum) VALUES (%d, %d, %d)", e.id, e.start, e.checksum()))
}

// current is the epoch of the next append.
func (es epochs) current() uint64 { return es[len(es)-1].id }

// of is the epoch in which a sequence was written.
func (es epochs) of(seq uint64) uint64 {
	if last := es[len(es)-1]; seq >= last.start {
		return last.id
	}
	i := sort.Search(len(es), func(i int) bool { return es[i].start > seq })
	return es[max(i-1, 0)].id
}

// check is Follower.Check for a log that holds first to last. A position
// belongs to an epoch if it lies in its stretch, or right before it: that is
// the head of an epoch in which nothing was written yet.
func (es epochs) check(p domain.Position, first, last uint64) error {
	i, found := slices.BinarySearchFunc(es, p.Epoch, func(e epoch, id uint64) int {
		switch {
		case e.id < id:
			return -1
		case e.id > id:
			return 1
		}
		return 0
	})
	if !found {
		return fmt.Errorf("%w: %s is of another epoch", domain.ErrUnknownPosition, p)
	}
	end := last
	if i+1 < len(es) {
		end = es[i+1].start - 1
	}
	switch {
	case p.Seq > end:
		return fmt.Errorf("%w: %s is beyond the end of its epoch", domain.ErrUnknownPosition, p)
	case p.Seq != 0 && p.Seq+1 < es[i].start:
		return fmt.Errorf("%w: %s is before its epoch", domain.ErrUnknownPosition, p)
	case p.Seq+1 < first:
		return fmt.Errorf("%w: %s, the first commit kept is %d", domain.ErrTrimmed, p, first)
	}
	return nil
}
