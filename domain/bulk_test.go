package domain

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

func Test_stock_adjust_bulk(t *testing.T) {
	adjust := func(product string, delta int64) BulkAdjustment {
		return BulkAdjustment{ProductID: product, Delta: delta, Reason: "delivery"}
	}
	atomic := func(lines ...BulkAdjustment) AdjustStockBulk {
		return AdjustStockBulk{Mode: BulkAtomic, Lines: lines}
	}
	perLine := func(lines ...BulkAdjustment) AdjustStockBulk {
		return AdjustStockBulk{Mode: BulkPerLine, Lines: lines}
	}
	moved := func(product, sku string, delta, stock, minStock, version int64) Payload {
		return InventoryUpdated{ProductID: product, SKU: sku, Delta: delta, Stock: stock, MinStock: minStock, Version: version, Reason: "delivery"}
	}
	done := func(i int, product string, stock, version int64) BulkLine {
		return BulkLine{Index: i, ProductID: product, OK: true, Stock: &stock, Version: &version}
	}
	short := func(i int, product string, available, asked int64) BulkLine {
		return BulkLine{
			Index: i, ProductID: product, Code: CodeInsufficientStock, Available: &available, Asked: &asked,
			Message: fmt.Sprintf("not enough of product %s in stock: %d available, %d asked", product, available, asked),
		}
	}
	unknown := func(i int) BulkLine {
		return BulkLine{Index: i, ProductID: "x", Code: CodeUnknownProduct, Message: "there is no product x in branch b1"}
	}
	runSpecs(t, freshBranch, map[string]spec{
		"atomic": {
			given: []any{opened, tea, cup}, role: RoleManager, when: atomic(adjust("tea", 5), adjust("cup", -3), adjust("tea", -15)),
			then: []Payload{moved("tea", "T", 5, 15, 3, 3), moved("cup", "C", -3, -1, 0, 3), moved("tea", "T", -15, 0, 3, 4)},
			result: BulkResult{Mode: BulkAtomic, Applied: 3, Lines: []BulkLine{
				done(0, "tea", 15, 3), done(1, "cup", -1, 3), done(2, "tea", 0, 4),
			}},
		},
		"atomic_lists_every_bad_line_under_the_code_of_the_first": {
			given: []any{opened, tea, jam}, role: RoleManager,
			when: atomic(adjust("tea", -8), adjust("tea", -3), adjust("x", 1), adjust("tea", -2), adjust("jam", -2)),
			code: CodeInsufficientStock, detail: map[string]any{"lines": []BulkLine{short(1, "tea", 2, 3), unknown(2), short(4, "jam", 1, 2)}},
		},
		"atomic_with_an_unknown_one_first": {
			given: []any{opened, tea}, role: RoleManager, when: atomic(adjust("x", 1), adjust("tea", -11)),
			code: CodeUnknownProduct, detail: map[string]any{"lines": []BulkLine{unknown(0), short(1, "tea", 10, 11)}},
		},
		"atomic_by_nothing": {
			given: []any{opened, tea}, role: RoleManager, when: atomic(adjust("tea", 1), adjust("tea", 0)),
			code: CodeInvalidQuantity, detail: map[string]any{
				"errors": []FieldError{{Field: "lines[1].delta", Message: "must be a change, and be one that can be undone"}},
				"lines":  []BulkLine{{Index: 1, ProductID: "tea", Code: CodeInvalidQuantity, Message: "lines[1].delta must be a change, and be one that can be undone"}},
			},
		},
		"atomic_without_a_reason": {given: []any{opened, tea}, role: RoleManager, when: atomic(BulkAdjustment{ProductID: "tea", Delta: 1}), code: CodeValidation},
		"per_line": {
			given: []any{opened, tea, cup, DeleteProduct{ProductID: "cup"}}, role: RoleManager,
			when: perLine(adjust("tea", -8), adjust("tea", -3), adjust("x", 1), adjust("cup", 1), BulkAdjustment{ProductID: "tea", Delta: -2, Reason: "delivery", Ref: "note 7"}),
			then: []Payload{
				moved("tea", "T", -8, 2, 3, 3),
				InventoryUpdated{ProductID: "tea", SKU: "T", Delta: -2, Stock: 0, MinStock: 3, Version: 4, Reason: "delivery", Ref: "note 7"},
			},
			result: BulkResult{Mode: BulkPerLine, Applied: 2, Rejected: 3, Lines: []BulkLine{
				done(0, "tea", 2, 3), short(1, "tea", 2, 3), unknown(2),
				{Index: 3, ProductID: "cup", Code: CodeProductDeleted, Message: "product cup was deleted"},
				done(4, "tea", 0, 4),
			}},
		},
		"per_line_with_no_good_one": {
			given: []any{opened, tea}, role: RoleManager, when: perLine(adjust("x", 1)),
			result: BulkResult{Mode: BulkPerLine, Rejected: 1, Lines: []BulkLine{unknown(0)}},
		},
		"per_line_with_lines_that_are_none": {
			given: []any{opened, tea, big}, role: RoleManager,
			when: perLine(adjust("a b", 1), adjust("tea", 0), BulkAdjustment{ProductID: "tea", Delta: 1}, adjust("tea", math.MinInt64), adjust("big", 1)),
			result: BulkResult{Mode: BulkPerLine, Rejected: 5, Lines: []BulkLine{
				{Index: 0, ProductID: "a b", Code: CodeValidation, Message: "the body is not valid: 1 field(s), see errors"},
				{Index: 1, ProductID: "tea", Code: CodeInvalidQuantity, Message: "lines[1].delta must be a change, and be one that can be undone"},
				{Index: 2, ProductID: "tea", Code: CodeValidation, Message: "the body is not valid: 1 field(s), see errors"},
				{Index: 3, ProductID: "tea", Code: CodeInvalidQuantity, Message: "lines[3].delta must be a change, and be one that can be undone"},
				{Index: 4, ProductID: "big", Code: CodeOverflow, Message: "the stock of product big is beyond 64 bits"},
			}},
		},
		"below_zero_where_allowed_then_up": {
			given: []any{opened, cup}, role: RoleManager, when: atomic(adjust("cup", -5), adjust("cup", 1)),
			then: []Payload{moved("cup", "C", -5, -3, 0, 3), moved("cup", "C", 1, -2, 0, 4)},
		},
		"of_1000_lines": {given: []any{opened, cup}, role: RoleManager, when: AdjustStockBulk{Mode: BulkPerLine, Lines: make([]BulkAdjustment, 1000)}},
		"of_1001_lines": {
			given: []any{opened, cup}, role: RoleManager, when: AdjustStockBulk{Mode: BulkPerLine, Lines: make([]BulkAdjustment, 1001)},
			code: CodeBatchTooLarge, detail: map[string]any{"limit": 1000},
		},
		"without_lines":     {given: []any{opened}, role: RoleManager, when: perLine(), code: CodeValidation, detail: invalid("lines", "must have at least one line")},
		"without_a_mode":    {given: []any{opened}, role: RoleManager, when: AdjustStockBulk{Lines: []BulkAdjustment{adjust("tea", 1)}}, code: CodeValidation, detail: invalid("mode", "must be one of atomic, per-line")},
		"by_staff":          {given: []any{opened, tea}, when: atomic(adjust("tea", 1)), code: CodeRoleForbidden},
		"in_a_closed_one":   {given: []any{opened, tea, ChangeBranch{Status: ptr(BranchClosed)}}, role: RoleManager, when: atomic(adjust("tea", 1)), code: CodeBranchClosed},
		"in_an_unknown_one": {role: RoleManager, when: atomic(adjust("tea", 1)), code: CodeUnknownBranch},
	})
}

