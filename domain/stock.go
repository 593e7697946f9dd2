package domain

import (
	"fmt"
	"math"
)

// Reasons that the domain itself gives inventory:updated; an adjustment's is
// the caller's.
const (
	ReasonInitial  = "initial"
	ReasonCount    = "count"
	ReasonSale     = "sale"
	ReasonPurchase = "purchase"
	ReasonRefund   = "refund"
	ReasonVoid     = "void"
	// Ref is the transfer's id with these.
	ReasonTransferOut    = "transfer-out"
	ReasonTransferIn     = "transfer-in"
	ReasonTransferDamage = "transfer-damage" // of what came in right before
	ReasonTransferReturn = "transfer-return"
)

// StockResult is the result of stock.count and stock.adjust.
type StockResult struct {
	ProductID string `json:"productId"`
	Stock     int64  `json:"stock"`
	Version   int64  `json:"version"`
}

// ShortLine is one entry of insufficient_stock's lines: what was asked of a
// product by the whole command, and what there is.
type ShortLine struct {
	ProductID string `json:"productId"`
	Available int64  `json:"available"`
	Asked     int64  `json:"asked"`
}

// countStock sets the stock to what was counted. A count that finds what was
// expected is an event too, with delta 0: it was counted.
func (b *Branch) countStock(body CountStock) (Decision, *Rejection) {
	p, r := b.expect(body.ProductID, body.ExpectedVersion)
	if r != nil {
		return Decision{}, r
	}
	delta, ok := checkedSub(body.Counted, p.Stock)
	if !ok {
		return Decision{}, overflow("the change of stock")
	}
	return b.moveOne(p.Product, delta, InventoryUpdated{Reason: ReasonCount}), nil
}

// adjustStock changes the stock by a delta that the product's policy allows.
func (b *Branch) adjustStock(body AdjustStock) (Decision, *Rejection) {
	p, r := b.expect(body.ProductID, body.ExpectedVersion)
	if r != nil {
		return Decision{}, r
	}
	if r := b.mayMove([]movement{{p.ProductID, body.Delta}}); r != nil {
		return Decision{}, r
	}
	return b.moveOne(p.Product, body.Delta, InventoryUpdated{Reason: body.Reason, Ref: body.Ref}), nil
}

func (b *Branch) moveOne(p Product, delta int64, why InventoryUpdated) Decision {
	fact := b.move(&p, delta, why)
	return Decision{
		Events: []Fact{fact},
		Result: StockResult{ProductID: p.ProductID, Stock: p.Stock, Version: p.Version},
	}
}

// move makes the event of a change that was found to be possible, and leaves p
// as it is after it. why carries reason, ref and transaction.
func (b *Branch) move(p *Product, delta int64, why InventoryUpdated) Fact {
	p.Stock += delta
	p.Version++
	why.ProductID, why.SKU, why.Delta = p.ProductID, p.SKU, delta
	why.Stock, why.MinStock, why.Version = p.Stock, p.MinStock, p.Version
	return Fact{BranchID: b.ID, Payload: why}
}

// movement is a change of stock that a command asks for.
type movement struct {
	productID string
	delta     int64
}

// mayMove says why movements, taken together and each product's in order, may
// not be made: overflow, or insufficient_stock with every product that would
// end below zero, and lower than it is, against its policy. The products are
// in the range.
func (b *Branch) mayMove(movements []movement) *Rejection {
	sums, r := sumByProduct(movements)
	if r != nil {
		return r
	}
	var short []ShortLine
	for _, m := range sums {
		line, r := b.Products[m.productID].take(m.delta)
		if r != nil {
			return r
		}
		if line != nil {
			short = append(short, *line)
		}
	}
	if short == nil {
		return nil
	}
	r = Reject(CodeInsufficientStock, "not enough in stock of %d product(s), see lines", len(short))
	r.Details = map[string]any{"lines": short}
	return r
}

// take says why a product's stock may not change by a delta: overflow, or what
// is short of it.
func (p *Product) take(delta int64) (*ShortLine, *Rejection) {
	left, ok := checkedAdd(p.Stock, delta)
	if !ok || delta == math.MinInt64 { // which has no positive
		return nil, overflow("the stock of product " + p.ProductID)
	}
	if left < 0 && delta < 0 && p.NegativeStock != NegativeAllow {
		return &ShortLine{ProductID: p.ProductID, Available: p.Stock, Asked: -delta}, nil
	}
	return nil, nil
}

// sumByProduct adds movements of the same product up, in order of first
// mention. The result may share the argument's memory.
func sumByProduct(movements []movement) ([]movement, *Rejection) {
	if len(movements) < 2 {
		return movements, nil
	}
	sums := make([]movement, 0, len(movements))
	place := make(map[string]int, len(movements))
	for _, m := range movements {
		i, seen := place[m.productID]
		if !seen {
			place[m.productID] = len(sums)
			sums = append(sums, m)
			continue
		}
		sum, ok := checkedAdd(sums[i].delta, m.delta)
		if !ok {
			return nil, overflow("the quantity of product " + m.productID)
		}
		sums[i].delta = sum
	}
	return sums, nil
}

// moveAll makes the events of movements that mayMove has passed: one for each,
// products named twice go on from where the first left them.
func (b *Branch) moveAll(facts []Fact, movements []movement, why InventoryUpdated) []Fact {
	if len(movements) == 1 {
		p := b.Products[movements[0].productID].Product
		return append(facts, b.move(&p, movements[0].delta, why))
	}
	after := draft{branch: b}
	for _, m := range movements {
		facts = append(facts, b.move(after.product(m.productID), m.delta, why))
	}
	return facts
}

// draft is what a branch's products come to with the events decided so far of
// a command that moves several.
type draft struct {
	branch *Branch
	after  map[string]*Product
}

// product gives a product of the range, to be moved on.
func (d *draft) product(id string) *Product {
	if p, moved := d.after[id]; moved {
		return p
	}
	p := d.branch.Products[id].Product
	if d.after == nil {
		d.after = map[string]*Product{}
	}
	d.after[id] = &p
	return &p
}

func (b *Branch) evolveStock(e InventoryUpdated) error {
	p, known := b.Products[e.ProductID]
	if !known || p.Deleted {
		return fmt.Errorf("product %s is not in the range", e.ProductID)
	}
	stock, ok := checkedAdd(p.Stock, e.Delta)
	if !ok || stock != e.Stock {
		return fmt.Errorf("product %s: stock %d with delta %d is not %d", e.ProductID, p.Stock, e.Delta, e.Stock)
	}
	if e.Version != p.Version+1 {
		return fmt.Errorf("product %s version %d, want %d", e.ProductID, e.Version, p.Version+1)
	}
	p.Stock, p.Version = e.Stock, e.Version
	return nil
}
