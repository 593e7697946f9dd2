package projections

import (
	"context"
)

// The rows of the stats, and how they are read and written.

type hourKey struct {
	branch   string
	hour     int64
	currency string
}

type hourRow struct {
	hourKey
	sales, units, revenue int64
}

func (s *stats) loadHour(k hourKey) (h hourRow, found bool, err error) {
	found, err = s.file.writer.one(context.Background(), func(r row) error {
		h.sales, h.units, h.revenue = r.int(0), r.int(1), r.int(2)
		return nil
	}, "SELECT sales, units, revenue FROM hours WHERE branch = ? AND hour = ? AND currency = ?", k.branch, k.hour, k.currency)
	return h, found, err
}

func (s *stats) storeHour(h *hourRow) error {
	return s.file.writer.exec("INSERT OR REPLACE INTO hours VALUES (?, ?, ?, ?, ?, ?)", h.branch, h.hour, h.currency, h.sales, h.units, h.revenue)
}

type topKey struct {
	hourKey
	product string
}

type topRow struct {
	topKey
	units, revenue int64
}

func (s *stats) loadTop(k topKey) (t topRow, found bool, err error) {
	found, err = s.file.writer.one(context.Background(), func(r row) error {
		t.units, t.revenue = r.int(0), r.int(1)
		return nil
	}, "SELECT units, revenue FROM tops WHERE branch = ? AND hour = ? AND product = ? AND currency = ?", k.branch, k.hour, k.product, k.currency)
	return t, found, err
}

func (s *stats) storeTop(t *topRow) error {
	return s.file.writer.exec("INSERT OR REPLACE INTO tops VALUES (?, ?, ?, ?, ?, ?)", t.branch, t.hour, t.product, t.currency, t.units, t.revenue)
}

// valuedRow is what of a product makes the value of its stock, and its names.
type valuedRow struct {
	productKey
	sku, name, currency string
	stock, price        int64
	deleted             bool
	renamed             bool // more than the stock has changed
}

// worth is the value of the stock; one below zero is worth nothing.
func (v *valuedRow) worth() int64 {
	if v.deleted {
		return 0
	}
	return max(v.stock, 0) * v.price
}

func (s *stats) loadProduct(k productKey) (v valuedRow, found bool, err error) {
	found, err = s.file.writer.one(context.Background(), func(r row) error {
		v = valuedRow{sku: r.text(0), name: r.text(1), stock: r.int(2), price: r.int(3), currency: r.text(4), deleted: r.bool(5)}
		return nil
	}, "SELECT sku, name, stock, price, currency, deleted FROM products WHERE branch = ? AND product = ?", k.branch, k.product)
	v.productKey = k
	return v, found, err
}

func (s *stats) storeProduct(v *valuedRow) error {
	if !v.renamed {
		return s.file.writer.exec("UPDATE products SET stock = ? WHERE branch = ? AND product = ?", v.stock, v.branch, v.product)
	}
	v.renamed = false
	return s.file.writer.exec("INSERT OR REPLACE INTO products VALUES (?, ?, ?, ?, ?, ?, ?, ?)", v.branch, v.product, v.sku, v.name, v.stock, v.price, v.currency, flag(v.deleted))
}

type valueKey struct{ branch, currency string }

type valueRow struct {
	valueKey
	hour, minor int64
}

// loadValue reads the last one.
func (s *stats) loadValue(k valueKey) (v valueRow, found bool, err error) {
	found, err = s.file.writer.one(context.Background(), func(r row) error {
		v.hour, v.minor = r.int(0), r.int(1)
		return nil
	}, "SELECT hour, minor FROM stock_values WHERE branch = ? AND currency = ? ORDER BY hour DESC LIMIT 1", k.branch, k.currency)
	return v, found, err
}

func (s *stats) storeValue(v *valueRow) error {
	return s.file.writer.exec("INSERT OR REPLACE INTO stock_values VALUES (?, ?, ?, ?)", v.branch, v.currency, v.hour, v.minor)
}
