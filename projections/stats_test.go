package projections

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"bms/domain"
)

func TestStatsOfSales(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.open("b2")
	shop.product("b1", "p1", 100, 5)
	shop.product("b1", "p2", 100, 5)
	shop.product("b2", "p1", 10, 5)
	sale := func(branch, tx, at string, lines ...domain.TransactionLine) {
		shop.must(domain.CommandCreateTransaction, branch, domain.CreateTransaction{
			TransactionID: tx, Kind: domain.KindSale, Status: domain.StatusCompleted, OccurredAt: at, Lines: lines,
		})
	}
	sale("b1", "t1", "2026-11-23T22:10:00Z", domain.TransactionLine{ProductID: "p1", Quantity: 4})
	sale("b1", "t2", "2026-11-23T22:50:00Z", domain.TransactionLine{ProductID: "p1", Quantity: 1}, domain.TransactionLine{ProductID: "p2", Quantity: 3})
	sale("b1", "t3", "2026-11-24T01:00:00+02:00", domain.TransactionLine{ProductID: "p2", Quantity: 5})
	sale("b1", "t4", "2026-11-24T07:00:00Z", domain.TransactionLine{ProductID: "p1", Quantity: 9})
	sale("b2", "t1", "2026-11-24T07:00:00Z", domain.TransactionLine{ProductID: "p1", Quantity: 2})
	status := func(tx, to string, lines ...domain.RefundRequestLine) {
		shop.must(domain.CommandSetTransactionStatus, "b1", domain.SetTransactionStatus{TransactionID: tx, Status: to, Reason: "so", Lines: lines})
	}
	status("t1", domain.StatusPartiallyRefunded, domain.RefundRequestLine{ProductID: "p1", Quantity: 3})
	status("t4", domain.StatusVoided)
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	ctx := t.Context()
	day := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		q    StatsQuery
		want string
	}{
		"hours":        {StatsQuery{BranchID: "b1"}, "22:00 2/5/1250, 23:00 1/5/1250, 07:00 0/0/0"},
		"days":         {StatsQuery{BranchID: "b1", Bucket: BucketDay}, "00:00 3/10/2500, 00:00 0/0/0"},
		"a_period":     {StatsQuery{BranchID: "b1", To: day}, "22:00 2/5/1250, 23:00 1/5/1250"},
		"after_it":     {StatsQuery{BranchID: "b1", From: day}, "07:00 0/0/0"},
		"all_branches": {StatsQuery{From: day}, "07:00 1/2/500"},
	} {
		stats, err := r.BranchStats(ctx, c.q)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for i, item := range stats.Items {
			if i > 0 {
				got += ", "
			}
			got += fmt.Sprintf("%s %d/%d/%d", item.From[11:16], item.Sales, item.Units, item.RevenueMinor)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	stats, err := r.BranchStats(ctx, StatsQuery{BranchID: "b1", Top: 1})
	if err != nil {
		t.Fatal(err)
	}
	if want := (TopProduct{ProductID: "p2", SKU: "SKU-p2", Name: "Product p2", Units: 8, RevenueMinor: 2000, Currency: "EUR"}); len(stats.Top) != 1 || stats.Top[0] != want {
		t.Errorf("top product is %+v, want %+v", stats.Top, want)
	}
	if want := (Money{Minor: (100 - 4 - 1 + 3 + 100 - 3 - 5) * 250, Currency: "EUR"}); len(stats.StockValue) != 1 || stats.StockValue[0] != want {
		t.Errorf("stock is worth %+v, want %+v", stats.StockValue, want)
	}
	totals, err := r.Totals(ctx, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []TotalsItem{{"b1", 3, 10, 2500, "EUR"}, {"b2", 1, 2, 500, "EUR"}}; !slices.Equal(totals.Items, want) {
		t.Errorf("totals are %+v, want %+v", totals.Items, want)
	}
}

// Sums beyond 64 bits must not break the stats for good.
func TestStatsOfAbsurdSums(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 0, 0)
	price := int64(1<<62 - 1)
	for n := range 3 {
		shop.must(domain.CommandCreateTransaction, "b1", domain.CreateTransaction{
			TransactionID: fmt.Sprintf("t%d", n), Kind: domain.KindSale, Status: domain.StatusCompleted,
			OccurredAt: fmt.Sprintf("2026-11-24T0%d:00:00Z", n), Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: 1, UnitPriceMinor: &price}},
		})
	}
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	for _, bucket := range []string{BucketHour, BucketDay} {
		if _, err := r.BranchStats(t.Context(), StatsQuery{BranchID: "b1", Bucket: bucket}); err != nil {
			t.Errorf("stats by %s: %v", bucket, err)
		}
	}
	if _, err := r.Totals(t.Context(), time.Time{}, time.Time{}); err != nil {
		t.Errorf("totals: %v", err)
	}
}
