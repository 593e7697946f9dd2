package projections

import (
	"context"
	"slices"
	"time"

	"bms/domain"
)

// Sizes of a bucket.
const (
	BucketHour = "hour"
	BucketDay  = "day"
)

// StatsItem is what the sales of one bucket came to, net of refunds and voids,
// which count in the bucket of the sale they take back.
type StatsItem struct {
	// From is when the bucket begins, UTC.
	From string `json:"from"`
	// Sales is the number of completed sales, also refunded ones; voided ones
	// are none.
	Sales int64 `json:"sales"`
	// Units is the number of units sold and not refunded.
	Units int64 `json:"units"`
	// RevenueMinor is what was paid and not refunded.
	RevenueMinor int64  `json:"revenueMinor"`
	Currency     string `json:"currency"`
	// Top are the products with the most units in it, most first, at most
	// BucketTop.
	Top []TopProduct `json:"top"`
	// StockValueMinor is stock times price at its end, or now.
	StockValueMinor int64 `json:"stockValueMinor"`
}

// BucketTop is the number of top products of a bucket.
const BucketTop = 3

// TopProduct is a product's part in the sales of a period.
type TopProduct struct {
	ProductID    string `json:"productId"`
	SKU          string `json:"sku"`
	Name         string `json:"name"`
	Units        int64  `json:"units"`
	RevenueMinor int64  `json:"revenueMinor"`
	Currency     string `json:"currency"`
}

// Money is an amount in minor units.
type Money struct {
	Minor    int64  `json:"minor"`
	Currency string `json:"currency"`
}

// BranchStats are the sales of a branch in a period and the value of its stock.
type BranchStats struct {
	// Items are the buckets with sales in them, in order of time, one per
	// currency if there are several.
	Items []StatsItem `json:"items"`
	// Top are the products with the most units, most first.
	Top []TopProduct `json:"top"`
	// StockValue is stock times price at this moment, per currency, of all
	// products in the range with stock.
	StockValue []Money         `json:"stockValue"`
	Pos        domain.Position `json:"pos"`
}

// StatsQuery selects a period of a branch.
type StatsQuery struct {
	BranchID string
	// From and To are widened to whole hours, From included, To excluded;
	// zero means open.
	From, To time.Time
	// Bucket is BucketHour (default) or BucketDay (UTC).
	Bucket string
	// Top is the number of top products, 10 if zero.
	Top int
}

// MaxBuckets is the number of items that BranchStats gives at most: a year of
// hours.
const MaxBuckets = 366 * 24

// Sums of rows are CAST(total(x) AS INTEGER), which is exact below 2⁵³ and then
// rounds and stays at the greatest int64, where sum(x) would be an error.

// BranchStats sums up sales. At most MaxBuckets items are given, the latest.
// Errors: ErrUnavailable.
func (s *Set) BranchStats(ctx context.Context, q StatsQuery) (BranchStats, error) {
	var answer BranchStats
	var err error
	answer.Pos, err = s.view(ctx, Stats, func(v *snapshot) (err error) {
		p := period{branch: q.BranchID, bucket: 1}
		p.from, p.to = hours(q.From, q.To)
		if q.Bucket == BucketDay {
			p.bucket = 24
		}
		top := int64(10)
		if q.Top > 0 {
			top = int64(min(q.Top, MaxLimit))
		}
		if answer.Items, err = v.statsItems(ctx, p); err != nil {
			return err
		}
		if answer.Top, err = v.statsTop(ctx, p, top); err != nil {
			return err
		}
		answer.StockValue = []Money{}
		return v.query(ctx, func(r row) error {
			answer.StockValue = append(answer.StockValue, Money{Currency: r.text(0), Minor: r.int(1)})
			return nil
			// SQLite gives minor of the row with the greatest hour.
		}, "SELECT currency, minor, max(hour) FROM stock_values WHERE branch = ? GROUP BY currency ORDER BY currency", q.BranchID)
	})
	return answer, err
}

// period is one of a branch, in hours from 1970, and the size of its buckets.
type period struct {
	branch           string
	from, to, bucket int64
}

// bucketed is the bucket of an hour; it takes the size three times.
const bucketed = "hour - (hour % ? + ?) % ? AS bucket"

