package projections

import (
	"context"
	"encoding/json"
	"fmt"

	"bms/domain"
)

// transactionsDefinition keeps every sale and purchase under the position it
// was created at, and its changes of status.
func transactionsDefinition() definition {
	return definition{
		name: Transactions, version: 1,
		schema: `
CREATE TABLE transactions (
	pos INTEGER PRIMARY KEY, branch TEXT NOT NULL, tx TEXT NOT NULL,
	kind TEXT NOT NULL, status TEXT NOT NULL, lines TEXT NOT NULL,
	total INTEGER NOT NULL, refunded INTEGER NOT NULL, currency TEXT NOT NULL,
	device TEXT, user TEXT, occurred TEXT NOT NULL,
	UNIQUE (branch, tx)
);
CREATE INDEX transactions_branch ON transactions (branch, pos);
CREATE INDEX transactions_pending ON transactions (branch, pos) WHERE status = 'pending';
CREATE TABLE changes (
	tx INTEGER NOT NULL, pos INTEGER NOT NULL, at INTEGER NOT NULL, user TEXT,
	was TEXT NOT NULL, became TEXT NOT NULL, reason TEXT NOT NULL, refunded INTEGER NOT NULL, lines TEXT,
	PRIMARY KEY (tx, pos)
) WITHOUT ROWID;
`,
		types: []string{domain.TypeTransactionCreated, domain.TypeTransactionStatusChanged},
		keys:  transactionKeys,
		start: func(f *file) (fold, error) {
			return &transactions{file: f, created: newBulk(f.writer, "INSERT INTO transactions", 12)}, nil
		},
	}
}

type transactions struct {
	basic
	file    *file
	created *bulk
}

func (t *transactions) apply(_ *domain.Commit, e *domain.Event, payload domain.Payload) error {
	switch p := payload.(type) {
	case domain.TransactionCreated:
		lines, err := json.Marshal(p.Lines)
		if err != nil {
			return fmt.Errorf("encode the lines of %s: %w", p.TransactionID, err)
		}
		return t.created.add(key(e.Pos), e.BranchID, p.TransactionID, p.Kind, p.Status, string(lines),
			p.TotalMinor, int64(0), p.Currency, orNull(p.DeviceID), orNull(e.UserID), p.OccurredAt)
	case domain.TransactionStatusChanged:
		return t.changed(e, p)
	}
	return nil
}

func (t *transactions) changed(e *domain.Event, p domain.TransactionStatusChanged) error {
	if err := t.created.flush(); err != nil { // it may be among them
		return err
	}
	var tx, refunded int64
	found, err := t.file.writer.one(context.Background(), func(r row) error {
		tx, refunded = r.int(0), r.int(1)
		return nil
	}, "SELECT pos, refunded FROM transactions WHERE branch = ? AND tx = ?", e.BranchID, p.TransactionID)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("event %s changes transaction %s of branch %s, which is not there", e.ID, p.TransactionID, e.BranchID)
	}
	if p.RefundedMinor != nil {
		refunded = *p.RefundedMinor
	}
	var lines any
	if len(p.Lines) > 0 {
		raw, err := json.Marshal(p.Lines)
		if err != nil {
			return fmt.Errorf("encode the lines of %s: %w", p.TransactionID, err)
		}
		lines = string(raw)
	}
	if err := t.file.writer.exec("UPDATE transactions SET status = ?, refunded = ? WHERE pos = ?", p.To, refunded, tx); err != nil {
		return err
	}
	return t.file.writer.exec("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		tx, key(e.Pos), e.At.UnixMilli(), orNull(e.UserID), p.From, p.To, p.Reason, refunded, lines)
}

func (t *transactions) flush() error { return t.created.flush() }

func (t *transactions) forget() error {
	t.created.forget()
	return nil
}

// orNull is NULL for the empty string.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
