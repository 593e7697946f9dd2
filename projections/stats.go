package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"bms/domain"
)

// statsDefinition sums completed sales up by hour of occurredAt, per branch,
// currency and product, and keeps the value of the stock at the end of each hour
// in which it changed. Refunds and voids
// count against the hour of the sale that they take back. Sales that may still
// be completed, refunded or voided are kept to know that hour.
//
// Sums wrap around beyond 64 bits, and come back the same way.
func statsDefinition() definition {
	return definition{
		name: Stats, version: 2,
		schema: `
CREATE TABLE hours (
	branch TEXT NOT NULL, hour INTEGER NOT NULL, currency TEXT NOT NULL,
	sales INTEGER NOT NULL, units INTEGER NOT NULL, revenue INTEGER NOT NULL,
	PRIMARY KEY (branch, hour, currency)
) WITHOUT ROWID;
CREATE INDEX hours_hour ON hours (hour);
CREATE TABLE tops (
	branch TEXT NOT NULL, hour INTEGER NOT NULL, product TEXT NOT NULL, currency TEXT NOT NULL,
	units INTEGER NOT NULL, revenue INTEGER NOT NULL,
	PRIMARY KEY (branch, hour, product, currency)
) WITHOUT ROWID;
CREATE TABLE sales (
	branch TEXT NOT NULL, tx TEXT NOT NULL, hour INTEGER NOT NULL, currency TEXT NOT NULL, lines TEXT NOT NULL,
	PRIMARY KEY (branch, tx)
) WITHOUT ROWID;
CREATE TABLE products (
	branch TEXT NOT NULL, product TEXT NOT NULL, sku TEXT NOT NULL, name TEXT NOT NULL,
	stock INTEGER NOT NULL, price INTEGER NOT NULL, currency TEXT NOT NULL, deleted INTEGER NOT NULL,
	PRIMARY KEY (branch, product)
) WITHOUT ROWID;
CREATE TABLE stock_values (
	branch TEXT NOT NULL, currency TEXT NOT NULL, hour INTEGER NOT NULL, minor INTEGER NOT NULL,
	PRIMARY KEY (branch, currency, hour)
) WITHOUT ROWID;
`,
		types: []string{domain.TypeTransactionCreated, domain.TypeTransactionStatusChanged, domain.TypeInventoryUpdated, domain.TypeProductUpdated},
		// Sums are the same in any order; products and sales are not.
		keys: func(c *domain.Commit, add func(string)) {
			productKeys(c, add)
			transactionKeys(c, add)
		},
		start: func(f *file) (fold, error) {
			s := &stats{file: f, created: newBulk(f.writer, "INSERT INTO sales", 5)}
			s.hours = newTable(s.loadHour, s.storeHour)
			s.tops = newTable(s.loadTop, s.storeTop)
			s.products = newTable(s.loadProduct, s.storeProduct)
			s.values = newTable(s.loadValue, s.storeValue)
			return s, nil
		},
	}
}

type stats struct {
	basic
	file     *file
	created  *bulk
	hours    *table[hourKey, hourRow]
	tops     *table[topKey, topRow]
	products *table[productKey, valuedRow]
	values   *table[valueKey, valueRow]
}

// soldLine is a line of a sale and how much of it was taken back.
type soldLine struct {
	Product  string `json:"p"`
	Quantity int64  `json:"q"`
	Price    int64  `json:"u"`
	Refunded int64  `json:"r,omitempty"`
}

func (s *stats) apply(_ *domain.Commit, e *domain.Event, payload domain.Payload) error {
	switch p := payload.(type) {
	case domain.TransactionCreated:
		return s.sold(e, p)
	case domain.TransactionStatusChanged:
		return s.changed(e, p)
	case domain.InventoryUpdated:
		return s.value(e, p.ProductID, func(v *valuedRow) { v.stock = p.Stock })
	case domain.ProductUpdated:
		return s.value(e, p.ProductID, func(v *valuedRow) {
			v.sku, v.name, v.price, v.currency = p.Product.SKU, p.Product.Name, p.Product.PriceMinor, p.Product.Currency
			v.deleted, v.renamed = p.Action == domain.ActionDeleted, true
		})
	}
	return nil
}