// statsItems are the buckets with sales in them, in order of time.
func (v *snapshot) statsItems(ctx context.Context, p period) ([]StatsItem, error) {
	items, oldest := []StatsItem{}, p.to
	if err := v.query(ctx, func(r row) error {
		items = append(items, StatsItem{
			From: timestamp(r.int(0) * 3_600_000), Currency: r.text(1), Sales: r.int(2), Units: r.int(3), RevenueMinor: r.int(4),
			StockValueMinor: r.int(5), Top: []TopProduct{},
		})
		oldest = r.int(0)
		return nil
	}, "SELECT bucket, currency, sales, units, revenue, (SELECT minor FROM stock_values AS v WHERE v.branch = ? AND v.currency = sums.currency AND v.hour < bucket + ? ORDER BY v.hour DESC LIMIT 1) FROM ("+
		"SELECT "+bucketed+", currency, CAST(total(sales) AS INTEGER) AS sales, CAST(total(units) AS INTEGER) AS units, CAST(total(revenue) AS INTEGER) AS revenue"+
		" FROM hours WHERE branch = ? AND hour >= ? AND hour < ? GROUP BY bucket, currency ORDER BY bucket DESC, currency DESC LIMIT ?"+
		") AS sums ORDER BY bucket DESC, currency DESC",
		p.branch, p.bucket, p.bucket, p.bucket, p.bucket, p.branch, p.from, p.to, int64(MaxBuckets)); err != nil {
		return nil, err
	}
	slices.Reverse(items)
	at := 0 // both are in order of bucket and currency
	err := v.query(ctx, func(r row) error {
		from, t := timestamp(r.int(0)*3_600_000), topProduct(r[1:])
		for at < len(items) && (items[at].From != from || items[at].Currency != t.Currency) {
			at++
		}
		if at < len(items) {
			items[at].Top = append(items[at].Top, t)
		}
		return nil
	}, "SELECT bucket, product, tops.currency, sold, revenue, sku, name FROM ("+
		"SELECT *, row_number() OVER (PARTITION BY bucket, currency ORDER BY sold DESC, product) AS place FROM ("+
		"SELECT "+bucketed+", product, currency, CAST(total(units) AS INTEGER) AS sold, CAST(total(revenue) AS INTEGER) AS revenue, branch"+
		" FROM tops WHERE branch = ? AND hour >= ? AND hour < ? GROUP BY bucket, product, currency HAVING sold > 0)"+
		") AS tops LEFT JOIN products USING (branch, product) WHERE place <= ? ORDER BY bucket, tops.currency, place",
		p.bucket, p.bucket, p.bucket, p.branch, max(p.from, oldest), p.to, int64(BucketTop))
	return items, err
}

// statsTop are the products with the most units in the whole period.
func (v *snapshot) statsTop(ctx context.Context, p period, limit int64) ([]TopProduct, error) {
	top := []TopProduct{}
	err := v.query(ctx, func(r row) error {
		top = append(top, topProduct(r))
		return nil
	}, "SELECT product, sums.currency, sold, revenue, sku, name FROM ("+
		"SELECT product, currency, CAST(total(units) AS INTEGER) AS sold, CAST(total(revenue) AS INTEGER) AS revenue, branch FROM tops"+
		" WHERE branch = ? AND hour >= ? AND hour < ? GROUP BY product, currency HAVING sold > 0 ORDER BY sold DESC, product, currency LIMIT ?"+
		") AS sums LEFT JOIN products USING (branch, product) ORDER BY sold DESC, product, sums.currency",
		p.branch, p.from, p.to, limit)
	return top, err
}

func topProduct(r row) TopProduct {
	return TopProduct{ProductID: r.text(0), Currency: r.text(1), Units: r.int(2), RevenueMinor: r.int(3), SKU: r.text(4), Name: r.text(5)}
}

// hours is a period in whole hours from 1970; zero times leave it open.
func hours(from, to time.Time) (int64, int64) {
	first, end := -endOfTime, endOfTime
	if !from.IsZero() {
		first = hourOf(from)
	}
	if !to.IsZero() {
		end = hourOf(to.Add(time.Hour - 1))
	}
	return first, end
}

// TotalsItem is the total of a branch over a period.
type TotalsItem struct {
	BranchID     string `json:"branchId"`
	Sales        int64  `json:"sales"`
	Units        int64  `json:"units"`
	RevenueMinor int64  `json:"revenueMinor"`
	Currency     string `json:"currency"`
}

// Totals are the totals of every branch.
type Totals struct {
	// Items are by branch id, one per currency if there are several.
	Items []TotalsItem    `json:"items"`
	Pos   domain.Position `json:"pos"`
}

// Totals gives the totals of all branches over a period (From and To as in
// StatsQuery). Errors: ErrUnavailable.
func (s *Set) Totals(ctx context.Context, from, to time.Time) (Totals, error) {
	answer := Totals{Items: []TotalsItem{}}
	first, end := hours(from, to)
	var err error
	answer.Pos, err = s.view(ctx, Stats, func(v *snapshot) error {
		return v.query(ctx, func(r row) error {
			answer.Items = append(answer.Items, TotalsItem{
				BranchID: r.text(0), Currency: r.text(1), Sales: r.int(2), Units: r.int(3), RevenueMinor: r.int(4),
			})
			return nil
		}, "SELECT branch, currency, CAST(total(sales) AS INTEGER), CAST(total(units) AS INTEGER), CAST(total(revenue) AS INTEGER) FROM hours WHERE hour >= ? AND hour < ? GROUP BY branch, currency ORDER BY branch, currency", first, end)
	})
	return answer, err
}
