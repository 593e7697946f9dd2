package projections

import (
	"fmt"
	"slices"
	"strings"
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
		"hours":    {StatsQuery{BranchID: "b1"}, "22:00 2/5/1250, 23:00 1/5/1250, 07:00 0/0/0"},
		"days":     {StatsQuery{BranchID: "b1", Bucket: BucketDay}, "00:00 3/10/2500, 00:00 0/0/0"},
		"a_period": {StatsQuery{BranchID: "b1", To: day}, "22:00 2/5/1250, 23:00 1/5/1250"},
		"after_it": {StatsQuery{BranchID: "b1", From: day}, "07:00 0/0/0"},
		"another":  {StatsQuery{BranchID: "b2", From: day}, "07:00 1/2/500"},
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

// A bucket has its own top products, and the value of the stock at its end.
func TestStatsOfABucket(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	for n := range 4 {
		shop.product("b1", fmt.Sprintf("p%d", n), 100, 5)
	}
	for n, at := range []string{"2026-11-24T08:30:00Z", "2026-11-24T08:59:00Z", "2026-11-24T11:10:00Z", "2026-11-25T00:00:00Z"} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		shop.now = now
		for p := range 4 {
			shop.sell("b1", fmt.Sprintf("t%d-%d", n, p), fmt.Sprintf("p%d", p), int64(1+(n+p)%4))
		}
	}
	shop.now = shop.now.Add(time.Hour)
	shop.adjust("b1", "p0", 40) // after the last bucket
	for _, batch := range []int{1, 7, 1000} {
		c := config(t.TempDir(), shop.log)
		c.Log = reader{shop.log, batch}
		r := run(t, c)
		r.settle(shop.log)
		for bucket, want := range map[string]string{
			BucketHour: "08:00 20 95000 p2:7 p1:5 p3:5, 11:00 10 92500 p1:4 p0:3 p3:2, 00:00 10 90000 p0:4 p3:3 p2:2",
			BucketDay:  "00:00 30 92500 p1:9 p2:8 p3:7, 00:00 10 100000 p0:4 p3:3 p2:2",
		} {
			stats, err := r.BranchStats(t.Context(), StatsQuery{BranchID: "b1", Bucket: bucket})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, item := range stats.Items {
				text := fmt.Sprintf("%s %d %d", item.From[11:16], item.Units, item.StockValueMinor)
				for _, top := range item.Top {
					text += fmt.Sprintf(" %s:%d", top.ProductID, top.Units)
				}
				got = append(got, text)
			}
			if got := strings.Join(got, ", "); got != want {
				t.Errorf("by %s in batches of %d: %s, want %s", bucket, batch, got, want)
			}
			if want := (Money{Minor: 100_000, Currency: "EUR"}); len(stats.StockValue) != 1 || stats.StockValue[0] != want {
				t.Errorf("stock is worth %+v now, want %+v", stats.StockValue, want)
			}
		}
		r.close()
	}
}

// A time of a sale that is none, as the log may hold it, is that of its commit.
func TestStatsOfATimeThatIsNone(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 100, 5)
	shop.forge(domain.CommandSubmitSync, "b1", domain.TransactionCreated{
		TransactionID: "t1", Kind: domain.KindSale, Status: domain.StatusCompleted, TotalMinor: 250, Currency: "EUR",
		Lines: []domain.Line{{ProductID: "p1", Quantity: 1, UnitPriceMinor: 250}}, OccurredAt: "-0001-12-31T23:30:00.000Z",
	})
	for n := range 5 {
		shop.sell("b1", fmt.Sprintf("s%d", n), "p1", 1)
	}
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	if got := r.status(Stats).Parked; got != 0 {
		t.Errorf("%d are parked, want 0", got)
	}
	stats, err := r.BranchStats(t.Context(), StatsQuery{BranchID: "b1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(stats.Items) != 1 || stats.Items[0].Sales != 6 {
		t.Errorf("stats are %+v, want 6 sales in one hour", stats.Items)
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
