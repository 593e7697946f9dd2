package domain

import (
	"strings"
	"testing"
)

func Test_product_create(t *testing.T) {
	created := Product{
		ProductID: "tea", SKU: "T", Name: "Tea", PriceMinor: 250, Currency: "EUR",
		Stock: 10, MinStock: 3, NegativeStock: NegativeDeny, Version: 1,
	}
	bare := CreateProduct{SKU: "X", Name: "X", Currency: "EUR"}
	id := EventID(now, RoleManager, "c1\x00product", 0)
	runSpecs(t, freshBranch, map[string]spec{
		"with_stock": {
			given: []any{opened}, role: RoleManager, when: tea,
			then: []Payload{
				ProductUpdated{Action: ActionCreated, ProductID: "tea", Product: created, Changes: []string{}},
				InventoryUpdated{ProductID: "tea", SKU: "T", Delta: 10, Stock: 10, MinStock: 3, Version: 2, Reason: ReasonInitial},
			},
			result: ProductResult{ProductID: "tea", Version: 2},
		},
		"with_a_stock_of_none": {
			given: []any{opened}, role: RoleManager, when: CreateProduct{ProductID: "x", SKU: "X", Name: "X", Currency: "EUR", Stock: new(int64)},
			then: []Payload{
				ProductUpdated{Action: ActionCreated, ProductID: "x", Product: Product{
					ProductID: "x", SKU: "X", Name: "X", Currency: "EUR", NegativeStock: NegativeDeny, Version: 1,
				}, Changes: []string{}},
				InventoryUpdated{ProductID: "x", SKU: "X", Version: 2, Reason: ReasonInitial},
			},
			result: ProductResult{ProductID: "x", Version: 2},
		},
		"without_id_and_stock": {
			given: []any{opened}, role: RoleManager, when: bare,
			then: []Payload{ProductUpdated{Action: ActionCreated, ProductID: id, Product: Product{
				ProductID: id, SKU: "X", Name: "X", Currency: "EUR", NegativeStock: NegativeDeny, Version: 1,
			}, Changes: []string{}}},
			result: ProductResult{ProductID: id, Version: 1},
		},
		"with_a_name_to_escape": {
			given: []any{opened}, role: RoleManager, when: CreateProduct{ProductID: "x", SKU: "X", Name: `=cmd() <b>"né"</b>`, Currency: "EUR"},
			then: []Payload{ProductUpdated{Action: ActionCreated, ProductID: "x", Product: Product{
				ProductID: "x", SKU: "X", Name: `=cmd() <b>"né"</b>`, Currency: "EUR", NegativeStock: NegativeDeny, Version: 1,
			}, Changes: []string{}}},
		},
		"with_a_sku_in_use": {
			given: []any{opened, tea}, role: RoleManager, when: CreateProduct{ProductID: "x", SKU: "T", Name: "X", Currency: "EUR"},
			code: CodeDuplicateSKU, detail: map[string]any{"productId": "tea"},
		},
		"with_the_sku_of_a_deleted_one": {
			given: []any{opened, tea, DeleteProduct{ProductID: "tea"}}, role: RoleManager, when: CreateProduct{ProductID: "x", SKU: "T", Name: "X", Currency: "EUR"},
			then: []Payload{ProductUpdated{Action: ActionCreated, ProductID: "x", Product: Product{
				ProductID: "x", SKU: "T", Name: "X", Currency: "EUR", NegativeStock: NegativeDeny, Version: 1,
			}, Changes: []string{}}},
		},
		"with_an_id_in_use":              {given: []any{opened, tea}, role: RoleManager, when: CreateProduct{ProductID: "tea", SKU: "X", Name: "X", Currency: "EUR"}, code: CodeVersionConflict, detail: map[string]any{"current": int64(2)}},
		"with_the_id_of_a_deleted_one":   {given: []any{opened, tea, DeleteProduct{ProductID: "tea"}}, role: RoleManager, when: tea, code: CodeProductDeleted},
		"by_staff":                       {given: []any{opened}, when: tea, code: CodeRoleForbidden},
		"by_a_manager_of_another_branch": {given: []any{opened}, role: RoleManager, in: "b2", when: tea, code: CodeBranchForbidden},
		"with_negative_stock":            {given: []any{opened}, role: RoleManager, when: CreateProduct{SKU: "X", Name: "X", Currency: "EUR", Stock: new(int64(-1))}, code: CodeInvalidQuantity, detail: invalid("stock", "must not be negative")},
		"with_negative_minimum":          {given: []any{opened}, role: RoleManager, when: CreateProduct{SKU: "X", Name: "X", Currency: "EUR", MinStock: -1}, code: CodeInvalidQuantity},
		"with_negative_price":            {given: []any{opened}, role: RoleManager, when: CreateProduct{SKU: "X", Name: "X", Currency: "EUR", PriceMinor: -1}, code: CodeValidation},
		"with_no_currency":               {given: []any{opened}, role: RoleManager, when: CreateProduct{SKU: "X", Name: "X"}, code: CodeValidation},
		"with_a_currency_in_small":       {given: []any{opened}, role: RoleManager, when: CreateProduct{SKU: "X", Name: "X", Currency: "eur"}, code: CodeValidation},
		"with_no_policy":                 {given: []any{opened}, role: RoleManager, when: CreateProduct{SKU: "X", Name: "X", Currency: "EUR", NegativeStock: "sometimes"}, code: CodeValidation},
		"with_a_blank_sku":               {given: []any{opened}, role: RoleManager, when: CreateProduct{SKU: " ", Name: "X", Currency: "EUR"}, code: CodeValidation},
		"with_a_long_name":               {given: []any{opened}, role: RoleManager, when: CreateProduct{SKU: "X", Name: strings.Repeat("é", 201), Currency: "EUR"}, code: CodeValidation},
		"with_a_control_character":       {given: []any{opened}, role: RoleManager, when: CreateProduct{SKU: "X", Name: "a\x00b", Currency: "EUR"}, code: CodeValidation},
		"with_an_id_that_is_none":        {given: []any{opened}, role: RoleManager, when: CreateProduct{ProductID: "a b", SKU: "X", Name: "X", Currency: "EUR"}, code: CodeValidation, detail: invalid("productId", msgID)},
	})
}