func (s *stats) sold(e *domain.Event, p domain.TransactionCreated) error {
	if p.Kind != domain.KindSale {
		return nil
	}
	occurred, err := time.Parse(time.RFC3339, p.OccurredAt)
	if err != nil {
		// The log may hold times that are none; nothing may wait for ever
		// behind one.
		occurred = e.At
	}
	hour := hourOf(occurred)
	lines := make([]soldLine, len(p.Lines))
	for i, l := range p.Lines {
		lines[i] = soldLine{Product: l.ProductID, Quantity: l.Quantity, Price: l.UnitPriceMinor}
	}
	if p.Status == domain.StatusCompleted {
		if err := s.count(hourKey{e.BranchID, hour, p.Currency}, 1, lines); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(lines)
	if err != nil {
		return fmt.Errorf("encode the lines of %s: %w", p.TransactionID, err)
	}
	return s.created.add(e.BranchID, p.TransactionID, hour, p.Currency, string(raw))
}

// hourOf is the number of the hour a time lies in, from 1970 UTC.
func hourOf(t time.Time) int64 {
	sec := t.Unix()
	hour := sec / 3600
	if sec%3600 < 0 {
		hour--
	}
	return hour
}

// count adds the lines of a sale to its hour and products; with sign -1 it
// takes them off, sale and all, with 0 only the lines (as a refund: their
// quantities are negative).
func (s *stats) count(k hourKey, sign int64, lines []soldLine) error {
	hour, err := s.hours.get(k)
	if err != nil {
		return err
	}
	hour.row.hourKey = k
	hour.row.sales += sign
	if sign == 0 {
		sign = 1
	}
	for _, l := range lines {
		units := sign * l.Quantity
		revenue := units * l.Price
		hour.row.units += units
		hour.row.revenue += revenue
		tk := topKey{k, l.Product}
		top, err := s.tops.get(tk)
		if err != nil {
			return err
		}
		top.row.topKey = tk
		top.row.units += units
		top.row.revenue += revenue
		s.tops.put(top)
	}
	s.hours.put(hour)
	return nil
}

func (s *stats) changed(e *domain.Event, p domain.TransactionStatusChanged) error {
	if err := s.created.flush(); err != nil { // it may be among them
		return err
	}
	k := hourKey{branch: e.BranchID}
	var lines []soldLine
	w := s.file.writer
	found, err := w.one(context.Background(), func(r row) error {
		k.hour, k.currency = r.int(0), r.text(1)
		return json.Unmarshal([]byte(r.text(2)), &lines)
	}, "SELECT hour, currency, lines FROM sales WHERE branch = ? AND tx = ?", e.BranchID, p.TransactionID)
	if err != nil || !found { // not found: a purchase
		return err
	}
	switch p.To {
	case domain.StatusCompleted:
		return s.count(k, 1, lines)
	case domain.StatusVoided:
		if p.From == domain.StatusCompleted {
			err = s.count(k, -1, lines)
		}
	case domain.StatusPartiallyRefunded, domain.StatusRefunded:
		err = s.count(k, 0, takeBack(lines, p.Lines))
	}
	if err != nil {
		return err
	}
	if p.To == domain.StatusPartiallyRefunded {
		raw, err := json.Marshal(lines)
		if err != nil {
			return fmt.Errorf("encode the lines of %s: %w", p.TransactionID, err)
		}
		return w.exec("UPDATE sales SET lines = ? WHERE branch = ? AND tx = ?", string(raw), e.BranchID, p.TransactionID)
	}
	return w.exec("DELETE FROM sales WHERE branch = ? AND tx = ?", e.BranchID, p.TransactionID) // nothing can follow
}

// takeBack marks what a refund takes back, the first lines of a product first,
// and returns it with negative quantities. A refund without lines is of all
// that is left.
func takeBack(sold []soldLine, refunded []domain.RefundLine) []soldLine {
	if len(refunded) == 0 {
		for _, l := range sold {
			refunded = append(refunded, domain.RefundLine{ProductID: l.Product, Quantity: l.Quantity - l.Refunded})
		}
	}
	var back []soldLine
	for _, r := range refunded {
		left := r.Quantity
		for i := range sold {
			l := &sold[i]
			if l.Product != r.ProductID {
				continue
			}
			n := min(left, l.Quantity-l.Refunded)
			l.Refunded += n
			left -= n
			back = append(back, soldLine{Product: l.Product, Quantity: -n, Price: l.Price})
		}
	}
	return back
}

// value changes a product and the value of its branch's stock with it.
func (s *stats) value(e *domain.Event, productID string, change func(*valuedRow)) error {
	p, err := s.products.get(productKey{e.BranchID, productID})
	if err != nil {
		return err
	}
	before := p.row
	change(&p.row)
	s.products.put(p)
	if before.currency == p.row.currency && before.worth() == p.row.worth() {
		return nil
	}
	hour := hourOf(e.At)
	if before.currency != "" {
		if err := s.addValue(valueKey{e.BranchID, before.currency}, hour, -before.worth()); err != nil {
			return err
		}
	}
	if p.row.currency == "" {
		return nil
	}
	return s.addValue(valueKey{e.BranchID, p.row.currency}, hour, p.row.worth())
}

// addValue changes a value in an hour. An hour that falls behind the last one,
// where clocks disagreed, is taken for that.
func (s *stats) addValue(k valueKey, hour, minor int64) error {
	v, err := s.values.get(k)
	if err != nil {
		return err
	}
	v.row.valueKey = k
	if hour > v.row.hour {
		if v.dirty { // what it was at the end of the hour before
			if err := s.storeValue(&v.row); err != nil {
				return err
			}
		}
		v.row.hour = hour
	}
	v.row.minor += minor
	s.values.put(v)
	return nil
}

func (s *stats) flush() error {
	for _, flush := range []func() error{s.created.flush, s.hours.flush, s.tops.flush, s.products.flush, s.values.flush} {
		if err := flush(); err != nil {
			return err
		}
	}
	return nil
}

func (s *stats) forget() error {
	s.created.forget()
	s.hours.forget()
	s.tops.forget()
	s.products.forget()
	s.values.forget()
	return nil
}
