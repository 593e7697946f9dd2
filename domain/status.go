package domain

import (
	"fmt"
	"slices"
)

// StatusResult is the result of transaction.set-status: the status it came to,
// and the total refunded so far if any was.
type StatusResult struct {
	TransactionID string `json:"transactionId"`
	Status        string `json:"status"`
	RefundedMinor *int64 `json:"refundedMinor,omitempty"`
}

// OverRefundLine is one entry of over_refund's lines.
type OverRefundLine struct {
	ProductID  string `json:"productId"`
	Refundable int64  `json:"refundable"`
	Asked      int64  `json:"asked"`
}

// transitions lists what may follow a status.
var transitions = map[string][]string{
	StatusPending:           {StatusCompleted, StatusVoided, StatusFailed},
	StatusCompleted:         {StatusVoided, StatusPartiallyRefunded, StatusRefunded},
	StatusPartiallyRefunded: {StatusPartiallyRefunded, StatusRefunded},
}

// setTransactionStatus gives transaction:status-changed and an
// inventory:updated for each line whose goods move.
func (b *Branch) setTransactionStatus(c Command, body SetTransactionStatus) (Decision, *Rejection) {
	if r := maySetStatus(c.Identity, body.Status); r != nil {
		return Decision{}, r
	}
	t, known := b.Transactions[body.TransactionID]
	if !known {
		return Decision{}, Reject(CodeUnknownTransaction, "there is no transaction %s in branch %s", body.TransactionID, b.ID)
	}
	if !slices.Contains(transitions[t.Status], body.Status) {
		return Decision{}, invalidTransition(body.TransactionID, t.Status, body.Status)
	}
	changed := TransactionStatusChanged{TransactionID: body.TransactionID, From: t.Status, To: body.Status, Reason: body.Reason}
	var movements []movement
	reason := ""
	switch body.Status {
	case StatusCompleted:
		facts, r := b.complete(make([]Fact, 1, 1+len(t.Lines)), body.TransactionID, t.Kind, t.lines())
		if r != nil {
			return Decision{}, r
		}
		facts[0] = Fact{BranchID: b.ID, Payload: changed}
		return statusDecision(facts, changed), nil
	case StatusVoided:
		if t.Status == StatusCompleted {
			reason = ReasonVoid
			for _, l := range t.Lines {
				movements = b.giveBack(movements, t.Kind, l.ProductID, l.Quantity)
			}
		}
	case StatusPartiallyRefunded, StatusRefunded:
		reason = ReasonRefund
		refund, r := t.refund(body.TransactionID, body.Lines)
		if r != nil {
			return Decision{}, r
		}
		changed.To, changed.RefundedMinor, changed.Lines = refund.status, &refund.total, refund.lines
		for i, l := range changed.Lines {
			if !b.inRange(l.ProductID) {
				changed.Lines[i].Restock = false
			} else if l.Restock {
				movements = b.giveBack(movements, t.Kind, l.ProductID, l.Quantity)
			}
		}
	}
	if r := b.mayMove(movements); r != nil {
		return Decision{}, r
	}
	facts := make([]Fact, 1, 1+len(movements))
	facts[0] = Fact{BranchID: b.ID, Payload: changed}
	facts = b.moveAll(facts, movements, InventoryUpdated{Reason: reason, TransactionID: body.TransactionID})
	return statusDecision(facts, changed), nil
}

func statusDecision(facts []Fact, changed TransactionStatusChanged) Decision {
	return Decision{Events: facts, Result: StatusResult{
		TransactionID: changed.TransactionID, Status: changed.To, RefundedMinor: changed.RefundedMinor,
	}}
}

func (b *Branch) inRange(productID string) bool {
	p, known := b.Products[productID]
	return known && !p.Deleted
}

// giveBack adds the movement that takes a line back: into stock for a sale,
// out of it for a purchase. The goods of a product that has left the range
// are counted nowhere any more, and the money goes back all the same.
func (b *Branch) giveBack(movements []movement, kind, productID string, quantity int64) []movement {
	if !b.inRange(productID) {
		return movements
	}
	if kind == KindPurchase {
		quantity = -quantity
	}
	return append(movements, movement{productID, quantity})
}

