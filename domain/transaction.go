package domain

import (
	"fmt"
	"time"
)

// Kinds of transactions.
const (
	KindSale     = "sale"
	KindPurchase = "purchase"
)

// Statuses of a transaction and how they follow each other:
//
//	pending ──→ completed ──→ partially_refunded ──→ refunded
//	   ├→ voided    ├→ voided      └→ (again)
//	   └→ failed    └→ refunded
//
// A pending transaction moves no stock; completing it does, and is refused if
// there is not enough then.
const (
	StatusPending           = "pending"
	StatusCompleted         = "completed"
	StatusVoided            = "voided"
	StatusFailed            = "failed"
	StatusPartiallyRefunded = "partially_refunded"
	StatusRefunded          = "refunded"
)

// Bounds of occurredAt.
const (
	maxAhead  = 5 * time.Minute      // a till's clock may be wrong by this
	maxBehind = 366 * 24 * time.Hour // older goes by other ways into the books
	anyAge    = 0                    // for sales made offline
)

// TransactionResult is the result of transaction.create.
type TransactionResult struct {
	TransactionID string `json:"transactionId"`
	Status        string `json:"status"`
	TotalMinor    int64  `json:"totalMinor"`
	Currency      string `json:"currency"`
}

// createTransaction gives transaction:created and, for a completed one, an
// inventory:updated for each line: all lines or none. An id that is in use is
// an invalid transition from the status it has.
func (b *Branch) createTransaction(c Command, body CreateTransaction) (Decision, *Rejection) {
	occurred, r := occurredAt(c.At, body.OccurredAt, maxBehind)
	if r != nil {
		return Decision{}, r
	}
	id := body.id(c)
	if t, taken := b.Transactions[id]; taken {
		return Decision{}, invalidTransition(id, t.Status, body.Status)
	}
	lines, total, currency, r := b.price(body.Lines)
	if r != nil {
		return Decision{}, r
	}
	facts := make([]Fact, 1, 1+len(lines))
	facts[0] = Fact{BranchID: b.ID, Payload: TransactionCreated{
		TransactionID: id, Kind: body.Kind, Status: body.Status, Lines: lines,
		TotalMinor: total, Currency: currency, DeviceID: body.DeviceID, OccurredAt: occurred,
	}}
	if body.Status == StatusCompleted {
		var r *Rejection
		if facts, r = b.complete(facts, id, body.Kind, lines); r != nil {
			return Decision{}, r
		}
	}
	return Decision{
		Events: facts,
		Result: TransactionResult{TransactionID: id, Status: body.Status, TotalMinor: total, Currency: currency},
	}, nil
}

// id is the transaction's, given or made.
func (t CreateTransaction) id(c Command) string {
	if t.TransactionID == "" {
		return madeID(c, "transaction")
	}
	return t.TransactionID
}

// price looks the lines' products up and sums them: prices are the products'
// where a line has none, and all are in one currency.
func (b *Branch) price(asked []TransactionLine) (lines []Line, total int64, currency string, r *Rejection) {
	lines = make([]Line, len(asked))
	for i, l := range asked {
		p, r := b.product(l.ProductID)
		if r != nil {
			return nil, 0, "", r
		}
		if currency == "" {
			currency = p.Currency
		}
		if p.Currency != currency {
			return nil, 0, "", Invalid(FieldError{
				Field:   fmt.Sprintf("lines[%d].productId", i),
				Message: fmt.Sprintf("is priced in %s, lines before it in %s; a transaction has one currency", p.Currency, currency),
			})
		}
		price := p.PriceMinor
		set(&price, l.UnitPriceMinor)
		amount, ok := checkedMul(l.Quantity, price)
		if ok {
			total, ok = checkedAdd(total, amount)
		}
		if !ok {
			return nil, 0, "", overflow("the total")
		}
		lines[i] = Line{ProductID: l.ProductID, Quantity: l.Quantity, UnitPriceMinor: price}
	}
	return lines, total, currency, nil
}

// complete adds the movements of a completed transaction: out of stock for a
// sale, into it for a purchase.
func (b *Branch) complete(facts []Fact, id, kind string, lines []Line) ([]Fact, *Rejection) {
	movements := make([]movement, len(lines))
	for i, l := range lines {
		if _, r := b.product(l.ProductID); r != nil {
			return nil, r
		}
		movements[i] = movement{l.ProductID, l.Quantity}
		if kind == KindSale {
			movements[i].delta = -l.Quantity
		}
	}
	if r := b.mayMove(movements); r != nil {
		return nil, r
	}
	return b.moveAll(facts, movements, InventoryUpdated{Reason: kind, TransactionID: id}), nil
}

// occurredAt returns the normal form of a time at a till, which may lie behind
// the decision's by so much; the decision's own for none.
func occurredAt(at time.Time, given string, behind time.Duration) (string, *Rejection) {
	if given == "" {
		return formatTime(at), nil
	}
	t, err := parseTime(given)
	switch {
	case err != nil:
		return "", Reject(CodeOccurredAtInvalid, "occurredAt %s", msgTime)
	case t.After(at.Add(maxAhead)):
		return "", Reject(CodeOccurredAtInvalid, "occurredAt is more than %d minutes in the future; set the device's clock", maxAhead/time.Minute)
	case behind != anyAge && t.Before(at.Add(-behind)):
		return "", Reject(CodeOccurredAtInvalid, "occurredAt is more than %d days ago", behind/(24*time.Hour))
	}
	return formatTime(t), nil
}

func invalidTransition(id, from, to string) *Rejection {
	r := Reject(CodeInvalidTransition, "transaction %s is %s and can't become %s", id, from, to)
	r.Details = map[string]any{"from": from, "to": to}
	return r
}

func (b *Branch) evolveTransaction(e TransactionCreated) error {
	if _, known := b.Transactions[e.TransactionID]; known {
		return fmt.Errorf("transaction %s was created before", e.TransactionID)
	}
	t := &TransactionState{
		Kind: e.Kind, Status: e.Status, Currency: e.Currency, TotalMinor: e.TotalMinor,
		Lines: make([]SoldLine, len(e.Lines)),
	}
	for i, l := range e.Lines {
		t.Lines[i] = SoldLine{ProductID: l.ProductID, Quantity: l.Quantity, UnitPriceMinor: l.UnitPriceMinor}
	}
	b.Transactions[e.TransactionID] = t
	return nil
}
