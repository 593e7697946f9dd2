package domain

import "fmt"

// Policies on negative stock.
const (
	// NegativeDeny: nothing takes the stock below zero.
	NegativeDeny = "deny"
	// NegativeOfflineOnly: only sales made offline do, since they have
	// happened already.
	NegativeOfflineOnly = "offline-only"
	// NegativeAllow: everything may.
	NegativeAllow = "allow"
)

// ProductResult is the result of product.create, product.change and
// product.delete: the product's version after the command.
type ProductResult struct {
	ProductID string `json:"productId"`
	Version   int64  `json:"version"`
}

// product finds a product that is in the range.
func (b *Branch) product(id string) (*ProductState, *Rejection) {
	p, known := b.Products[id]
	switch {
	case !known:
		r := Reject(CodeUnknownProduct, "there is no product %s in branch %s", id, b.ID)
		r.Details = map[string]any{"productId": id}
		return nil, r
	case p.Deleted:
		r := Reject(CodeProductDeleted, "product %s was deleted", id)
		r.Details = map[string]any{"productId": id}
		return nil, r
	default:
		return p, nil
	}
}

// expect finds a product in the version that the caller has seen; nil for any.
func (b *Branch) expect(id string, version *int64) (*ProductState, *Rejection) {
	p, r := b.product(id)
	if r == nil && version != nil && *version != p.Version {
		return nil, versionConflict(p, *version)
	}
	return p, r
}

func versionConflict(p *ProductState, expected int64) *Rejection {
	r := Reject(CodeVersionConflict, "product %s is at version %d, not %d; read it again", p.ProductID, p.Version, expected)
	r.Details = map[string]any{"current": p.Version}
	return r
}

func (b *Branch) freeSKU(sku string) *Rejection {
	if id, taken := b.skus[sku]; taken {
		r := Reject(CodeDuplicateSKU, "SKU %q is product %s's", sku, id)
		r.Details = map[string]any{"productId": id}
		return r
	}
	return nil
}

// createProduct gives product:updated "created" and, if a stock is given, zero
// included, inventory:updated "initial". The first carries the product as the command
// leaves it, stock included, in version 1. An id that is in use is a conflict
// with the version it has; one of a deleted product stays taken.
func (b *Branch) createProduct(c Command, body CreateProduct) (Decision, *Rejection) {
	id := body.ProductID
	if id == "" {
		id = madeID(c, "product")
	}
	if p, taken := b.Products[id]; taken {
		if p.Deleted {
			_, r := b.product(id)
			return Decision{}, r
		}
		return Decision{}, versionConflict(p, 0)
	}
	if r := b.freeSKU(body.SKU); r != nil {
		return Decision{}, r
	}
	p := Product{
		ProductID: id, SKU: body.SKU, Name: body.Name, PriceMinor: body.PriceMinor, Currency: body.Currency,
		MinStock: body.MinStock, NegativeStock: body.NegativeStock, Version: 1,
	}
	set(&p.Stock, body.Stock)
	if p.NegativeStock == "" {
		p.NegativeStock = NegativeDeny
	}
	d := Decision{Events: []Fact{{BranchID: b.ID, Payload: ProductUpdated{
		Action: ActionCreated, ProductID: id, Product: p, Changes: []string{},
	}}}}
	version := p.Version
	if body.Stock != nil {
		p.Stock = 0
		moved := b.move(&p, *body.Stock, InventoryUpdated{Reason: ReasonInitial})
		d.Events, version = append(d.Events, moved), p.Version
	}
	d.Result = ProductResult{ProductID: id, Version: version}
	return d, nil
}

// changeProduct gives product:updated "updated" and, if the stock differs,
// inventory:updated "count" after it. Both carry the product as the command
// leaves it. A change that changes nothing has no event: who sends a whole
// form back has not counted, unlike stock.count.
func (b *Branch) changeProduct(body ChangeProduct) (Decision, *Rejection) {
	was, r := b.expect(body.ProductID, body.ExpectedVersion)
	if r != nil {
		return Decision{}, r
	}
	if body.SKU != nil && *body.SKU != was.SKU {
		if r := b.freeSKU(*body.SKU); r != nil {
			return Decision{}, r
		}
	}
	p := was.Product
	set(&p.SKU, body.SKU)
	set(&p.Name, body.Name)
	set(&p.PriceMinor, body.PriceMinor)
	set(&p.Currency, body.Currency)
	set(&p.Stock, body.Stock)
	set(&p.MinStock, body.MinStock)
	set(&p.NegativeStock, body.NegativeStock)
	changes := productChanges(was.Product, p)
	if len(changes) == 0 {
		return Decision{Result: ProductResult{ProductID: p.ProductID, Version: p.Version}}, nil
	}
	p.Version++
	d := Decision{Events: []Fact{{BranchID: b.ID, Payload: ProductUpdated{
		Action: ActionUpdated, ProductID: p.ProductID, Product: p, Changes: changes,
	}}}}
	if p.Stock != was.Stock {
		delta, ok := checkedSub(p.Stock, was.Stock)
		if !ok {
			return Decision{}, overflow("the change of stock")
		}
		p.Stock = was.Stock
		d.Events = append(d.Events, b.move(&p, delta, InventoryUpdated{Reason: ReasonCount}))
	}
	d.Result = ProductResult{ProductID: p.ProductID, Version: p.Version}
	return d, nil
}

func productChanges(was, is Product) []string {
	var changes []string
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"sku", was.SKU != is.SKU},
		{"name", was.Name != is.Name},
		{"priceMinor", was.PriceMinor != is.PriceMinor},
		{"currency", was.Currency != is.Currency},
		{"stock", was.Stock != is.Stock},
		{"minStock", was.MinStock != is.MinStock},
		{"negativeStock", was.NegativeStock != is.NegativeStock},
	} {
		if f.differs {
			changes = append(changes, f.name)
		}
	}
	return changes
}

// deleteProduct gives product:updated "deleted" with the product as it last
// was, version included. Its SKU is free again, its id is not.
func (b *Branch) deleteProduct(body DeleteProduct) (Decision, *Rejection) {
	p, r := b.product(body.ProductID)
	if r != nil {
		return Decision{}, r
	}
	return Decision{
		Events: []Fact{{BranchID: b.ID, Payload: ProductUpdated{
			Action: ActionDeleted, ProductID: p.ProductID, Product: p.Product, Changes: []string{},
		}}},
		Result: ProductResult{ProductID: p.ProductID, Version: p.Version},
	}, nil
}

// evolveProduct takes everything but the stock from the payload: stock is the
// sum of inventory:updated's deltas and of nothing else.
func (b *Branch) evolveProduct(e ProductUpdated) error {
	p, known := b.Products[e.ProductID]
	if known == (e.Action == ActionCreated) {
		return fmt.Errorf("it says %q, product %s is there: %t", e.Action, e.ProductID, known)
	}
	if !known {
		p = &ProductState{}
		b.Products[e.ProductID] = p
	}
	if p.Deleted {
		return fmt.Errorf("product %s was deleted before", e.ProductID)
	}
	version := p.Version + 1
	if e.Action == ActionDeleted {
		version = p.Version
	}
	if e.Product.Version != version {
		return fmt.Errorf("product %s version %d, want %d", e.ProductID, e.Product.Version, version)
	}
	if known && b.skus[p.SKU] == e.ProductID {
		delete(b.skus, p.SKU)
	}
	stock := p.Stock
	p.Product, p.Stock = e.Product, stock
	if e.Action == ActionDeleted {
		p.Deleted = true
	} else {
		b.skus[p.SKU] = e.ProductID
	}
	return nil
}
