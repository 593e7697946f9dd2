package projections

import (
	"context"
	"encoding/json"
	"fmt"

	"bms/domain"
)

// Transaction is a sale or a purchase.
type Transaction struct {
	TransactionID string        `json:"transactionId"`
	BranchID      string        `json:"branchId"`
	Kind          string        `json:"kind"`
	Status        string        `json:"status"`
	Lines         []domain.Line `json:"lines"`
	TotalMinor    int64         `json:"totalMinor"`
	RefundedMinor int64         `json:"refundedMinor"`
	Currency      string        `json:"currency"`
	DeviceID      string        `json:"deviceId,omitempty"`
	UserID        string        `json:"userId,omitempty"`
	OccurredAt    string        `json:"occurredAt"`
	// Pos is where it was created.
	Pos domain.Position `json:"pos"`
	// Changes are its changes of status in order; only Transaction fills
	// them in.
	Changes []StatusChange `json:"changes,omitempty"`
}

// StatusChange is one change of a transaction's status.
type StatusChange struct {
	Pos           domain.Position     `json:"pos"`
	At            string              `json:"at"`
	UserID        string              `json:"userId,omitempty"`
	From          string              `json:"from"`
	To            string              `json:"to"`
	Reason        string              `json:"reason"`
	RefundedMinor int64               `json:"refundedMinor"`
	Lines         []domain.RefundLine `json:"lines,omitempty"`
}

// TransactionsQuery selects transactions of a branch, newest (by log order)
// first.
type TransactionsQuery struct {
	BranchID string
	// Status and Kind select if not empty.
	Status, Kind string
	Cursor       string
	// Limit is DefaultLimit if zero and at most MaxLimit.
	Limit int
}

const transactionColumns = "pos, branch, tx, kind, status, lines, total, refunded, currency, device, user, occurred"

func (v *snapshot) transaction(r row) (Transaction, error) {
	t := Transaction{
		Pos: v.at(r.int(0)), BranchID: r.text(1), TransactionID: r.text(2), Kind: r.text(3), Status: r.text(4),
		TotalMinor: r.int(6), RefundedMinor: r.int(7), Currency: r.text(8), DeviceID: r.text(9), UserID: r.text(10), OccurredAt: r.text(11),
	}
	if err := json.Unmarshal([]byte(r.text(5)), &t.Lines); err != nil {
		return t, fmt.Errorf("decode the lines of transaction %s: %w", t.TransactionID, err)
	}
	return t, nil
}

// Transactions lists transactions. Errors: ErrBadCursor, ErrUnavailable.
func (s *Set) Transactions(ctx context.Context, q TransactionsQuery) (Page[Transaction], error) {
	return list(ctx, s, Transactions, "transactions", q.Cursor, q.Limit,
		func(t Transaction) string { return t.Pos.String() },
		func(v *snapshot, after string, limit int64, add func(Transaction)) error {
			before, err := keyAfter(after, endOfTime)
			if err != nil {
				return err
			}
			pending := ""
			if q.Status == domain.StatusPending {
				pending = " AND status = 'pending'" // written out, it finds the index of these few
			}
			return v.query(ctx, func(r row) error {
				t, err := v.transaction(r)
				add(t)
				return err
			}, "SELECT "+transactionColumns+" FROM transactions WHERE branch = ? AND pos < ?"+pending+" AND (? = '' OR status = ?) AND (? = '' OR kind = ?) ORDER BY pos DESC LIMIT ?",
				q.BranchID, before, q.Status, q.Status, q.Kind, q.Kind, limit)
		})
}

// Transaction gives one transaction and the position of the answer, or
// ErrNotFound.
func (s *Set) Transaction(ctx context.Context, branchID, transactionID string) (Transaction, domain.Position, error) {
	var t Transaction
	pos, err := s.view(ctx, Transactions, func(v *snapshot) error {
		tx := int64(0)
		found, err := v.one(ctx, func(r row) (err error) {
			tx = r.int(0)
			t, err = v.transaction(r)
			return err
		}, "SELECT "+transactionColumns+" FROM transactions WHERE branch = ? AND tx = ?", branchID, transactionID)
		if err == nil && !found {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		return v.query(ctx, func(r row) error {
			c := StatusChange{
				Pos: v.at(r.int(0)), At: timestamp(r.int(1)), UserID: r.text(2),
				From: r.text(3), To: r.text(4), Reason: r.text(5), RefundedMinor: r.int(6),
			}
			if lines := r.text(7); lines != "" {
				if err := json.Unmarshal([]byte(lines), &c.Lines); err != nil {
					return fmt.Errorf("decode the refunded lines of transaction %s: %w", transactionID, err)
				}
			}
			t.Changes = append(t.Changes, c)
			return nil
		}, "SELECT pos, at, user, was, became, reason, refunded, lines FROM changes WHERE tx = ? ORDER BY pos", tx)
	})
	return t, pos, err
}
