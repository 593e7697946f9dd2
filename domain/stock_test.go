package domain

import (
	"math"
	"testing"
)

func Test_stock_count(t *testing.T) {
	runSpecs(t, freshBranch, map[string]spec{
		"fewer": {
			given: []any{opened, tea}, when: CountStock{ProductID: "tea", Counted: 7, ExpectedVersion: ptr(int64(2))},
			then:   []Payload{InventoryUpdated{ProductID: "tea", SKU: "T", Delta: -3, Stock: 7, MinStock: 3, Version: 3, Reason: ReasonCount}},
			result: StockResult{ProductID: "tea", Stock: 7, Version: 3},
		},
		"as_expected": {
			given: []any{opened, tea}, when: CountStock{ProductID: "tea", Counted: 10},
			then: []Payload{InventoryUpdated{ProductID: "tea", SKU: "T", Delta: 0, Stock: 10, MinStock: 3, Version: 3, Reason: ReasonCount}},
		},
		"up_from_below_zero": {
			given: []any{opened, cup, AdjustStock{ProductID: "cup", Delta: -7, Reason: "x"}}, when: CountStock{ProductID: "cup", Counted: 0},
			then: []Payload{InventoryUpdated{ProductID: "cup", SKU: "C", Delta: 5, Stock: 0, Version: 4, Reason: ReasonCount}},
		},
		"negative":        {given: []any{opened, tea}, when: CountStock{ProductID: "tea", Counted: -1}, code: CodeInvalidQuantity, detail: invalid("counted", "must not be negative")},
		"another_version": {given: []any{opened, tea}, when: CountStock{ProductID: "tea", Counted: 1, ExpectedVersion: ptr(int64(9))}, code: CodeVersionConflict, detail: map[string]any{"current": int64(2)}},
		"an_unknown_one":  {given: []any{opened}, when: CountStock{ProductID: "tea"}, code: CodeUnknownProduct},
		"a_deleted_one":   {given: []any{opened, tea, DeleteProduct{ProductID: "tea"}}, when: CountStock{ProductID: "tea"}, code: CodeProductDeleted},
		"beyond_64_bits": {
			given: []any{opened, cup, AdjustStock{ProductID: "cup", Delta: -10, Reason: "x"}},
			when:  CountStock{ProductID: "cup", Counted: math.MaxInt64}, code: CodeOverflow,
		},
	})
}

func Test_stock_adjust(t *testing.T) {
	adjust := func(product string, delta int64) AdjustStock {
		return AdjustStock{ProductID: product, Delta: delta, Reason: "breakage"}
	}
	short := func(product string, available, asked int64) map[string]any {
		return map[string]any{"lines": []ShortLine{{ProductID: product, Available: available, Asked: asked}}}
	}
	runSpecs(t, freshBranch, map[string]spec{
		"down": {
			given: []any{opened, tea}, when: AdjustStock{ProductID: "tea", Delta: -4, Reason: "breakage", Ref: "note 7"},
			then:   []Payload{InventoryUpdated{ProductID: "tea", SKU: "T", Delta: -4, Stock: 6, MinStock: 3, Version: 3, Reason: "breakage", Ref: "note 7"}},
			result: StockResult{ProductID: "tea", Stock: 6, Version: 3},
		},
		"to_zero": {
			given: []any{opened, tea}, when: adjust("tea", -10),
			then: []Payload{InventoryUpdated{ProductID: "tea", SKU: "T", Delta: -10, Stock: 0, MinStock: 3, Version: 3, Reason: "breakage"}},
		},
		"below_zero_where_allowed": {
			given: []any{opened, cup}, when: adjust("cup", -5),
			then: []Payload{InventoryUpdated{ProductID: "cup", SKU: "C", Delta: -5, Stock: -3, Version: 3, Reason: "breakage"}},
		},
		"up_but_still_below_zero": {
			given: []any{opened, cup, adjust("cup", -5), ChangeProduct{ProductID: "cup", NegativeStock: ptr(NegativeDeny)}}, when: adjust("cup", 1),
			then: []Payload{InventoryUpdated{ProductID: "cup", SKU: "C", Delta: 1, Stock: -2, Version: 5, Reason: "breakage"}},
		},
		"below_zero":                  {given: []any{opened, tea}, when: adjust("tea", -11), code: CodeInsufficientStock, detail: short("tea", 10, 11)},
		"below_zero_for_offline_only": {given: []any{opened, jam}, when: adjust("jam", -2), code: CodeInsufficientStock, detail: short("jam", 1, 2)},
		"beyond_64_bits":              {given: []any{opened, big}, when: adjust("big", 1), code: CodeOverflow},
		"below_64_bits":               {given: []any{opened, cup, adjust("cup", -math.MaxInt64)}, when: adjust("cup", -4), code: CodeOverflow},
		"by_nothing":                  {given: []any{opened, tea}, when: adjust("tea", 0), code: CodeInvalidQuantity},
		"by_the_least_number":         {given: []any{opened, cup}, when: adjust("cup", math.MinInt64), code: CodeInvalidQuantity},
		"without_a_reason":            {given: []any{opened, tea}, when: AdjustStock{ProductID: "tea", Delta: 1}, code: CodeValidation},
		"another_version":             {given: []any{opened, tea}, when: AdjustStock{ProductID: "tea", Delta: 1, Reason: "x", ExpectedVersion: ptr(int64(1))}, code: CodeVersionConflict},
		"an_unknown_one":              {given: []any{opened}, when: adjust("tea", 1), code: CodeUnknownProduct},
		"a_deleted_one":               {given: []any{opened, tea, DeleteProduct{ProductID: "tea"}}, when: adjust("tea", 1), code: CodeProductDeleted},
	})
}
