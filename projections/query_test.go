package projections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bms/domain"
)

// pages reads a list to its end.
func pages[T any](t *testing.T, ask func(cursor string) (Page[T], error)) (all []T, sizes []int) {
	t.Helper()
	for cursor := ""; ; {
		page, err := ask(cursor)
		if err != nil {
			t.Fatal(err)
		}
		all, sizes = append(all, page.Items...), append(sizes, len(page.Items))
		if cursor = page.NextCursor; cursor == "" {
			return all, sizes
		}
	}
}

func TestListsComeInPages(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.open("b2")
	var ids []string
	for n := range 7 {
		id := fmt.Sprintf("p%d", n)
		ids = append(ids, id)
		shop.product("b1", id, 100, 5)
		shop.product("b2", id, 100, 5)
		shop.sell("b1", "t"+id, id, 1)
		shop.must(domain.CommandSetUser, "", domain.SetUser{UserID: "u" + id, Role: domain.RoleStaff, Branches: []string{"b1"}})
	}
	for range 6 {
		shop.adjust("b1", "p3", -20)
	}
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	ctx := t.Context()

	check := func(list string, got []string, sizes []int, want []string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s are %v, want %v", list, got, want)
		}
		if wantSizes := []int{3, 3, 1}; len(want) == 7 && !slices.Equal(sizes, wantSizes) {
			t.Errorf("pages of %s hold %v, want %v", list, sizes, wantSizes)
		}
	}
	products, sizes := pages(t, func(c string) (Page[domain.Product], error) {
		return r.Products(ctx, ProductsQuery{BranchID: "b1", Cursor: c, Limit: 3})
	})
	check("products", each(products, func(p domain.Product) string { return p.ProductID }), sizes, ids)
	levels, sizes := pages(t, func(c string) (Page[Level], error) {
		return r.Levels(ctx, LevelsQuery{BranchID: "b1", Cursor: c, Limit: 3})
	})
	check("levels", each(levels, func(l Level) string { return l.ProductID }), sizes, ids)
	transactions, sizes := pages(t, func(c string) (Page[Transaction], error) {
		return r.Transactions(ctx, TransactionsQuery{BranchID: "b1", Cursor: c, Limit: 3})
	})
	newest := slices.Clone(ids)
	slices.Reverse(newest)
	check("transactions", each(transactions, func(tx Transaction) string { return tx.TransactionID[1:] }), sizes, newest)
	ledger, sizes := pages(t, func(c string) (Page[LedgerEntry], error) {
		l, err := r.Ledger(ctx, LedgerQuery{BranchID: "b1", ProductID: "p3", Cursor: c, Limit: 3})
		return l.Page, err
	})
	check("stocks in the ledger", each(ledger, func(e LedgerEntry) string { return fmt.Sprint(e.Stock) }), sizes, []string{"-21", "-1", "19", "39", "59", "79", "99", "100"})
	branches, sizes := pages(t, func(c string) (Page[Branch], error) { return r.Branches(ctx, BranchesQuery{Cursor: c, Limit: 1}) })
	check("branches", each(branches, func(b Branch) string { return b.BranchID }), sizes, []string{"b1", "b2"})
	own, sizes := pages(t, func(c string) (Page[Branch], error) {
		return r.Branches(ctx, BranchesQuery{Only: []string{"b2", "b7"}, Cursor: c})
	})
	check("own branches", each(own, func(b Branch) string { return b.BranchID }), sizes, []string{"b2"})
	none, sizes := pages(t, func(c string) (Page[Branch], error) {
		return r.Branches(ctx, BranchesQuery{Only: []string{}, Cursor: c})
	})
	check("branches of nobody", each(none, func(b Branch) string { return b.BranchID }), sizes, nil)

	page, err := r.Products(ctx, ProductsQuery{BranchID: "b1", Limit: 2})
	if err != nil || page.Pos != shop.log.Head() {
		t.Errorf("products are at %s, error %v; want %s", page.Pos, err, shop.log.Head())
	}
	for _, bad := range []string{"x", "!", page.NextCursor[1:], cursor("levels", "p1"), cursor("products", "")} {
		if _, err := r.Products(ctx, ProductsQuery{BranchID: "b1", Cursor: bad}); !errors.Is(err, ErrBadCursor) {
			t.Errorf("cursor %q: %v, want ErrBadCursor", bad, err)
		}
	}
	for _, list := range []func(string) error{
		func(c string) error {
			_, err := r.Transactions(ctx, TransactionsQuery{BranchID: "b1", Cursor: c})
			return err
		},
		func(c string) error {
			_, err := r.Ledger(ctx, LedgerQuery{BranchID: "b1", ProductID: "p3", Cursor: c})
			return err
		},
	} {
		for _, name := range []string{"transactions", "ledger"} {
			if err := list(cursor(name, "no position")); !errors.Is(err, ErrBadCursor) {
				t.Errorf("cursor of %s that is no position: %v, want ErrBadCursor", name, err)
			}
		}
	}
}