// Test_a_bulk_of_1000_with_one_bad_line in both modes: none applied, or all
// others.
func Test_a_bulk_of_1000_with_one_bad_line(t *testing.T) {
	body := AdjustStockBulk{Mode: BulkAtomic}
	for range 1000 {
		body.Lines = append(body.Lines, BulkAdjustment{ProductID: "tea", Delta: 1, Reason: "delivery"})
	}
	body.Lines[500].ProductID = "x"
	b := NewBranch("b1")
	given(t, b, RoleAdmin, opened, tea)
	_, r := b.Decide(command(RoleManager, body))
	if r == nil || r.Code != CodeUnknownProduct || len(r.Details["lines"].([]BulkLine)) != 1 || r.Details["lines"].([]BulkLine)[0].Index != 500 {
		t.Fatalf("atomic: %v, want %s of line 500", r, CodeUnknownProduct)
	}
	body.Mode = BulkPerLine
	made := commit(t, b, command(RoleManager, body))
	if got := b.Products["tea"].Stock; len(made.Events) != 999 || got != 10+999 {
		t.Errorf("per line: %d events, stock %d; want 999 and %d", len(made.Events), got, 10+999)
	}
	if !strings.Contains(string(made.Result), `"applied":999,"rejected":1`) {
		t.Errorf("result %.80s", made.Result)
	}
}
