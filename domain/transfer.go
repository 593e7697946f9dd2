package domain

import (
	"fmt"
	"strings"
)

// States of a transfer. Each of the two branches knows its own side:
//
//	sender:   dispatched ──→ returned (what did not arrive)
//	receiver: in_transit ──→ received (all of it)
//	             └→ cancelled (what was in transit still)
//	          refused
//
// Only the receiving branch decides what becomes of a transfer, hence a receipt
// and a cancellation can't both have the same units. Between the two streams go
// commands of the system (FollowUps). At every moment, dispatched units are
// received, damaged, returned, or in transit.
const (
	TransferStateDispatched = "dispatched"
	TransferStateReturned   = "returned"
	TransferStateInTransit  = "in_transit"
	TransferStateReceived   = "received"
	TransferStateCancelled  = "cancelled"
	TransferStateRefused    = "refused"
)

// TransferState is a transfer as one of its branches knows it.
type TransferState struct {
	FromBranchID string        `json:"fromBranchId"`
	ToBranchID   string        `json:"toBranchId"`
	Status       string        `json:"status"`
	Lines        []TransitLine `json:"lines"` // each product once
}

// TransitLine is a product of a transfer: dispatched units, and how many of
// them have come to the receiving branch.
type TransitLine struct {
	ProductID string `json:"productId"`
	Quantity  int64  `json:"quantity"`
	Received  int64  `json:"received"`
	Damaged   int64  `json:"damaged"`
}

// DispatchResult is the result of transfer.dispatch.
type DispatchResult struct {
	TransferID string `json:"transferId"`
}

// ReceiveResult is the result of transfer.receive: what this receipt has taken
// in, and in_transit as long as something is. Damaged units are in Lines and
// not in stock.
type ReceiveResult struct {
	TransferID string         `json:"transferId"`
	Status     string         `json:"status"`
	Lines      []ReceivedLine `json:"lines"`
	InTransit  []TransferLine `json:"inTransit"`
}

// CancelResult is the result of transfer.cancel: what goes back to the sender.
type CancelResult struct {
	TransferID string         `json:"transferId"`
	Status     string         `json:"status"`
	Lines      []TransferLine `json:"lines"`
}

// TransitShortLine is one entry of transfer_state's lines: what was said to
// have come of a product, and what is in transit of it.
type TransitShortLine struct {
	ProductID string `json:"productId"`
	InTransit int64  `json:"inTransit"`
	Asked     int64  `json:"asked"`
}

// A transfer's id is a UUID in 32 hex digits, a hyphen and the id of the
// receiving branch: whoever has it knows which stream decides.
const transferIDPrefix = 32

const msgTransferID = "must be an id that transfer.dispatch gave"

func transferID(c Command, to string) string {
	return strings.ReplaceAll(madeID(c, "transfer"), "-", "") + "-" + to
}

// transferDestination reads the receiving branch from a transfer's id; empty
// and false for what is none.
func transferDestination(id string) (branchID string, ok bool) {
	if len(id) <= transferIDPrefix || id[transferIDPrefix] != '-' || !ValidID(id[transferIDPrefix+1:]) {
		return "", false
	}
	for _, c := range id[:transferIDPrefix] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", false
		}
	}
	return id[transferIDPrefix+1:], true
}

// dispatchTransfer gives the internal transfer:dispatched and an
// inventory:updated "transfer-out" for each line. Whether the other branch
// exists and is open is for that one to say; if it refuses, the units come
// back.
func (b *Branch) dispatchTransfer(c Command, body DispatchTransfer) (Decision, *Rejection) {
	movements, asked := make([]movement, len(body.Lines)), make([]movement, len(body.Lines))
	for i, l := range body.Lines {
		if _, r := b.product(l.ProductID); r != nil {
			return Decision{}, r
		}
		movements[i], asked[i] = movement{l.ProductID, -l.Quantity}, movement{l.ProductID, l.Quantity}
	}
	sums, r := sumByProduct(asked)
	if r != nil {
		return Decision{}, r
	}
	if r := b.mayMove(movements); r != nil {
		return Decision{}, r
	}
	id := transferID(c, body.ToBranchID)
	sent := TransferDispatched{TransferID: id, FromBranchID: b.ID, ToBranchID: body.ToBranchID, Lines: make([]TransferLine, len(sums))}
	for i, m := range sums {
		sent.Lines[i] = TransferLine{ProductID: m.productID, Quantity: m.delta}
	}
	facts := append(make([]Fact, 0, 1+len(movements)), Fact{BranchID: b.ID, Payload: sent})
	facts = b.moveAll(facts, movements, InventoryUpdated{Reason: ReasonTransferOut, Ref: id})
	return Decision{Events: facts, Result: DispatchResult{TransferID: id}}, nil
}

