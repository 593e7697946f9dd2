package bench

import (
	"slices"

	"bms/domain"
)

// productKey names a product.
type productKey struct{ branch, product string }

func (k productKey) String() string { return k.branch + "/" + k.product }

func (c *checker) checkStock() {
	sums, denied := map[productKey]int64{}, map[productKey]bool{}
	offline := map[uint64]bool{} // commits of sales that had been made already
	for i := range c.h.Log {
		if c.h.Log[i].Offline {
			offline[c.h.Log[i].Pos.Seq] = true
		}
	}
	for i := range c.h.Log {
		e := &c.h.Log[i]
		if !slices.Contains(c.h.Branches, e.BranchID) {
			continue
		}
		key := productKey{e.BranchID, e.ProductID}
		switch e.Type {
		case domain.TypeProductUpdated:
			denied[key] = !e.AllowsNegative
		case domain.TypeInventoryUpdated:
			sums[key] += e.Delta
			if e.Stock != sums[key] {
				c.found(Stock, key.String(), e.Pos, "the event says %d, the deltas sum up to %d", e.Stock, sums[key])
				sums[key] = e.Stock // once is enough
			}
			if e.Stock < 0 && e.Delta < 0 && denied[key] && !offline[e.Pos.Seq] {
				c.found(Stock, key.String(), e.Pos, "is %d, and may not be negative", e.Stock)
			}
		}
	}
	c.verdict.Products = len(sums)
	if c.h.Levels == nil {
		return
	}
	shown := map[productKey]bool{}
	for _, l := range c.h.Levels {
		key := productKey{l.BranchID, l.ProductID}
		if shown[key] {
			c.found(Stock, key.String(), domain.Position{}, "is listed twice by the inventory")
		}
		shown[key] = true
		if l.Stock != sums[key] {
			c.found(Stock, key.String(), domain.Position{}, "the inventory says %d, the deltas sum up to %d", l.Stock, sums[key])
		}
	}
	for key, sum := range sums {
		if !shown[key] && sum != 0 {
			c.found(Stock, key.String(), domain.Position{}, "the inventory lacks it, the deltas sum up to %d", sum)
		}
	}
}

// The levels of an alert, in the order in which they get worse.
func levelOf(stock, minStock int64) int {
	switch {
	case stock > minStock:
		return 0
	case stock > 0:
		return 1
	case stock == 0:
		return 2
	default:
		return 3
	}
}

// causes lists, in log order, the events that have to give an alert.
func (c *checker) causes() []*Event {
	var causes []*Event
	levels := map[productKey]int{}
	for i := range c.h.Log {
		e := &c.h.Log[i]
		key := productKey{e.BranchID, e.ProductID}
		switch {
		case !slices.Contains(c.h.Branches, e.BranchID):
			continue
		case e.Type == domain.TypeProductUpdated && e.Deleted:
			levels[key] = 0
			continue
		case e.Type == domain.TypeInventoryUpdated, e.Type == domain.TypeProductUpdated && e.MinStockAlone:
		default:
			continue
		}
		was := levels[key]
		levels[key] = levelOf(e.Stock, e.MinStock)
		if levels[key] > 0 && (!c.h.Escalation || levels[key] > was) {
			causes = append(causes, e)
		}
	}
	return causes
}

func (c *checker) checkAlerts() {
	alerts := map[place]*Event{}
	for i := range c.h.Log {
		e := &c.h.Log[i]
		if e.Type != domain.TypeLowStockAlert || !slices.Contains(c.h.Branches, e.BranchID) {
			continue
		}
		c.verdict.Alerts++
		who := productKey{e.BranchID, e.ProductID}.String()
		if first := alerts[placeOf(e.Cause)]; first != nil {
			c.found(Alert, who, e.Pos, "%s has alerted at %s already", e.Cause, first.Pos)
			continue
		}
		alerts[placeOf(e.Cause)] = e
		if !e.Pos.After(e.Cause) {
			c.found(Alert, who, e.Pos, "alerts of %s, which comes later", e.Cause)
		}
	}
	for _, cause := range c.causes() {
		who := productKey{cause.BranchID, cause.ProductID}.String()
		alert := alerts[placeOf(cause.Pos)]
		if alert == nil {
			c.found(Alert, who, cause.Pos, "leaves %d of at least %d, and nothing has alerted", cause.Stock, cause.MinStock)
			continue
		}
		delete(alerts, placeOf(cause.Pos))
		if alert.BranchID != cause.BranchID || alert.ProductID != cause.ProductID || alert.Stock != cause.Stock || alert.MinStock != cause.MinStock {
			c.found(Alert, who, alert.Pos, "says %s/%s has %d of at least %d, its cause %d of %d",
				alert.BranchID, alert.ProductID, alert.Stock, alert.MinStock, cause.Stock, cause.MinStock)
		}
	}
	for _, alert := range alerts {
		c.found(Alert, productKey{alert.BranchID, alert.ProductID}.String(), alert.Pos, "%s is no cause", alert.Cause)
	}
}
