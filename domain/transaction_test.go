package domain

import (
	"math"
	"testing"
	"time"
)

func line(product string, quantity int64) TransactionLine {
	return TransactionLine{ProductID: product, Quantity: quantity}
}

func sale(id string, lines ...TransactionLine) CreateTransaction {
	return CreateTransaction{TransactionID: id, Kind: KindSale, Status: StatusCompleted, Lines: lines}
}

func pendingSale(id string, lines ...TransactionLine) CreateTransaction {
	return CreateTransaction{TransactionID: id, Kind: KindSale, Status: StatusPending, Lines: lines}
}

func purchase(id string, lines ...TransactionLine) CreateTransaction {
	return CreateTransaction{TransactionID: id, Kind: KindPurchase, Status: StatusCompleted, Lines: lines}
}

const nowText = "2026-01-31T12:00:00.000Z"

func Test_transaction_create(t *testing.T) {
	runSpecs(t, freshBranch, map[string]spec{
		"sale": {
			given: []any{opened, tea, cup},
			when: CreateTransaction{
				TransactionID: "t1", Kind: KindSale, Status: StatusCompleted, DeviceID: "till-1", OccurredAt: "2026-01-31T12:59:00+01:00",
				Lines: []TransactionLine{line("tea", 2), {ProductID: "cup", Quantity: 1, UnitPriceMinor: ptr(int64(0))}},
			},
			then: []Payload{
				TransactionCreated{
					TransactionID: "t1", Kind: KindSale, Status: StatusCompleted, TotalMinor: 500, Currency: "EUR", DeviceID: "till-1", OccurredAt: "2026-01-31T11:59:00.000Z",
					Lines: []Line{{ProductID: "tea", Quantity: 2, UnitPriceMinor: 250}, {ProductID: "cup", Quantity: 1}},
				},
				InventoryUpdated{ProductID: "tea", SKU: "T", Delta: -2, Stock: 8, MinStock: 3, Version: 3, Reason: ReasonSale, TransactionID: "t1"},
				InventoryUpdated{ProductID: "cup", SKU: "C", Delta: -1, Stock: 1, Version: 3, Reason: ReasonSale, TransactionID: "t1"},
			},
			result: TransactionResult{TransactionID: "t1", Status: StatusCompleted, TotalMinor: 500, Currency: "EUR"},
		},
		"one_product_on_two_lines": {
			given: []any{opened, tea, cup}, when: sale("t1", line("tea", 2), line("cup", 1), line("tea", 3)),
			then: []Payload{
				TransactionCreated{
					TransactionID: "t1", Kind: KindSale, Status: StatusCompleted, TotalMinor: 2150, Currency: "EUR", OccurredAt: nowText,
					Lines: []Line{{ProductID: "tea", Quantity: 2, UnitPriceMinor: 250}, {ProductID: "cup", Quantity: 1, UnitPriceMinor: 900}, {ProductID: "tea", Quantity: 3, UnitPriceMinor: 250}},
				},
				InventoryUpdated{ProductID: "tea", SKU: "T", Delta: -2, Stock: 8, MinStock: 3, Version: 3, Reason: ReasonSale, TransactionID: "t1"},
				InventoryUpdated{ProductID: "cup", SKU: "C", Delta: -1, Stock: 1, Version: 3, Reason: ReasonSale, TransactionID: "t1"},
				InventoryUpdated{ProductID: "tea", SKU: "T", Delta: -3, Stock: 5, MinStock: 3, Version: 4, Reason: ReasonSale, TransactionID: "t1"},
			},
		},
		"purchase": {
			given: []any{opened, tea}, when: purchase("t1", TransactionLine{ProductID: "tea", Quantity: 20, UnitPriceMinor: ptr(int64(100))}),
			then: []Payload{
				TransactionCreated{
					TransactionID: "t1", Kind: KindPurchase, Status: StatusCompleted, TotalMinor: 2000, Currency: "EUR", OccurredAt: nowText,
					Lines: []Line{{ProductID: "tea", Quantity: 20, UnitPriceMinor: 100}},
				},
				InventoryUpdated{ProductID: "tea", SKU: "T", Delta: 20, Stock: 30, MinStock: 3, Version: 3, Reason: ReasonPurchase, TransactionID: "t1"},
			},
		},
		"pending_moves_nothing": {
			given: []any{opened, tea}, when: pendingSale("", line("tea", 99)),
			then: []Payload{TransactionCreated{
				TransactionID: EventID(now, RoleStaff, "c1\x00transaction", 0), Kind: KindSale, Status: StatusPending, TotalMinor: 24750, Currency: "EUR", OccurredAt: nowText,
				Lines: []Line{{ProductID: "tea", Quantity: 99, UnitPriceMinor: 250}},
			}},
			result: TransactionResult{TransactionID: EventID(now, RoleStaff, "c1\x00transaction", 0), Status: StatusPending, TotalMinor: 24750, Currency: "EUR"},
		},
		"more_than_there_is": {
			given: []any{opened, tea, cup, jam}, when: sale("t1", line("tea", 6), line("cup", 99), line("jam", 2), line("tea", 5)),
			code: CodeInsufficientStock, detail: map[string]any{"lines": []ShortLine{
				{ProductID: "tea", Available: 10, Asked: 11}, {ProductID: "jam", Available: 1, Asked: 2},
			}},
		},
		"first_line_may_go_below_zero_second_may_not": {
			given: []any{opened, tea, cup}, when: sale("t1", line("cup", 3), line("tea", 11)),
			code: CodeInsufficientStock, detail: map[string]any{"lines": []ShortLine{{ProductID: "tea", Available: 10, Asked: 11}}},
		},
		"in_two_currencies": {
			given: []any{opened, tea, usd}, when: sale("t1", line("tea", 1), line("usd", 1)),
			code: CodeValidation, detail: invalid("lines[1].productId", "is priced in USD, lines before it in EUR; a transaction has one currency"),
		},
		"an_id_in_use": {
			given: []any{opened, tea, pendingSale("t1", line("tea", 1))}, when: sale("t1", line("tea", 1)),
			code: CodeInvalidTransition, detail: map[string]any{"from": StatusPending, "to": StatusCompleted},
		},
		"quantities_that_overflow_by_sum":  {given: []any{opened, tea}, when: sale("t1", TransactionLine{"tea", math.MaxInt64, ptr(int64(0))}, TransactionLine{"tea", 2, ptr(int64(0))}), code: CodeOverflow},
		"purchase_beyond_64_bits":          {given: []any{opened, big}, when: purchase("t1", TransactionLine{"big", 1, ptr(int64(0))}), code: CodeOverflow},
		"an_amount_that_overflows":         {given: []any{opened, big}, when: sale("t1", line("big", 2)), code: CodeOverflow},
		"a_total_that_overflows":           {given: []any{opened, big}, when: sale("t1", line("big", 1), line("big", 1)), code: CodeOverflow},
		"an_unknown_product":               {given: []any{opened, tea}, when: sale("t1", line("tea", 1), line("x", 1)), code: CodeUnknownProduct, detail: map[string]any{"productId": "x"}},
		"a_deleted_product":                {given: []any{opened, tea, DeleteProduct{ProductID: "tea"}}, when: sale("t1", line("tea", 1)), code: CodeProductDeleted},
		"no_lines":                         {given: []any{opened, tea}, when: sale("t1"), code: CodeValidation, detail: invalid("lines", "must have at least one line")},
		"too_many_lines":                   {given: []any{opened, tea}, when: sale("t1", make([]TransactionLine, 1001)...), code: CodeBatchTooLarge, detail: map[string]any{"limit": 1000}},
		"quantity_zero":                    {given: []any{opened, tea}, when: sale("t1", line("tea", 1), line("tea", 0)), code: CodeInvalidQuantity, detail: invalid("lines[1].quantity", "must be at least 1")},
		"the_least_number":                 {given: []any{opened, tea}, when: sale("t1", line("tea", math.MinInt64)), code: CodeInvalidQuantity},
		"a_negative_price":                 {given: []any{opened, tea}, when: sale("t1", TransactionLine{"tea", 1, ptr(int64(-1))}), code: CodeValidation},
		"no_kind":                          {given: []any{opened, tea}, when: CreateTransaction{Status: StatusCompleted, Lines: []TransactionLine{line("tea", 1)}}, code: CodeValidation},
		"a_status_that_comes_later":        {given: []any{opened, tea}, when: CreateTransaction{Kind: KindSale, Status: StatusRefunded, Lines: []TransactionLine{line("tea", 1)}}, code: CodeValidation},
		"occurred_at_no_time":              {given: []any{opened, tea}, when: CreateTransaction{Kind: KindSale, Status: StatusCompleted, Lines: []TransactionLine{line("tea", 1)}, OccurredAt: "yesterday"}, code: CodeOccurredAtInvalid},
		"occurred_at_before_the_years":     {given: []any{opened, tea}, at: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), when: CreateTransaction{Kind: KindSale, Status: StatusCompleted, Lines: []TransactionLine{line("tea", 1)}, OccurredAt: "0001-01-01T00:30:00+01:00"}, code: CodeOccurredAtInvalid},
		"occurred_at_in_the_future":        {given: []any{opened, tea}, when: CreateTransaction{Kind: KindSale, Status: StatusCompleted, Lines: []TransactionLine{line("tea", 1)}, OccurredAt: formatTime(now.Add(maxAhead + time.Second))}, code: CodeOccurredAtInvalid},
		"occurred_at_long_ago":             {given: []any{opened, tea}, when: CreateTransaction{Kind: KindSale, Status: StatusCompleted, Lines: []TransactionLine{line("tea", 1)}, OccurredAt: formatTime(now.Add(-maxBehind - time.Second))}, code: CodeOccurredAtInvalid},
		"by_staff_of_another_branch":       {given: []any{opened, tea}, in: "b2", when: sale("t1", line("tea", 1)), code: CodeBranchForbidden},
		"occurred_at_just_not_too_far_off": {given: []any{opened}, when: CreateTransaction{Kind: KindSale, Status: StatusCompleted, Lines: []TransactionLine{line("tea", 1)}, OccurredAt: formatTime(now.Add(maxAhead))}, code: CodeUnknownProduct},
	})
}

