package projections

import (
	"context"
	"strings"

	"bms/domain"
)

// Product is a product as GET …/products/{p} gives it.
type Product struct {
	domain.Product
	// Deleted is true for one that was taken out of the range; its fields are
	// the last ones before. Lists don't show it.
	Deleted bool `json:"-"`
}

// ProductsQuery selects the products of a branch, by id in ascending order.
type ProductsQuery struct {
	BranchID string
	// Q, if not empty, is looked for in SKU and name, whatever the case.
	Q      string
	Cursor string
	// Limit is DefaultLimit if zero and at most MaxLimit.
	Limit int
}

// Products lists products. Errors: ErrBadCursor, ErrUnavailable.
func (s *Set) Products(ctx context.Context, q ProductsQuery) (Page[domain.Product], error) {
	return list(ctx, s, Inventory, "products", q.Cursor, q.Limit,
		func(p domain.Product) string { return p.ProductID },
		func(v *snapshot, after string, limit int64, add func(domain.Product)) error {
			return v.query(ctx, func(r row) error {
				add(readProduct(r).Product)
				return nil
			}, "SELECT "+productColumns+" FROM products WHERE branch = ? AND product > ? AND deleted = 0 AND (? = '' OR instr(search, ?) > 0) ORDER BY product LIMIT ?",
				q.BranchID, after, q.Q, strings.ToLower(q.Q), limit)
		})
}

// Product gives one product, a deleted one too, and the position of the
// answer, or ErrNotFound.
func (s *Set) Product(ctx context.Context, branchID, productID string) (Product, domain.Position, error) {
	var p productRow
	pos, err := s.view(ctx, Inventory, func(v *snapshot) (err error) {
		p, err = v.product(ctx, branchID, productID)
		return err
	})
	return Product{Product: p.Product, Deleted: p.deleted}, pos, err
}

// product reads a product or returns ErrNotFound.
func (v *snapshot) product(ctx context.Context, branchID, productID string) (p productRow, err error) {
	found, err := v.one(ctx, func(r row) error {
		p = readProduct(r)
		return nil
	}, "SELECT "+productColumns+" FROM products WHERE branch = ? AND product = ?", branchID, productID)
	if err == nil && !found {
		err = ErrNotFound
	}
	return p, err
}

// Level is the stock of a product.
type Level struct {
	ProductID string `json:"productId"`
	SKU       string `json:"sku"`
	Stock     int64  `json:"stock"`
	MinStock  int64  `json:"minStock"`
	Version   int64  `json:"version"`
}

// LevelsQuery selects the stock levels of a branch, by product id in ascending
// order.
type LevelsQuery struct {
	BranchID string
	// LowStock leaves only products at or below their minimum.
	LowStock bool
	Cursor   string
	// Limit is DefaultLimit if zero and at most MaxLimit.
	Limit int
}

// Levels lists stock levels. Errors: ErrBadCursor, ErrUnavailable.
func (s *Set) Levels(ctx context.Context, q LevelsQuery) (Page[Level], error) {
	low := ""
	if q.LowStock {
		low = " AND stock <= min_stock"
	}
	return list(ctx, s, Inventory, "levels", q.Cursor, q.Limit,
		func(l Level) string { return l.ProductID },
		func(v *snapshot, after string, limit int64, add func(Level)) error {
			return v.query(ctx, func(r row) error {
				add(Level{ProductID: r.text(0), SKU: r.text(1), Stock: r.int(2), MinStock: r.int(3), Version: r.int(4)})
				return nil
			}, "SELECT product, sku, stock, min_stock, version FROM products WHERE branch = ? AND product > ? AND deleted = 0"+low+" ORDER BY product LIMIT ?",
				q.BranchID, after, limit)
		})
}
