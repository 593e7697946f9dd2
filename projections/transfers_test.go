package projections

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"bms/domain"
)

// send dispatches a transfer and returns its id.
func (s *shop) send(from, to string, lines ...domain.TransferLine) string {
	s.t.Helper()
	c := s.must(domain.CommandDispatchTransfer, from, domain.DispatchTransfer{ToBranchID: to, Lines: lines})
	return payload(s.t.(*testing.T), &c.Events[0]).(domain.TransferDispatched).TransferID
}

func TestTransfersAsBothBranchesKnowThem(t *testing.T) {
	shop := newShop(t)
	for _, b := range []string{"b1", "b2"} {
		shop.open(b)
		shop.product(b, "p1", 100, 5)
		shop.product(b, "p2", 100, 5)
	}
	line := func(product string, quantity int64) domain.TransferLine {
		return domain.TransferLine{ProductID: product, Quantity: quantity}
	}
	arrived := shop.send("b1", "b2", line("p1", 10), line("p2", 5), line("p1", 2))
	shop.must(domain.CommandReceiveTransfer, "b2", domain.ReceiveTransfer{TransferID: arrived})
	partly := shop.send("b1", "b2", line("p1", 10), line("p2", 5))
	shop.must(domain.CommandReceiveTransfer, "b2", domain.ReceiveTransfer{TransferID: partly, Lines: &[]domain.ReceivedLine{
		{ProductID: "p1", Received: 3, Damaged: 1}, {ProductID: "p1", Received: 1},
	}})
	cancelled := shop.send("b2", "b1", line("p1", 10))
	shop.must(domain.CommandReceiveTransfer, "b1", domain.ReceiveTransfer{TransferID: cancelled, Lines: &[]domain.ReceivedLine{{ProductID: "p1", Received: 4}}})
	shop.must(domain.CommandCancelTransfer, "b2", domain.CancelTransfer{TransferID: cancelled})
	refused := shop.send("b1", "nowhere", line("p2", 7))
	shop.must(domain.CommandDeleteProduct, "b1", domain.DeleteProduct{ProductID: "p2"})
	shop.leaves = true
	leaving := shop.send("b1", "b2", line("p1", 1))
	dispatched := shop.log.Head()

	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	for id, want := range map[string]Transfer{
		arrived: {FromBranchID: "b1", ToBranchID: "b2", Status: domain.TransferStateReceived, Lines: []TransferredLine{
			{ProductID: "p1", Quantity: 12, Received: 12}, {ProductID: "p2", Quantity: 5, Received: 5},
		}},
		partly: {FromBranchID: "b1", ToBranchID: "b2", Status: domain.TransferStateInTransit, Lines: []TransferredLine{
			{ProductID: "p1", Quantity: 10, Received: 4, Damaged: 1, InTransit: 5}, {ProductID: "p2", Quantity: 5, InTransit: 5},
		}},
		cancelled: {FromBranchID: "b2", ToBranchID: "b1", Status: domain.TransferStateCancelled, Lines: []TransferredLine{
			{ProductID: "p1", Quantity: 10, Received: 4, Returned: 6},
		}},
		refused: {FromBranchID: "b1", ToBranchID: "nowhere", Status: domain.TransferStateRefused, Reason: domain.CodeUnknownBranch, Lines: []TransferredLine{
			{ProductID: "p2", Quantity: 7, Returned: 7},
		}},
		leaving: {FromBranchID: "b1", ToBranchID: "b2", Status: domain.TransferStateDispatched, Lines: []TransferredLine{
			{ProductID: "p1", Quantity: 1, InTransit: 1},
		}},
	} {
		got, pos, err := r.Transfer(t.Context(), want.FromBranchID, id)
		if err != nil || pos != shop.log.Head() {
			t.Fatalf("transfer %s at %s, error %v; want it at %s", id, pos, err, shop.log.Head())
		}
		other, _, err := r.Transfer(t.Context(), want.ToBranchID, id)
		if err != nil || !reflect.DeepEqual(other, got) {
			t.Errorf("the other branch is told %+v, %v; want %+v", other, err, got)
		}
		if _, _, err := r.Transfer(t.Context(), "b3", id); !errors.Is(err, ErrNotFound) {
			t.Errorf("a stranger is told %v, want ErrNotFound", err)
		}
		if got.UserID != "boss" || got.DispatchedAt == "" || got.ChangedAt < got.DispatchedAt {
			t.Errorf("transfer %+v lacks who and when", got)
		}
		if id == leaving && got.Pos.Seq != dispatched.Seq {
			t.Errorf("it was dispatched at %s, want %s", got.Pos, dispatched)
		}
		want.TransferID, want.UserID, want.DispatchedAt, want.ChangedAt, want.Pos = id, got.UserID, got.DispatchedAt, got.ChangedAt, got.Pos
		if !reflect.DeepEqual(got, want) {
			t.Errorf("transfer is\n     %+v\nwant %+v", got, want)
		}
	}
	for q, want := range map[TransfersQuery][]string{
		{BranchID: "b1"}: {leaving, refused, cancelled, partly, arrived},
		{BranchID: "b2"}: {leaving, cancelled, partly, arrived},
		{BranchID: "b1", Direction: TransfersOut}:    {leaving, refused, partly, arrived},
		{BranchID: "b1", Direction: TransfersIn}:     {cancelled},
		{BranchID: "b2", Status: "received"}:         {arrived},
		{BranchID: "nowhere"}:                        {refused},
		{BranchID: "b3"}:                             nil,
		{BranchID: "b1", Limit: 2, Direction: "any"}: {leaving, refused, cancelled, partly, arrived},
	} {
		got, _ := pages(t, func(c string) (Page[Transfer], error) {
			q.Cursor = c
			return r.Transfers(t.Context(), q)
		})
		if ids := each(got, func(t Transfer) string { return t.TransferID }); !slices.Equal(ids, want) {
			t.Errorf("transfers with %+v are %v, want %v", q, ids, want)
		}
	}
	if _, err := r.Transfers(t.Context(), TransfersQuery{BranchID: "b1", Cursor: cursor("transfers", "no position")}); !errors.Is(err, ErrBadCursor) {
		t.Errorf("cursor that is no position: %v, want ErrBadCursor", err)
	}
}

