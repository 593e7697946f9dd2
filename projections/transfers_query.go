package projections

import (
	"context"
	"fmt"

	"bms/domain"
)

// Transfer is a transfer between branches. Its status is one of the
// domain.TransferState…: dispatched until the receiving branch knows of it,
// then in_transit, received, cancelled or refused.
type Transfer struct {
	TransferID   string `json:"transferId"`
	FromBranchID string `json:"fromBranchId"`
	ToBranchID   string `json:"toBranchId"`
	Status       string `json:"status"`
	// Reason is the reject code for which it was refused.
	Reason string            `json:"reason,omitempty"`
	Lines  []TransferredLine `json:"lines"`
	UserID string            `json:"userId,omitempty"` // who sent it
	// DispatchedAt and ChangedAt are the times of its first and last event.
	DispatchedAt string `json:"dispatchedAt"`
	ChangedAt    string `json:"changedAt"`
	// Pos is where it was dispatched.
	Pos domain.Position `json:"pos"`
}

// TransferredLine is a product of a transfer. Quantity is always the sum of
// Received, Damaged, Returned and InTransit, which includes what is on its way
// back. WrittenOff is how much of Returned didn't get into stock.
type TransferredLine struct {
	ProductID  string `json:"productId"`
	Quantity   int64  `json:"quantity"`
	Received   int64  `json:"received"`
	Damaged    int64  `json:"damaged"`
	Returned   int64  `json:"returned"`
	WrittenOff int64  `json:"writtenOff,omitempty"`
	InTransit  int64  `json:"inTransit"`
}

// Values of TransfersQuery.Direction.
const (
	TransfersIn  = "in"
	TransfersOut = "out"
)

// TransfersQuery selects transfers from and to a branch, newest (by log order)
// first.
type TransfersQuery struct {
	BranchID string
	// Direction, if not empty, selects those to the branch (TransfersIn) or
	// from it (TransfersOut), Status those in that status.
	Direction, Status string
	Cursor            string
	// Limit is DefaultLimit if zero and at most MaxLimit.
	Limit int
}

func (v *snapshot) transfer(r row) (Transfer, error) {
	t, err := readTransfer(r)
	return Transfer{
		TransferID: t.id, FromBranchID: t.sender, ToBranchID: t.receiver, Status: t.status, Reason: t.reason, Lines: t.lines,
		UserID: t.user, DispatchedAt: timestamp(t.at), ChangedAt: timestamp(t.changed), Pos: v.at(t.pos),
	}, err
}

// Transfers lists transfers. Errors: ErrBadCursor, ErrUnavailable.
func (s *Set) Transfers(ctx context.Context, q TransfersQuery) (Page[Transfer], error) {
	return list(ctx, s, Transfers, "transfers", q.Cursor, q.Limit,
		func(t Transfer) string { return t.Pos.String() },
		func(v *snapshot, after string, limit int64, add func(Transfer)) error {
			before, err := keyAfter(after, endOfTime)
			if err != nil {
				return err
			}
			// No transfer is from a branch to itself, hence none is twice.
			const half = "SELECT * FROM (SELECT " + transferColumns + " FROM transfers WHERE ? AND %s = ? AND pos < ? AND (? = '' OR status = ?) ORDER BY pos DESC LIMIT ?)"
			return v.query(ctx, func(r row) error {
				t, err := v.transfer(r)
				add(t)
				return err
			}, fmt.Sprintf(half+" UNION ALL "+half+" ORDER BY pos DESC LIMIT ?", "sender", "receiver"),
				flag(q.Direction != TransfersIn), q.BranchID, before, q.Status, q.Status, limit,
				flag(q.Direction != TransfersOut), q.BranchID, before, q.Status, q.Status, limit,
				limit)
		})
}

// Transfer gives one transfer from or to a branch and the position of the
// answer, or ErrNotFound.
func (s *Set) Transfer(ctx context.Context, branchID, transferID string) (Transfer, domain.Position, error) {
	var t Transfer
	pos, err := s.view(ctx, Transfers, func(v *snapshot) error {
		found, err := v.one(ctx, func(r row) (err error) {
			t, err = v.transfer(r)
			return err
		}, "SELECT "+transferColumns+" FROM transfers WHERE transfer = ? AND ? IN (sender, receiver)", transferID, branchID)
		if err == nil && !found {
			err = ErrNotFound
		}
		return err
	})
	return t, pos, err
}