func Test_transaction_status(t *testing.T) {
	to := func(status string, lines ...RefundRequestLine) SetTransactionStatus {
		return SetTransactionStatus{TransactionID: "t1", Status: status, Reason: "why", Lines: lines}
	}
	back := func(product string, quantity int64) RefundRequestLine {
		return RefundRequestLine{ProductID: product, Quantity: quantity}
	}
	moved := func(product, sku string, delta, stock, minStock, version int64, reason string) InventoryUpdated {
		return InventoryUpdated{ProductID: product, SKU: sku, Delta: delta, Stock: stock, MinStock: minStock, Version: version, Reason: reason, TransactionID: "t1"}
	}
	refunded := func(from, to string, total int64, lines ...RefundLine) TransactionStatusChanged {
		return TransactionStatusChanged{TransactionID: "t1", From: from, To: to, Reason: "why", RefundedMinor: &total, Lines: lines}
	}
	moves := func(from, to string) TransactionStatusChanged {
		return TransactionStatusChanged{TransactionID: "t1", From: from, To: to, Reason: "why"}
	}
	sold := []any{opened, tea, cup, sale("t1", line("tea", 4), TransactionLine{"tea", 2, ptr(int64(100))}, line("cup", 1))}
	held := []any{opened, tea, pendingSale("t1", line("tea", 4))}
	bought := []any{opened, tea, purchase("t1", line("tea", 4))}
	and := func(given []any, more ...any) []any { return append(append([]any{}, given...), more...) }
	over := func(product string, refundable, asked int64) map[string]any {
		return map[string]any{"lines": []OverRefundLine{{ProductID: product, Refundable: refundable, Asked: asked}}}
	}
	runSpecs(t, freshBranch, map[string]spec{
		"complete": {
			given: held, when: to(StatusCompleted),
			then:   []Payload{moves(StatusPending, StatusCompleted), moved("tea", "T", -4, 6, 3, 3, ReasonSale)},
			result: StatusResult{TransactionID: "t1", Status: StatusCompleted},
		},
		"complete_a_pending_purchase": {
			given: []any{opened, tea, CreateTransaction{TransactionID: "t1", Kind: KindPurchase, Status: StatusPending, Lines: []TransactionLine{line("tea", 4)}}}, when: to(StatusCompleted),
			then: []Payload{moves(StatusPending, StatusCompleted), moved("tea", "T", 4, 14, 3, 3, ReasonPurchase)},
		},
		"void_a_pending_one":    {given: held, role: RoleManager, when: to(StatusVoided), then: []Payload{moves(StatusPending, StatusVoided)}},
		"fail":                  {given: held, when: to(StatusFailed), then: []Payload{moves(StatusPending, StatusFailed)}},
		"complete_what_is_gone": {given: and(held, CountStock{ProductID: "tea", Counted: 3}), when: to(StatusCompleted), code: CodeInsufficientStock, detail: map[string]any{"lines": []ShortLine{{"tea", 3, 4}}}},
		"complete_what_left_the_range": {
			given: and(held, DeleteProduct{ProductID: "tea"}), when: to(StatusCompleted), code: CodeProductDeleted,
		},
		"void": {
			given: sold, role: RoleManager, when: to(StatusVoided),
			then: []Payload{
				moves(StatusCompleted, StatusVoided),
				moved("tea", "T", 4, 8, 3, 5, ReasonVoid), moved("tea", "T", 2, 10, 3, 6, ReasonVoid), moved("cup", "C", 1, 2, 0, 4, ReasonVoid),
			},
		},
		"void_a_purchase": {
			given: bought, role: RoleManager, when: to(StatusVoided),
			then: []Payload{moves(StatusCompleted, StatusVoided), moved("tea", "T", -4, 10, 3, 4, ReasonVoid)},
		},
		"void_a_purchase_that_was_sold_on": {
			given: and(bought, CountStock{ProductID: "tea", Counted: 1}), role: RoleManager, when: to(StatusVoided),
			code: CodeInsufficientStock, detail: map[string]any{"lines": []ShortLine{{"tea", 1, 4}}},
		},
		"refund_all": {
			given: sold, role: RoleManager, when: to(StatusRefunded),
			then: []Payload{
				refunded(StatusCompleted, StatusRefunded, 2100, RefundLine{"tea", 4, true}, RefundLine{"tea", 2, true}, RefundLine{"cup", 1, true}),
				moved("tea", "T", 4, 8, 3, 5, ReasonRefund), moved("tea", "T", 2, 10, 3, 6, ReasonRefund), moved("cup", "C", 1, 2, 0, 4, ReasonRefund),
			},
			result: StatusResult{TransactionID: "t1", Status: StatusRefunded, RefundedMinor: ptr(int64(2100))},
		},
		"refund_a_line_across_two_prices": {
			given: sold, role: RoleManager, when: to(StatusPartiallyRefunded, back("tea", 5)),
			then: []Payload{
				refunded(StatusCompleted, StatusPartiallyRefunded, 1100, RefundLine{"tea", 5, true}), moved("tea", "T", 5, 9, 3, 5, ReasonRefund),
			},
			result: StatusResult{TransactionID: "t1", Status: StatusPartiallyRefunded, RefundedMinor: ptr(int64(1100))},
		},
		"refund_without_restock": {
			given: sold, role: RoleManager, when: to(StatusPartiallyRefunded, RefundRequestLine{"tea", 1, ptr(false)}, RefundRequestLine{"tea", 1, ptr(true)}),
			then: []Payload{
				refunded(StatusCompleted, StatusPartiallyRefunded, 500, RefundLine{"tea", 1, false}, RefundLine{"tea", 1, true}), moved("tea", "T", 1, 5, 3, 5, ReasonRefund),
			},
		},
		"refund_again": {
			given: and(sold, to(StatusPartiallyRefunded, back("tea", 5))), role: RoleManager, when: to(StatusPartiallyRefunded, back("cup", 1)),
			then: []Payload{
				refunded(StatusPartiallyRefunded, StatusPartiallyRefunded, 2000, RefundLine{"cup", 1, true}), moved("cup", "C", 1, 2, 0, 4, ReasonRefund),
			},
		},
		"refund_the_rest": {
			given: and(sold, to(StatusPartiallyRefunded, back("tea", 5))), role: RoleManager, when: to(StatusRefunded),
			then: []Payload{
				refunded(StatusPartiallyRefunded, StatusRefunded, 2100, RefundLine{"tea", 1, true}, RefundLine{"cup", 1, true}),
				moved("tea", "T", 1, 10, 3, 6, ReasonRefund), moved("cup", "C", 1, 2, 0, 4, ReasonRefund),
			},
		},
		"partial_refund_that_comes_to_all": {
			given: []any{opened, tea, sale("t1", line("tea", 1))}, role: RoleManager, when: to(StatusPartiallyRefunded, back("tea", 1)),
			then: []Payload{refunded(StatusCompleted, StatusRefunded, 250, RefundLine{"tea", 1, true}), moved("tea", "T", 1, 10, 3, 4, ReasonRefund)},
		},
		"refund_of_lines_that_leaves_some": {
			given: []any{opened, tea, sale("t1", line("tea", 2))}, role: RoleManager, when: to(StatusRefunded, back("tea", 1)),
			then: []Payload{refunded(StatusCompleted, StatusPartiallyRefunded, 250, RefundLine{"tea", 1, true}), moved("tea", "T", 1, 9, 3, 4, ReasonRefund)},
		},
		"refund_of_a_purchase": {
			given: bought, role: RoleManager, when: to(StatusRefunded),
			then: []Payload{refunded(StatusCompleted, StatusRefunded, 1000, RefundLine{"tea", 4, true}), moved("tea", "T", -4, 10, 3, 4, ReasonRefund)},
		},
		"refund_of_what_left_the_range": {
			given: and(sold, DeleteProduct{ProductID: "tea"}), role: RoleManager, when: to(StatusRefunded),
			then: []Payload{
				refunded(StatusCompleted, StatusRefunded, 2100, RefundLine{"tea", 4, false}, RefundLine{"tea", 2, false}, RefundLine{"cup", 1, true}),
				moved("cup", "C", 1, 2, 0, 4, ReasonRefund),
			},
		},
		"refund_more_than_sold":          {given: sold, role: RoleManager, when: to(StatusPartiallyRefunded, back("tea", 4), back("tea", 3)), code: CodeOverRefund, detail: over("tea", 6, 7)},
		"refund_more_than_left":          {given: and(sold, to(StatusPartiallyRefunded, back("tea", 5))), role: RoleManager, when: to(StatusPartiallyRefunded, back("tea", 2)), code: CodeOverRefund, detail: over("tea", 1, 2)},
		"refund_what_was_not_sold":       {given: sold, role: RoleManager, when: to(StatusPartiallyRefunded, back("jam", 1)), code: CodeOverRefund, detail: over("jam", 0, 1)},
		"refund_sums_that_overflow":      {given: sold, role: RoleManager, when: to(StatusPartiallyRefunded, back("tea", math.MaxInt64), back("tea", 1)), code: CodeOverflow},
		"refund_twice":                   {given: and(sold, to(StatusRefunded)), role: RoleManager, when: to(StatusRefunded), code: CodeInvalidTransition, detail: map[string]any{"from": StatusRefunded, "to": StatusRefunded}},
		"refund_a_pending_one":           {given: held, role: RoleManager, when: to(StatusRefunded), code: CodeInvalidTransition, detail: map[string]any{"from": StatusPending, "to": StatusRefunded}},
		"void_after_a_refund":            {given: and(sold, to(StatusPartiallyRefunded, back("tea", 1))), role: RoleManager, when: to(StatusVoided), code: CodeInvalidTransition, detail: map[string]any{"from": StatusPartiallyRefunded, "to": StatusVoided}},
		"void_twice":                     {given: and(sold, to(StatusVoided)), role: RoleManager, when: to(StatusVoided), code: CodeInvalidTransition},
		"complete_twice":                 {given: sold, when: to(StatusCompleted), code: CodeInvalidTransition},
		"complete_what_failed":           {given: and(held, to(StatusFailed)), when: to(StatusCompleted), code: CodeInvalidTransition},
		"fail_what_is_completed":         {given: sold, when: to(StatusFailed), code: CodeInvalidTransition},
		"of_an_unknown_one":              {given: []any{opened}, when: to(StatusCompleted), code: CodeUnknownTransaction},
		"void_by_staff":                  {given: sold, when: to(StatusVoided), code: CodeRoleForbidden},
		"void_a_pending_one_by_staff":    {given: held, when: to(StatusVoided), code: CodeRoleForbidden},
		"refund_by_staff":                {given: sold, when: to(StatusRefunded), code: CodeRoleForbidden},
		"partial_refund_by_staff":        {given: sold, when: to(StatusPartiallyRefunded, back("tea", 1)), code: CodeRoleForbidden},
		"partial_refund_without_lines":   {given: sold, role: RoleManager, when: to(StatusPartiallyRefunded), code: CodeValidation},
		"void_with_lines":                {given: sold, role: RoleManager, when: to(StatusVoided, back("tea", 1)), code: CodeValidation},
		"to_pending":                     {given: sold, role: RoleManager, when: to(StatusPending), code: CodeValidation},
		"without_a_reason":               {given: sold, role: RoleManager, when: SetTransactionStatus{TransactionID: "t1", Status: StatusVoided}, code: CodeValidation},
		"refund_quantity_zero":           {given: sold, role: RoleManager, when: to(StatusPartiallyRefunded, back("tea", 0)), code: CodeInvalidQuantity},
		"refund_of_too_many_lines":       {given: sold, role: RoleManager, when: to(StatusPartiallyRefunded, make([]RefundRequestLine, 1001)...), code: CodeBatchTooLarge},
		"refund_of_a_line_that_is_no_id": {given: sold, role: RoleManager, when: to(StatusPartiallyRefunded, back("a b", 1)), code: CodeValidation},
		"in_a_closed_branch":             {given: and(sold, ChangeBranch{Status: ptr(BranchClosed)}), role: RoleManager, when: to(StatusVoided), code: CodeBranchClosed},
		"by_a_manager_of_another_branch": {given: sold, role: RoleManager, in: "b2", when: to(StatusVoided), code: CodeBranchForbidden},
		"restock_beyond_64_bits":         {given: []any{opened, big, sale("t1", TransactionLine{"big", 1, ptr(int64(0))}), AdjustStock{ProductID: "big", Delta: 1, Reason: "x"}}, role: RoleManager, when: to(StatusVoided), code: CodeOverflow},
		"refund_restock_beyond_64_bits":  {given: []any{opened, big, sale("t1", TransactionLine{"big", 1, ptr(int64(0))}), AdjustStock{ProductID: "big", Delta: 1, Reason: "x"}}, role: RoleManager, when: to(StatusRefunded), code: CodeOverflow},
	})
}