// What the transfers say is in transit is what the branches say, after whatever
// happened.
func TestTransfersAgreeWithTheBranches(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(21, 22)), 3000)
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	statuses := map[string]int{}
	for i := range 4 {
		branch := fmt.Sprintf("b%d", i)
		state, ok := shop.states[domain.StreamOfBranch(branch)].(*domain.Branch)
		if !ok {
			continue
		}
		listed, _ := pages(t, func(c string) (Page[Transfer], error) {
			return r.Transfers(t.Context(), TransfersQuery{BranchID: branch, Cursor: c, Limit: 7})
		})
		if len(listed) != len(state.Transfers) {
			t.Errorf("%s has %d transfers, listed are %d", branch, len(state.Transfers), len(listed))
		}
		for _, got := range listed {
			statuses[got.Status]++
			for _, l := range got.Lines {
				if l.Quantity != l.Received+l.Damaged+l.Returned+l.InTransit {
					t.Errorf("transfer %s: %+v doesn't add up", got.TransferID, l)
				}
			}
			if got.ToBranchID != branch {
				continue
			}
			known := state.Transfers[got.TransferID]
			if known.Status != got.Status {
				t.Errorf("transfer %s is %s, listed as %s", got.TransferID, known.Status, got.Status)
			}
			for j, l := range known.Lines {
				if g := got.Lines[j]; l.ProductID != g.ProductID || l.Quantity != g.Quantity || l.Received != g.Received || l.Damaged != g.Damaged {
					t.Errorf("transfer %s: line %+v, listed as %+v", got.TransferID, l, g)
				}
			}
		}
	}
	for _, status := range []string{domain.TransferStateReceived, domain.TransferStateCancelled, domain.TransferStateRefused, domain.TransferStateInTransit} {
		if statuses[status] == 0 {
			t.Errorf("no transfer is %s, in %v: the test shows little", status, statuses)
		}
	}
}