func (t *TransactionState) lines() []Line {
	lines := make([]Line, len(t.Lines))
	for i, l := range t.Lines {
		lines[i] = Line{ProductID: l.ProductID, Quantity: l.Quantity, UnitPriceMinor: l.UnitPriceMinor}
	}
	return lines
}

// refund is what a request for a refund comes to.
type refund struct {
	status string
	total  int64 // refunded so far, with this
	lines  []RefundLine
}

// refund works a request out: the lines asked for, or all that is left if none
// are. Of a product that was sold on several lines the first are taken back
// first, at their prices.
func (t *TransactionState) refund(id string, asked []RefundRequestLine) (refund, *Rejection) {
	left := slices.Clone(t.Lines)
	f := refund{status: StatusRefunded, total: t.RefundedMinor}
	if len(asked) == 0 {
		for _, l := range left {
			if open := l.Quantity - l.Refunded; open > 0 {
				f.lines = append(f.lines, RefundLine{ProductID: l.ProductID, Quantity: open, Restock: true})
			}
		}
	}
	for _, a := range asked {
		f.lines = append(f.lines, RefundLine{ProductID: a.ProductID, Quantity: a.Quantity, Restock: a.Restock == nil || *a.Restock})
	}
	if r := t.overRefund(id, f.lines); r != nil {
		return refund{}, r
	}
	for _, l := range f.lines {
		f.total += takeBack(left, l.ProductID, l.Quantity)
	}
	if slices.ContainsFunc(left, func(l SoldLine) bool { return l.Refunded < l.Quantity }) {
		f.status = StatusPartiallyRefunded
	}
	return f, nil
}

// overRefund lists every product of which more is asked than is left.
func (t *TransactionState) overRefund(id string, lines []RefundLine) *Rejection {
	asked := make([]movement, len(lines))
	for i, l := range lines {
		asked[i] = movement{l.ProductID, l.Quantity}
	}
	sums, r := sumByProduct(asked)
	if r != nil {
		return r
	}
	left := make(map[string]int64, len(t.Lines)) // sums of sums that were checked when they were sold
	for _, l := range t.Lines {
		left[l.ProductID] += l.Quantity - l.Refunded
	}
	var over []OverRefundLine
	for _, m := range sums {
		if m.delta > left[m.productID] {
			over = append(over, OverRefundLine{ProductID: m.productID, Refundable: left[m.productID], Asked: m.delta})
		}
	}
	if over == nil {
		return nil
	}
	r = Reject(CodeOverRefund, "more of %d product(s) than transaction %s has left, see lines", len(over), id)
	r.Details = map[string]any{"lines": over}
	return r
}

// takeBack marks a quantity of a product refunded and returns its amount. The
// sums are part of sums that were checked when the transaction was made.
func takeBack(lines []SoldLine, productID string, quantity int64) (amount int64) {
	for i := range lines {
		l := &lines[i]
		if l.ProductID == productID {
			n := min(quantity, l.Quantity-l.Refunded)
			l.Refunded += n
			quantity -= n
			amount += n * l.UnitPriceMinor
		}
	}
	return amount
}

func (b *Branch) evolveStatus(e TransactionStatusChanged) error {
	t, known := b.Transactions[e.TransactionID]
	if !known || t.Status != e.From {
		return fmt.Errorf("transaction %s is not %s", e.TransactionID, e.From)
	}
	if r := t.overRefund(e.TransactionID, e.Lines); r != nil {
		return r
	}
	for _, l := range e.Lines {
		t.RefundedMinor += takeBack(t.Lines, l.ProductID, l.Quantity)
	}
	if e.RefundedMinor != nil && *e.RefundedMinor != t.RefundedMinor {
		return fmt.Errorf("transaction %s: refunded %d in all, the event says %d", e.TransactionID, t.RefundedMinor, *e.RefundedMinor)
	}
	t.Status = e.To
	return nil
}