func TestTheLagIsInEventsAndSeconds(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(99, 1)), 60)
	shop.open("b9")
	shop.product("b9", "p1", 10, 0)
	shop.adjust("b9", "p1", 1)
	commits, events := shop.log.All(), uint64(0)
	for _, c := range commits {
		events += uint64(len(c.Events))
	}
	now := commits[0].At.Add(time.Hour)
	c := config(t.TempDir(), shop.log)
	c.Now = func() time.Time { return now }
	alerter := holdAt(&c, Alerts, stepFolded, 1) // or its alerts lengthen the log meanwhile
	defer alerter.goOn()
	h := holdAt(&c, Inventory, stepFolded, 1)
	defer h.goOn()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range s.Status() { // nothing is at hand
		if st.LagEvents < uint64(len(commits)) || st.LagRecords != uint64(len(commits)) {
			t.Errorf("%s: %d events, %d records behind; want %d at least, %[4]d", st.Name, st.LagEvents, st.LagRecords, len(commits))
		}
	}
	r := runSet(t, s)
	<-h.reached
	if st := r.status(Inventory); st.LagEvents != events || st.LagSeconds != 3600 {
		t.Errorf("%d events, %v s behind with all at hand, want %d, 3600", st.LagEvents, st.LagSeconds, events)
	}
	shop.adjust("b9", "p1", 1)
	if st := r.status(Inventory); st.LagEvents != events+1 {
		t.Errorf("%d events behind with one more in the log, want %d", st.LagEvents, events+1)
	}
	h.goOn()
	alerter.goOn()
	r.settle(shop.log)
	if st := r.status(Inventory); st.LagEvents != 0 || st.LagSeconds != 0 {
		t.Errorf("%d events, %v s behind with all folded, want none", st.LagEvents, st.LagSeconds)
	}
}

// stuck is a log that can be read but not followed.
type stuck struct{ domain.Log }

func (stuck) Next(context.Context, uint64, int) ([]*domain.Commit, error) {
	return nil, domain.ErrLogUnavailable
}

func TestAProjectionThatFoldsNothingSaysForHowLong(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	now := shop.log.All()[0].At.Add(time.Hour)
	c := config(t.TempDir(), stuck{shop.log})
	c.Now = func() time.Time { return now }
	failed := make(chan struct{}, 1000)
	c.Observe.Failed = func(projection string, _ error) {
		if projection == Branches {
			failed <- struct{}{}
		}
	}
	r := run(t, c)
	<-failed
	<-failed // after the first was dealt with
	if st := r.status(Branches); st.State != StateFailed || st.LagSeconds != 3600 {
		t.Errorf("it is %s, %v s behind, want failed and 3600", st.State, st.LagSeconds)
	}
}

func each[T any](items []T, of func(T) string) []string {
	var all []string
	for _, item := range items {
		all = append(all, of(item))
	}
	return all
}