func Test_product_change(t *testing.T) {
	after := Product{
		ProductID: "tea", SKU: "T", Name: "Tea", PriceMinor: 250, Currency: "EUR",
		Stock: 10, MinStock: 3, NegativeStock: NegativeDeny, Version: 3,
	}
	with := func(change func(*Product)) Product {
		p := after
		change(&p)
		return p
	}
	runSpecs(t, freshBranch, map[string]spec{
		"price": {
			given: []any{opened, tea}, role: RoleManager, when: ChangeProduct{ProductID: "tea", PriceMinor: ptr(int64(300))},
			then: []Payload{ProductUpdated{
				Action: ActionUpdated, ProductID: "tea", Product: with(func(p *Product) { p.PriceMinor = 300 }), Changes: []string{"priceMinor"},
			}},
			result: ProductResult{ProductID: "tea", Version: 3},
		},
		"everything": {
			given: []any{opened, tea}, role: RoleManager,
			when: ChangeProduct{
				ProductID: "tea", SKU: ptr("T2"), Name: ptr("Tea 2"), PriceMinor: ptr(int64(1)), Currency: ptr("USD"),
				Stock: ptr(int64(4)), MinStock: ptr(int64(6)), NegativeStock: ptr(NegativeAllow), ExpectedVersion: ptr(int64(2)),
			},
			then: []Payload{
				ProductUpdated{Action: ActionUpdated, ProductID: "tea", Product: Product{
					ProductID: "tea", SKU: "T2", Name: "Tea 2", PriceMinor: 1, Currency: "USD", Stock: 4, MinStock: 6, NegativeStock: NegativeAllow, Version: 3,
				}, Changes: []string{"sku", "name", "priceMinor", "currency", "stock", "minStock", "negativeStock"}},
				InventoryUpdated{ProductID: "tea", SKU: "T2", Delta: -6, Stock: 4, MinStock: 6, Version: 4, Reason: ReasonCount},
			},
			result: ProductResult{ProductID: "tea", Version: 4},
		},
		"stock": {
			given: []any{opened, tea}, role: RoleManager, when: ChangeProduct{ProductID: "tea", Stock: ptr(int64(12))},
			then: []Payload{
				ProductUpdated{Action: ActionUpdated, ProductID: "tea", Product: with(func(p *Product) { p.Stock = 12 }), Changes: []string{"stock"}},
				InventoryUpdated{ProductID: "tea", SKU: "T", Delta: 2, Stock: 12, MinStock: 3, Version: 4, Reason: ReasonCount},
			},
		},
		"nothing": {
			given: []any{opened, tea}, role: RoleManager, when: ChangeProduct{ProductID: "tea", Name: ptr("Tea"), Stock: ptr(int64(10))},
			then: nil, result: ProductResult{ProductID: "tea", Version: 2},
		},
		"its_own_sku": {
			given: []any{opened, tea}, role: RoleManager, when: ChangeProduct{ProductID: "tea", SKU: ptr("T"), MinStock: ptr(int64(4))},
			then: []Payload{ProductUpdated{Action: ActionUpdated, ProductID: "tea", Product: with(func(p *Product) { p.MinStock = 4 }), Changes: []string{"minStock"}}},
		},
		"to_a_sku_given_up": {
			given: []any{opened, tea, cup, ChangeProduct{ProductID: "cup", SKU: ptr("C2")}}, role: RoleManager, when: ChangeProduct{ProductID: "tea", SKU: ptr("C")},
			then: []Payload{ProductUpdated{Action: ActionUpdated, ProductID: "tea", Product: with(func(p *Product) { p.SKU = "C" }), Changes: []string{"sku"}}},
		},
		"stock_from_far_below": {
			given: []any{opened, cup, AdjustStock{ProductID: "cup", Delta: -1<<62 - 1, Reason: "x"}, AdjustStock{ProductID: "cup", Delta: -1 << 62, Reason: "x"}},
			role:  RoleManager, when: ChangeProduct{ProductID: "cup", Stock: ptr(int64(5))}, code: CodeOverflow,
		},
		"to_a_sku_in_use":     {given: []any{opened, tea, cup}, role: RoleManager, when: ChangeProduct{ProductID: "tea", SKU: ptr("C")}, code: CodeDuplicateSKU, detail: map[string]any{"productId": "cup"}},
		"an_unknown_one":      {given: []any{opened}, role: RoleManager, when: ChangeProduct{ProductID: "tea", Name: ptr("X")}, code: CodeUnknownProduct, detail: map[string]any{"productId": "tea"}},
		"a_deleted_one":       {given: []any{opened, tea, DeleteProduct{ProductID: "tea"}}, role: RoleManager, when: ChangeProduct{ProductID: "tea", Name: ptr("X")}, code: CodeProductDeleted},
		"another_version":     {given: []any{opened, tea}, role: RoleManager, when: ChangeProduct{ProductID: "tea", Name: ptr("X"), ExpectedVersion: ptr(int64(1))}, code: CodeVersionConflict, detail: map[string]any{"current": int64(2)}},
		"without_a_field":     {given: []any{opened, tea}, role: RoleManager, when: ChangeProduct{ProductID: "tea", ExpectedVersion: ptr(int64(2))}, code: CodeValidation},
		"to_negative_stock":   {given: []any{opened, tea}, role: RoleManager, when: ChangeProduct{ProductID: "tea", Stock: ptr(int64(-1))}, code: CodeInvalidQuantity},
		"to_negative_minimum": {given: []any{opened, tea}, role: RoleManager, when: ChangeProduct{ProductID: "tea", MinStock: ptr(int64(-1))}, code: CodeInvalidQuantity},
		"to_an_empty_name":    {given: []any{opened, tea}, role: RoleManager, when: ChangeProduct{ProductID: "tea", Name: ptr("")}, code: CodeValidation},
		"by_staff":            {given: []any{opened, tea}, when: ChangeProduct{ProductID: "tea", Name: ptr("X")}, code: CodeRoleForbidden},
	})
}

func Test_product_delete(t *testing.T) {
	runSpecs(t, freshBranch, map[string]spec{
		"shows_it_as_it_last_was": {
			given: []any{opened, tea}, role: RoleManager, when: DeleteProduct{ProductID: "tea"},
			then: []Payload{ProductUpdated{Action: ActionDeleted, ProductID: "tea", Product: Product{
				ProductID: "tea", SKU: "T", Name: "Tea", PriceMinor: 250, Currency: "EUR", Stock: 10, MinStock: 3, NegativeStock: NegativeDeny, Version: 2,
			}, Changes: []string{}}},
			result: ProductResult{ProductID: "tea", Version: 2},
		},
		"twice":          {given: []any{opened, tea, DeleteProduct{ProductID: "tea"}}, role: RoleManager, when: DeleteProduct{ProductID: "tea"}, code: CodeProductDeleted},
		"an_unknown_one": {given: []any{opened}, role: RoleManager, when: DeleteProduct{ProductID: "tea"}, code: CodeUnknownProduct},
		"by_staff":       {given: []any{opened, tea}, when: DeleteProduct{ProductID: "tea"}, code: CodeRoleForbidden},
	})
}
