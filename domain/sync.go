package domain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Phases of sync:status.
const (
	SyncApplying = "applying" // so far, of a large batch
	SyncDone     = "done"
)

// Bounds of a batch. They keep its events within one commit: one per operation
// and per line, and a few more.
const (
	MaxSyncOperations = 1000
	MaxSyncLines      = 16384 // of all operations together
	// MaxSeq is the greatest sequence, the greatest number that JavaScript
	// counts to.
	MaxSeq = 1<<53 - 1
)

const (
	syncProgressEvery = 250 // operations
	maxShownConflicts = 10  // products in a notification
)

// DeviceState is what a branch has had of a device's operations.
type DeviceState struct {
	// LastSeq is the sequence up to which the device need not send again.
	LastSeq int64 `json:"lastSeq"`
	// Handled is every sequence that was applied or refused.
	Handled []SeqRange `json:"handled"`
}

// submitSync applies a device's sales, each sequence once, in ascending order.
// It gives for each one transaction:created and an inventory:updated for each
// line of a completed one, whatever stock that leaves. At the end come the
// internal sync:handled, a system:notification to the branch if there were
// conflicts, and sync:status, which a large batch also has after every 250
// operations. The result is the last sync:status.
//
//   - A conflict is a sale that leaves stock below zero where the product's
//     policy is deny. It is applied: it has happened. The notification names
//     the products to count, the low-stock alerts of level negative come as for
//     any stock.
//   - What can't be applied at all (an unknown product, no quantity, a time in
//     the future, an id that is in use…) is refused, listed in errors, and
//     handled: it will not be judged again.
//   - A sequence that was handled before, in the same batch or another, is a
//     duplicate and has no effect.
//   - Nothing is lost for a gap. Within a batch a missing sequence stands for
//     no sale; should one come later, it is applied. A batch that begins beyond
//     what the branch has heard of is applied, too, but lastSeq stays before
//     the gap until that is filled. A device that the branch hears of for the
//     first time may begin anywhere.
func (b *Branch) submitSync(c Command, body SubmitSync) (Decision, *Rejection) {
	if r := maySync(c.Identity, body.DeviceID); r != nil {
		return Decision{}, r
	}
	s := b.newSyncing(c, body)
	for i, op := range s.operations {
		if i > 0 && i%syncProgressEvery == 0 {
			s.facts = append(s.facts, Fact{BranchID: b.ID, Payload: s.status})
		}
		s.handle(op)
	}
	return s.finish(), nil
}

// syncing is a batch being decided.
type syncing struct {
	branch     *Branch
	command    Command
	operations []SyncOperation // by sequence
	device     DeviceState     // as it was before
	connected  bool            // nothing is missing before the batch

	after     draft
	sold      map[string]bool // transaction ids of the batch
	handled   seqs            // by the batch
	conflicts []string        // products, in order of first conflict
	facts     []Fact
	status    SyncStatus
	errors    []SyncError
}

func (b *Branch) newSyncing(c Command, body SubmitSync) *syncing {
	s := &syncing{
		branch: b, command: c, operations: slices.Clone(body.Operations),
		device: DeviceState{LastSeq: body.FromSeq - 1}, after: draft{branch: b}, sold: map[string]bool{},
		errors: []SyncError{},
	}
	if d, known := b.Devices[body.DeviceID]; known {
		s.device = *d
	}
	s.connected = body.FromSeq <= s.device.LastSeq+1
	slices.SortStableFunc(s.operations, func(a, b SyncOperation) int { return cmp.Compare(a.Seq, b.Seq) })
	events := len(s.operations) + 3 + len(s.operations)/syncProgressEvery
	for _, op := range s.operations {
		events += len(op.Lines)
	}
	s.facts = make([]Fact, 0, events)
	s.status = SyncStatus{
		DeviceID: body.DeviceID, Phase: SyncApplying, Received: int64(len(body.Operations)), LastSeq: s.device.LastSeq,
		Errors: []SyncError{},
	}
	return s
}