func TestProductsAreFound(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	create := func(id, sku, name string) {
		shop.must(domain.CommandCreateProduct, "b1", domain.CreateProduct{ProductID: id, SKU: sku, Name: name, PriceMinor: 1, Currency: "EUR"})
	}
	create("p1", "TEA-1", "Grüner Tee")
	create("p2", "TEA-2", "SCHWARZER TEE 100%")
	create("p3", "CUP_1", "Größe Ölkanne")
	create("p4", "TEA-3", "gone")
	shop.must(domain.CommandDeleteProduct, "b1", domain.DeleteProduct{ProductID: "p4"})
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	for q, want := range map[string][]string{
		"":     {"p1", "p2", "p3"},
		"tea":  {"p1", "p2"},
		"TEE":  {"p1", "p2"},
		"grÜn": {"p1"},
		"ÖLK":  {"p3"},
		"%":    {"p2"},
		"_":    {"p3"},
		"gone": nil,
	} {
		page, err := r.Products(t.Context(), ProductsQuery{BranchID: "b1", Q: q})
		if err != nil {
			t.Fatal(err)
		}
		if got := each(page.Items, func(p domain.Product) string { return p.ProductID }); !slices.Equal(got, want) {
			t.Errorf("products for %q are %v, want %v", q, got, want)
		}
	}
	p, _, err := r.Product(t.Context(), "b1", "p4")
	if err != nil || !p.Deleted || p.Name != "gone" {
		t.Errorf("deleted product is %+v, error %v", p, err)
	}
	if _, pos, err := r.Product(t.Context(), "b1", "p9"); !errors.Is(err, ErrNotFound) || pos != shop.log.Head() {
		t.Errorf("unknown product: %v at %s, want ErrNotFound at %s", err, pos, shop.log.Head())
	}
}

func TestTransactionsAndTheirStatus(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 100, 5)
	created := shop.must(domain.CommandCreateTransaction, "b1", domain.CreateTransaction{
		TransactionID: "t1", Kind: domain.KindSale, Status: domain.StatusPending, DeviceID: "till-1", Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: 4}},
	})
	shop.sell("b1", "t2", "p1", 1)
	shop.must(domain.CommandSetTransactionStatus, "b1", domain.SetTransactionStatus{TransactionID: "t1", Status: domain.StatusCompleted, Reason: "paid"})
	shop.must(domain.CommandSetTransactionStatus, "b1", domain.SetTransactionStatus{
		TransactionID: "t1", Status: domain.StatusPartiallyRefunded, Reason: "broken", Lines: []domain.RefundRequestLine{{ProductID: "p1", Quantity: 1}},
	})
	shop.must(domain.CommandCreateTransaction, "b1", domain.CreateTransaction{
		TransactionID: "t3", Kind: domain.KindPurchase, Status: domain.StatusPending, Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: 50}},
	})
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	tx, pos, err := r.Transaction(t.Context(), "b1", "t1")
	if err != nil || pos != shop.log.Head() {
		t.Fatalf("transaction at %s, error %v; want it at %s", pos, err, shop.log.Head())
	}
	if tx.Status != domain.StatusPartiallyRefunded || tx.RefundedMinor != 250 || tx.TotalMinor != 1000 || tx.DeviceID != "till-1" || tx.UserID != "boss" || tx.Pos != created.Position {
		t.Errorf("transaction is %+v", tx)
	}
	if len(tx.Changes) != 2 || tx.Changes[0].To != domain.StatusCompleted || tx.Changes[1].RefundedMinor != 250 || len(tx.Changes[1].Lines) != 1 {
		t.Errorf("its changes are %+v, want it completed, then a refund of one", tx.Changes)
	}
	for q, want := range map[TransactionsQuery][]string{
		{}:                                       {"t3", "t2", "t1"},
		{Status: domain.StatusPending}:           {"t3"},
		{Status: domain.StatusCompleted}:         {"t2"},
		{Kind: domain.KindSale}:                  {"t2", "t1"},
		{Kind: domain.KindPurchase, Status: "x"}: nil,
	} {
		q.BranchID = "b1"
		page, err := r.Transactions(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if got := each(page.Items, func(tx Transaction) string { return tx.TransactionID }); !slices.Equal(got, want) {
			t.Errorf("transactions with %+v are %v, want %v", q, got, want)
		}
	}
	if _, _, err := r.Transaction(t.Context(), "b2", "t1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("transaction of another branch: %v, want ErrNotFound", err)
	}
}

func TestAQueryEndsWithItsContext(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 * maxReaders { // no connection may get lost by it
		if _, err := r.Branches(ctx, BranchesQuery{}); !errors.Is(err, context.Canceled) {
			t.Fatalf("query: %v, want the context's error", err)
		}
	}
	if _, err := r.Branches(t.Context(), BranchesQuery{}); err != nil {
		t.Fatalf("query after that: %v", err)
	}
	r.close()
	if _, err := r.Branches(t.Context(), BranchesQuery{}); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("query after close: %v, want ErrUnavailable", err)
	}
}
