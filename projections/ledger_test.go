package projections

import (
	"errors"
	"slices"
	"testing"
	"time"

	"bms/domain"
)

func TestLedgerTellsTheLevelAtAnyPoint(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	opened := shop.now
	shop.product("b1", "p1", 100, 5)
	shop.product("b1", "p2", 7, 5)
	for n := range 40 {
		shop.adjust("b1", "p1", int64(n%5)*2-5)
		shop.adjust("b1", "p2", 1)
	}
	late := shop.must(domain.CommandCreateTransaction, "b1", domain.CreateTransaction{
		TransactionID: "t1", Kind: domain.KindSale, Status: domain.StatusCompleted, OccurredAt: "2026-11-20T10:00:00Z",
		Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: 3}},
	})
	// Decided on a node whose clock is behind.
	shop.now = shop.now.Add(-10 * time.Second)
	shop.adjust("b1", "p1", 5)
	shop.now = shop.now.Add(time.Minute)
	shop.adjust("b1", "p1", 6)
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	ctx := t.Context()

	ask := func(q LedgerQuery) Ledger {
		t.Helper()
		q.BranchID, q.ProductID, q.Limit = "b1", "p1", MaxLimit
		l, err := r.Ledger(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	whole := ask(LedgerQuery{})
	if whole.Stock != nil {
		t.Errorf("a level is given without a point: %d", *whole.Stock)
	}
	for i, e := range whole.Items {
		at := ask(LedgerQuery{AsOfPosition: &e.Pos})
		if *at.Stock != e.Stock || len(at.Items) != len(whole.Items)-i {
			t.Errorf("as of %s: %d after %d changes, want %d after %d", e.Pos, *at.Stock, len(at.Items), e.Stock, len(whole.Items)-i)
		}
	}
	before := ask(LedgerQuery{AsOfTime: &opened})
	if *before.Stock != 0 || len(before.Items) != 0 {
		t.Errorf("before the first change: %d after %d changes, want 0 after 0", *before.Stock, len(before.Items))
	}
	// By time, against the log: the last change up to which all were decided
	// by then.
	for at := opened; at.Before(shop.now.Add(time.Second)); at = at.Add(900 * time.Millisecond) {
		want := int64(0)
	changes:
		for _, c := range shop.log.All() {
			for i := range c.Events {
				if p, ok := payload(t, &c.Events[i]).(domain.InventoryUpdated); ok && p.ProductID == "p1" {
					if c.Events[i].At.UnixMilli() > at.UnixMilli() {
						break changes
					}
					want = p.Stock
				}
			}
		}
		if got := ask(LedgerQuery{AsOfTime: &at}); *got.Stock != want {
			t.Errorf("as of %s: %d, want %d", at, *got.Stock, want)
		}
	}
	i := slices.IndexFunc(whole.Items, func(e LedgerEntry) bool { return e.TransactionID != nil && *e.TransactionID == "t1" })
	if i < 0 || whole.Items[i].OccurredAt != "2026-11-20T10:00:00.000Z" || whole.Items[i].Reason != domain.ReasonSale {
		t.Errorf("the sale's change is number %d of %+v, want it at the time it occurred", i, whole.Items)
	}
	if e := whole.Items[i]; e.Ref != nil {
		t.Errorf("the sale's change has the reference %q, want none", *e.Ref)
	}
	if e := whole.Items[0]; e.TransactionID != nil || e.Ref == nil || *e.Ref != "r1" || e.Reason != "damaged" || e.OccurredAt != shop.now.Format(domain.TimestampFormat) {
		t.Errorf("the last change is %+v, want reason, ref and time", e)
	}
	foreign := late.Position
	foreign.Epoch++
	if _, err := r.Ledger(ctx, LedgerQuery{BranchID: "b1", ProductID: "p1", AsOfPosition: &foreign}); !errors.Is(err, domain.ErrUnknownPosition) {
		t.Errorf("as of a foreign position: %v, want ErrUnknownPosition", err)
	}
	if _, err := r.Ledger(ctx, LedgerQuery{BranchID: "b1", ProductID: "p9"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("ledger of an unknown product: %v, want ErrNotFound", err)
	}
}
