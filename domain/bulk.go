package domain

import "fmt"

// BulkResult is the result of stock.adjust-bulk.
type BulkResult struct {
	Mode     string     `json:"mode"`
	Applied  int        `json:"applied"`
	Rejected int        `json:"rejected"`
	Lines    []BulkLine `json:"lines"`
}

// BulkLine is what became of a line: the product as the line left it, or the
// code for which it was not applied. Available and Asked come with
// insufficient_stock.
type BulkLine struct {
	Index     int    `json:"index"` // of the line, from 0
	ProductID string `json:"productId"`
	OK        bool   `json:"ok"`
	Stock     *int64 `json:"stock,omitempty"`
	Version   *int64 `json:"version,omitempty"`
	Code      string `json:"code,omitempty"`
	Message   string `json:"message,omitempty"`
	Available *int64 `json:"available,omitempty"`
	Asked     *int64 `json:"asked,omitempty"`
}

// adjustStockBulk gives an inventory:updated for each line applied. A line is
// judged on what the applied ones before it have left, so that no event of the
// commit shows a stock that the policy forbids. In mode atomic one bad line
// rejects all, with the code of the first bad one and every bad one in lines.
func (b *Branch) adjustStockBulk(body AdjustStockBulk) (Decision, *Rejection) {
	after := draft{branch: b}
	result := BulkResult{Mode: body.Mode, Lines: make([]BulkLine, len(body.Lines))}
	facts := make([]Fact, 0, len(body.Lines))
	var bad []BulkLine
	var first *Rejection
	for i, l := range body.Lines {
		line := &result.Lines[i]
		line.Index, line.ProductID = i, l.ProductID
		if r := line.judge(&after, l); r != nil {
			line.Code, line.Message = r.Code, r.Message
			bad = append(bad, *line)
			if first == nil {
				first = r
			}
			continue
		}
		p := after.product(l.ProductID)
		facts = append(facts, b.move(p, l.Delta, InventoryUpdated{Reason: l.Reason, Ref: l.Ref}))
		line.OK, line.Stock, line.Version = true, new(p.Stock), new(p.Version)
	}
	result.Applied, result.Rejected = len(facts), len(bad)
	if body.Mode == BulkAtomic && first != nil {
		r := Reject(first.Code, "%d of %d lines can't be applied, hence none was, see lines; the first: %s", len(bad), len(body.Lines), first.Message)
		r.Details = map[string]any{"lines": bad}
		if errs, ok := first.Details["errors"]; ok {
			r.Details["errors"] = errs
		}
		return Decision{}, r
	}
	return Decision{Events: facts, Result: result}, nil
}

// judge says why a line can't be applied.
func (line *BulkLine) judge(after *draft, l BulkAdjustment) *Rejection {
	var v validator
	v.adjustment(fmt.Sprintf("lines[%d].", line.Index), l.ProductID, l.Delta, l.Reason, l.Ref)
	if r := v.result(); r != nil {
		return r
	}
	if _, r := after.branch.product(l.ProductID); r != nil {
		return r
	}
	short, r := after.product(l.ProductID).take(l.Delta)
	if short != nil {
		line.Available, line.Asked = &short.Available, &short.Asked
		r = Reject(CodeInsufficientStock, "not enough of product %s in stock: %d available, %d asked", l.ProductID, short.Available, short.Asked)
	}
	return r
}