func (s *syncing) handle(op SyncOperation) {
	if s.connected {
		s.status.LastSeq = max(s.status.LastSeq, op.Seq)
	}
	if n := len(s.handled); seqs(s.device.Handled).has(op.Seq) || n > 0 && s.handled[n-1].To == op.Seq {
		s.status.Duplicates++
		return
	} else if n > 0 && s.handled[n-1].To == op.Seq-1 {
		s.handled[n-1].To = op.Seq
	} else {
		s.handled = append(s.handled, SeqRange{op.Seq, op.Seq})
	}
	if r := s.apply(op); r != nil {
		s.status.Rejected++
		s.errors = append(s.errors, SyncError{Seq: op.Seq, Code: r.Code, Message: syncMessage(r)})
		return
	}
	s.status.Applied++
}

// apply adds the events of a sale, all or none.
func (s *syncing) apply(op SyncOperation) *Rejection {
	sale := CreateTransaction{
		TransactionID: op.TransactionID, Kind: op.Kind, Status: op.Status, Lines: op.Lines,
		DeviceID: s.status.DeviceID, OccurredAt: op.OccurredAt,
	}
	if sale.Kind == "" {
		sale.Kind = KindSale
	}
	if sale.Status == "" {
		sale.Status = StatusCompleted
	}
	if r := s.rules(op, sale); r != nil {
		return r
	}
	occurred, r := occurredAt(s.command.At, sale.OccurredAt, anyAge)
	if r != nil {
		return r
	}
	id := op.id(s.command, s.status.DeviceID)
	if t, taken := s.branch.Transactions[id]; taken {
		return invalidTransition(id, t.Status, sale.Status)
	}
	if s.sold[id] {
		return invalidTransition(id, sale.Status, sale.Status)
	}
	lines, total, currency, r := s.branch.price(sale.Lines)
	if r != nil {
		return r
	}
	if sale.Status == StatusCompleted {
		if r := s.mayMove(lines); r != nil {
			return r
		}
	}
	s.sold[id] = true
	s.facts = append(s.facts, Fact{BranchID: s.branch.ID, Payload: TransactionCreated{
		TransactionID: id, Kind: sale.Kind, Status: sale.Status, Lines: lines,
		TotalMinor: total, Currency: currency, DeviceID: sale.DeviceID, OccurredAt: occurred,
	}})
	if sale.Status == StatusCompleted {
		s.move(id, lines)
	}
	return nil
}

// id is the sale's, given or made: the same sale gets the same id from whatever
// batch brings it, but for the time in it.
func (op SyncOperation) id(c Command, deviceID string) string {
	if op.TransactionID == "" {
		return EventID(c.At, deviceID, fmt.Sprintf("%s\x00sync\x00%d", c.BranchID, op.Seq), 0)
	}
	return op.TransactionID
}

// rules are those of a transaction, and that it is a sale of this device.
func (s *syncing) rules(op SyncOperation, sale CreateTransaction) *Rejection {
	if len(sale.Lines) > MaxLines {
		return tooMany("lines", len(sale.Lines), MaxLines)
	}
	var v validator
	v.check(op.DeviceID == "" || op.DeviceID == s.status.DeviceID, "deviceId", "differs from the batch's")
	v.check(sale.Kind == KindSale, "kind", "must be sale: nothing else is made offline")
	v.optionalID("transactionId", sale.TransactionID)
	v.oneOf("status", sale.Status, StatusCompleted, StatusPending)
	v.transactionLines(sale.Lines)
	return v.result()
}

// mayMove says whether stock stays within 64 bits, the one thing that a sale
// made offline is refused for.
func (s *syncing) mayMove(lines []Line) *Rejection {
	sold := make([]movement, len(lines))
	for i, l := range lines {
		sold[i] = movement{l.ProductID, -l.Quantity}
	}
	sums, r := sumByProduct(sold)
	if r != nil {
		return r
	}
	for _, m := range sums {
		if _, r := s.after.product(m.productID).take(m.delta); r != nil {
			return r
		}
	}
	return nil
}

func (s *syncing) move(id string, lines []Line) {
	conflict := false
	for _, l := range lines {
		p := s.after.product(l.ProductID)
		s.facts = append(s.facts, s.branch.move(p, -l.Quantity, InventoryUpdated{Reason: ReasonSale, TransactionID: id}))
		if p.Stock < 0 && p.NegativeStock == NegativeDeny {
			conflict = true
			if !slices.Contains(s.conflicts, p.ProductID) {
				s.conflicts = append(s.conflicts, p.ProductID)
			}
		}
	}
	if conflict {
		s.status.Conflicted++
	}
}

