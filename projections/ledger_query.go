package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bms/domain"
)

// LedgerEntry is one change of a product's stock.
type LedgerEntry struct {
	Pos    domain.Position `json:"pos"`
	Delta  int64           `json:"delta"`
	Stock  int64           `json:"stock"`
	Reason string          `json:"reason"`
	// Ref is what who changed it gave as reference, and TransactionID the
	// transaction that did; nil for none.
	Ref           *string `json:"ref"`
	TransactionID *string `json:"transactionId"`
	// OccurredAt is the transaction's time for a change that a new
	// transaction made, else the time of the decision.
	OccurredAt string `json:"occurredAt"`
}

// LedgerQuery selects the changes of a product, newest first.
type LedgerQuery struct {
	BranchID, ProductID string
	// AsOfPosition or AsOfTime, if given, is the point up to which, itself
	// included, the ledger is told. The earlier one counts if both are.
	AsOfPosition *domain.Position
	AsOfTime     *time.Time
	Cursor       string
	// Limit is DefaultLimit if zero and at most MaxLimit.
	Limit int
}

// Ledger is a page of a product's ledger.
type Ledger struct {
	Page[LedgerEntry]
	// Stock is the level at the point asked for; nil without one. Before the
	// product's first change it is 0.
	Stock *int64 `json:"stock,omitempty"`
}

// Ledger tells why the stock of a product is what it is. A time asks for what
// the log knew then: the changes decided up to it, in log order. Errors:
// ErrNotFound for an unknown product, ErrBadCursor, ErrUnavailable,
// domain.ErrUnknownPosition for an AsOfPosition that is not of this log.
func (s *Set) Ledger(ctx context.Context, q LedgerQuery) (Ledger, error) {
	l := Ledger{}
	if q.AsOfPosition != nil {
		if err := s.config.Log.Check(*q.AsOfPosition); errors.Is(err, domain.ErrUnknownPosition) {
			return l, fmt.Errorf("ledger as of %s: %w", *q.AsOfPosition, err)
		}
	}
	var err error
	l.Page, err = list(ctx, s, Inventory, "ledger", q.Cursor, q.Limit,
		func(e LedgerEntry) string { return e.Pos.String() },
		func(v *snapshot, after string, limit int64, add func(LedgerEntry)) error {
			p, err := v.product(ctx, q.BranchID, q.ProductID)
			if err != nil {
				return err
			}
			upTo, err := v.asOf(ctx, p.id, q)
			if err != nil {
				return err
			}
			if q.AsOfPosition != nil || q.AsOfTime != nil {
				l.Stock = new(int64)
				if _, err := v.one(ctx, func(r row) error {
					*l.Stock = r.int(0)
					return nil
				}, "SELECT stock FROM ledger WHERE product = ? AND pos <= ? ORDER BY pos DESC LIMIT 1", p.id, upTo); err != nil {
					return err
				}
			}
			before, err := keyAfter(after, endOfTime)
			if err != nil {
				return err
			}
			upTo = min(upTo, before-1)
			return v.query(ctx, func(r row) error {
				e := LedgerEntry{Pos: v.at(r.int(0)), Delta: r.int(1), Stock: r.int(2), Reason: r.text(3), Ref: orNone(r.text(4)), TransactionID: orNone(r.text(5)), OccurredAt: r.text(7)}
				if e.OccurredAt == "" {
					e.OccurredAt = timestamp(r.int(6))
				}
				add(e)
				return nil
			}, "SELECT pos, delta, stock, reason, ref, tx, recorded, occurred FROM ledger WHERE product = ? AND pos <= ? ORDER BY pos DESC LIMIT ?", p.id, upTo, limit)
		})
	return l, err
}

// orNone is a text, nil for an empty one.
func orNone(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// asOf is the key up to which the query goes. For a time it looks for the last
// row recorded by then, by halving: recorded times never fall within a product.
func (v *snapshot) asOf(ctx context.Context, product int64, q LedgerQuery) (int64, error) {
	upTo := endOfTime
	if q.AsOfPosition != nil {
		upTo = key(*q.AsOfPosition)
	}
	if q.AsOfTime == nil {
		return upTo, nil
	}
	at := q.AsOfTime.UnixMilli()
	// Rows before low are recorded by then, rows from high on are not.
	low, high := int64(0), min(upTo, key(v.pos))+1
	for low < high {
		middle := low + (high-low)/2
		pos, recorded := int64(0), int64(0)
		found, err := v.one(ctx, func(r row) error {
			pos, recorded = r.int(0), r.int(1)
			return nil
		}, "SELECT pos, recorded FROM ledger WHERE product = ? AND pos >= ? ORDER BY pos LIMIT 1", product, middle)
		if err != nil {
			return 0, err
		}
		if found && pos < high && recorded <= at {
			low = pos + 1
		} else {
			high = middle
		}
	}
	return low - 1, nil
}

// timestamp is a time in milliseconds as the interface gives it.
func timestamp(ms int64) string {
	return time.UnixMilli(ms).UTC().Format(domain.TimestampFormat)
}