// receiveTransfer gives the internal transfer:received and, for each line, an
// inventory:updated "transfer-in" of all that came and, if some of it is
// damaged, a "transfer-damage" that takes that out again.
func (b *Branch) receiveTransfer(body ReceiveTransfer) (Decision, *Rejection) {
	t, known := b.Transfers[body.TransferID]
	if !known || t.ToBranchID != b.ID {
		return Decision{}, b.unknownTransfer(body.TransferID)
	}
	if t.Status != TransferStateInTransit {
		return Decision{}, t.over(body.TransferID, "received")
	}
	var lines []ReceivedLine
	if body.Lines == nil {
		for _, l := range t.inTransit() {
			lines = append(lines, ReceivedLine{ProductID: l.ProductID, Received: l.Quantity})
		}
	} else {
		lines = *body.Lines
	}
	after := t.clone()
	if r := after.receive(body.TransferID, lines); r != nil {
		return Decision{}, r
	}
	facts := append(make([]Fact, 0, 1+len(lines)), Fact{BranchID: b.ID, Payload: TransferReceived{TransferID: body.TransferID, Lines: lines}})
	products := draft{branch: b}
	for _, l := range lines {
		if _, r := b.product(l.ProductID); r != nil {
			return Decision{}, r
		}
		p, came := products.product(l.ProductID), l.Received+l.Damaged
		if _, r := p.take(came); r != nil {
			return Decision{}, r
		}
		facts = append(facts, b.move(p, came, InventoryUpdated{Reason: ReasonTransferIn, Ref: body.TransferID}))
		if l.Damaged > 0 {
			facts = append(facts, b.move(p, -l.Damaged, InventoryUpdated{Reason: ReasonTransferDamage, Ref: body.TransferID}))
		}
	}
	return Decision{Events: facts, Result: ReceiveResult{
		TransferID: body.TransferID, Status: after.Status, Lines: lines, InTransit: after.inTransit(),
	}}, nil
}

// cancelTransfer gives the internal transfer:withdrawn, from which the units'
// return follows. It is decided by the receiving branch in the name of the
// sending one, whether the former is open or not.
func (b *Branch) cancelTransfer(c Command, body CancelTransfer) (Decision, *Rejection) {
	t, known := b.Transfers[body.TransferID]
	if !known || t.ToBranchID != b.ID || t.FromBranchID != c.BranchID {
		return Decision{}, b.unknownTransfer(body.TransferID)
	}
	if t.Status != TransferStateInTransit {
		return Decision{}, t.over(body.TransferID, "cancelled")
	}
	left := t.inTransit()
	return Decision{
		Events: []Fact{{BranchID: b.ID, Payload: TransferWithdrawn{
			TransferID: body.TransferID, FromBranchID: t.FromBranchID, ToBranchID: t.ToBranchID, Lines: left,
		}}},
		Result: CancelResult{TransferID: body.TransferID, Status: TransferStateCancelled, Lines: left},
	}, nil
}

func (b *Branch) unknownTransfer(id string) *Rejection {
	return Reject(CodeUnknownTransfer, "there is no transfer %.97s between these branches; one that was dispatched just now is on its way here", id)
}

// over rejects what would have to be done while the transfer was in transit.
func (t *TransferState) over(id, what string) *Rejection {
	r := Reject(CodeTransferState, "transfer %s is %s and can't be %s", id, t.Status, what)
	r.Details = map[string]any{"state": t.Status}
	return r
}

// inTransit lists what has not come yet, never nil.
func (t *TransferState) inTransit() []TransferLine {
	left := make([]TransferLine, 0, len(t.Lines))
	for _, l := range t.Lines {
		if n := l.left(); n > 0 && t.Status == TransferStateInTransit {
			left = append(left, TransferLine{ProductID: l.ProductID, Quantity: n})
		}
	}
	return left
}

func (l TransitLine) left() int64 { return l.Quantity - l.Received - l.Damaged }

func (t *TransferState) clone() *TransferState {
	c := *t
	c.Lines = append([]TransitLine(nil), t.Lines...)
	return &c
}