func (s *syncing) finish() Decision {
	b := s.branch
	if len(s.handled) > 0 {
		s.facts = append(s.facts, Fact{BranchID: b.ID, Payload: SyncHandled{DeviceID: s.status.DeviceID, Seqs: s.handled}})
	}
	if len(s.conflicts) > 0 {
		s.facts = append(s.facts, Fact{BranchID: b.ID, Payload: s.notification()})
	}
	s.status.Phase, s.status.Errors = SyncDone, s.errors
	if s.connected { // and what came after a gap before
		if i := seqs(s.device.Handled).at(s.status.LastSeq); i < len(s.device.Handled) && s.device.Handled[i].From <= s.status.LastSeq+1 {
			s.status.LastSeq = s.device.Handled[i].To
		}
	}
	s.facts = append(s.facts, Fact{BranchID: b.ID, Payload: s.status})
	return Decision{Events: s.facts, Result: s.status}
}

// notification tells the branch which products have less than nothing.
func (s *syncing) notification() SystemNotification {
	shown := s.conflicts[:min(len(s.conflicts), maxShownConflicts)]
	products := make([]string, len(shown))
	for i, id := range shown {
		products[i] = fmt.Sprintf("%s (%d)", id, s.after.product(id).Stock)
	}
	names := strings.Join(products, ", ")
	if more := len(s.conflicts) - len(shown); more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return SystemNotification{
		NotificationID: madeID(s.command, "notification"), Severity: SeverityWarning, Audience: RoomOfBranch(s.branch.ID),
		Title: "Stock below zero after offline sales",
		Message: fmt.Sprintf("%d sale(s) that device %s made offline took more than there was. Please count: %s.",
			s.status.Conflicted, s.status.DeviceID, names),
	}
}

// syncMessage says in one text why an operation was refused: errors[] has no
// place for the fields.
func syncMessage(r *Rejection) string {
	errs, _ := r.Details["errors"].([]FieldError)
	if len(errs) == 0 {
		return r.Message
	}
	return errs[0].Field + " " + errs[0].Message
}

func (b *Branch) evolveHandled(e SyncHandled) error {
	d, known := b.Devices[e.DeviceID]
	if !known {
		d = &DeviceState{}
		b.Devices[e.DeviceID] = d
	}
	for _, r := range e.Seqs {
		handled, err := seqs(d.Handled).add(r)
		if err != nil {
			return fmt.Errorf("device %s: %w", e.DeviceID, err)
		}
		d.Handled = handled
	}
	return nil
}

func (b *Branch) evolveSync(e SyncStatus) error {
	if e.Phase != SyncDone {
		return nil
	}
	d, known := b.Devices[e.DeviceID]
	if !known {
		return fmt.Errorf("device %s is done and has handled nothing", e.DeviceID)
	}
	d.LastSeq = e.LastSeq
	return nil
}

// sync checks the batch as such. Its operations are judged one by one when
// they are applied, since one that is not valid is refused alone.
func (v *validator) sync(b SubmitSync) *Rejection {
	if len(b.Operations) > MaxSyncOperations {
		return tooMany("operations", len(b.Operations), MaxSyncOperations)
	}
	lines := 0
	for _, op := range b.Operations {
		lines += len(op.Lines)
	}
	if lines > MaxSyncLines {
		return tooMany("lines of all operations", lines, MaxSyncLines)
	}
	v.id("deviceId", b.DeviceID)
	v.check(b.FromSeq >= 0 && b.FromSeq <= MaxSeq, "fromSeq", "must be 0 to 2^53-1")
	v.check(len(b.Operations) > 0, "operations", "must have at least one operation")
	for i, op := range b.Operations {
		if op.Seq < b.FromSeq || op.Seq > MaxSeq {
			v.check(false, fmt.Sprintf("operations[%d].seq", i), "must be fromSeq to 2^53-1")
		}
	}
	return nil
}
