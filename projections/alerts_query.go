package projections

import (
	"context"
	"encoding/json"
	"fmt"

	"bms/domain"
)

// Alert is an open low-stock alert: the last one given for a product that has
// not risen above its minimum since.
type Alert struct {
	domain.LowStockAlert
	// Pos is the alert's own position, At its time.
	Pos domain.Position `json:"pos"`
	At  string          `json:"at"`
}

// AlertsQuery selects the open alerts of a branch, by product id in ascending
// order.
type AlertsQuery struct {
	BranchID string
	Cursor   string
	// Limit is DefaultLimit if zero and at most MaxLimit.
	Limit int
}

// OpenAlerts lists open alerts. Errors: ErrBadCursor, ErrUnavailable.
func (s *Set) OpenAlerts(ctx context.Context, q AlertsQuery) (Page[Alert], error) {
	return list(ctx, s, Alerts, "alerts", q.Cursor, q.Limit,
		func(a Alert) string { return a.ProductID },
		func(v *snapshot, after string, limit int64, add func(Alert)) error {
			return v.query(ctx, func(r row) error {
				a := Alert{Pos: v.at(r.int(1)), At: timestamp(r.int(2))}
				if err := json.Unmarshal([]byte(r.text(0)), &a.LowStockAlert); err != nil {
					return fmt.Errorf("decode an alert: %w", err)
				}
				add(a)
				return nil
			}, "SELECT alert, alert_pos, alert_at FROM products WHERE branch = ? AND product > ? AND alert IS NOT NULL ORDER BY product LIMIT ?",
				q.BranchID, after, limit)
		})
}