// receive takes lines in, or names every product of which more is said to have
// come than is in transit. The transfer is received when nothing is left.
func (t *TransferState) receive(id string, lines []ReceivedLine) *Rejection {
	asked := make([]movement, 0, 2*len(lines))
	for _, l := range lines {
		asked = append(asked, movement{l.ProductID, l.Received}, movement{l.ProductID, l.Damaged})
	}
	sums, r := sumByProduct(asked)
	if r != nil {
		return r
	}
	place := make(map[string]int, len(t.Lines))
	for i, l := range t.Lines {
		place[l.ProductID] = i
	}
	var short []TransitShortLine
	for _, m := range sums {
		left := int64(0)
		if i, sent := place[m.productID]; sent {
			left = t.Lines[i].left()
		}
		if m.delta > left {
			short = append(short, TransitShortLine{ProductID: m.productID, InTransit: left, Asked: m.delta})
		}
	}
	if short != nil {
		r := Reject(CodeTransferState, "more has come of %d product(s) than is in transit, see lines", len(short))
		r.Details = map[string]any{"state": t.Status, "lines": short}
		return r
	}
	for _, l := range lines {
		line := &t.Lines[place[l.ProductID]]
		line.Received += l.Received
		line.Damaged += l.Damaged
	}
	if len(t.inTransit()) == 0 {
		t.Status = TransferStateReceived
	}
	return nil
}

func (b *Branch) evolveDispatched(e TransferDispatched) error {
	return b.begin(e.TransferID, e.FromBranchID, e.ToBranchID, e.FromBranchID, TransferStateDispatched, e.Lines)
}

func (b *Branch) evolveAnnounced(e TransferAnnounced) error {
	return b.begin(e.TransferID, e.FromBranchID, e.ToBranchID, e.ToBranchID, TransferStateInTransit, e.Lines)
}

func (b *Branch) evolveRefused(e TransferRefused) error {
	return b.begin(e.TransferID, e.FromBranchID, e.ToBranchID, e.ToBranchID, TransferStateRefused, e.Lines)
}

// begin notes a transfer on the side of one of its branches.
func (b *Branch) begin(id, from, to, side, status string, lines []TransferLine) error {
	if _, known := b.Transfers[id]; known || side != b.ID {
		return fmt.Errorf("transfer %s from %s to %s is known: %t", id, from, to, known)
	}
	t := &TransferState{FromBranchID: from, ToBranchID: to, Status: status, Lines: make([]TransitLine, len(lines))}
	for i, l := range lines {
		t.Lines[i] = TransitLine{ProductID: l.ProductID, Quantity: l.Quantity}
	}
	b.Transfers[id] = t
	return nil
}

func (b *Branch) evolveReceived(e TransferReceived) error {
	t, err := b.transferIn(e.TransferID, TransferStateInTransit)
	if err != nil {
		return err
	}
	if r := t.receive(e.TransferID, e.Lines); r != nil {
		return r
	}
	return nil
}

func (b *Branch) evolveWithdrawn(e TransferWithdrawn) error {
	t, err := b.transferIn(e.TransferID, TransferStateInTransit)
	if err != nil {
		return err
	}
	t.Status = TransferStateCancelled
	return nil
}

func (b *Branch) evolveReturned(e TransferReturned) error {
	t, err := b.transferIn(e.TransferID, TransferStateDispatched)
	if err != nil {
		return err
	}
	t.Status = TransferStateReturned
	return nil
}

func (b *Branch) transferIn(id, status string) (*TransferState, error) {
	t, known := b.Transfers[id]
	if !known || t.Status != status {
		return nil, fmt.Errorf("transfer %s is not %s", id, status)
	}
	return t, nil
}

func (v *validator) dispatch(b DispatchTransfer, from string) {
	v.id("toBranchId", b.ToBranchID)
	v.check(b.ToBranchID != from, "toBranchId", "must be another branch")
	v.transferLines(b.Lines)
}

func (v *validator) transferLines(lines []TransferLine) {
	v.check(len(lines) > 0, "lines", "must have at least one line")
	for i, l := range lines {
		if !ValidID(l.ProductID) {
			v.check(false, fmt.Sprintf("lines[%d].productId", i), msgID)
		}
		if l.Quantity < 1 {
			v.quantity(false, fmt.Sprintf("lines[%d].quantity", i), "must be at least 1")
		}
	}
}

func (v *validator) receive(b ReceiveTransfer) {
	v.transferID(b.TransferID)
	if b.Lines == nil {
		return
	}
	v.check(len(*b.Lines) > 0, "lines", "must have at least one line; leave them out for all that is in transit")
	for i, l := range *b.Lines {
		if !ValidID(l.ProductID) {
			v.check(false, fmt.Sprintf("lines[%d].productId", i), msgID)
		}
		if l.Received < 0 {
			v.quantity(false, fmt.Sprintf("lines[%d].received", i), "must not be negative")
		}
		if l.Damaged < 0 {
			v.quantity(false, fmt.Sprintf("lines[%d].damaged", i), "must not be negative")
		}
		if l.Received == 0 && l.Damaged == 0 {
			v.quantity(false, fmt.Sprintf("lines[%d].received", i), "or damaged must be at least 1")
		}
	}
}

func (v *validator) transferID(id string) {
	_, ok := transferDestination(id)
	v.check(ok, "transferId", msgTransferID)
}
