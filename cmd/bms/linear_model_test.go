package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"

	"bms/domain"
)

// The model: what a branch with two products is to its clients, one command
// after the other. It knows nothing of events, versions of streams or SQLite.

const (
	stockProducts = 2
	maxStockSales = 160
)

// level is a product's stock and version.
type level struct{ stock, version int64 }

// stockSale is what is left of a sale to be refunded.
type stockSale struct {
	made bool
	left [stockProducts]int64
}

// stockState is the state of a branch; a value, so that == compares it whole.
type stockState struct {
	level [stockProducts]level
	sales [maxStockSales]stockSale
}

// stockInput is what a client asks for.
type stockInput struct {
	kind     string // sale, refund, adjust, count; read of both levels
	sale     int    // of sale and refund
	product  int    // of all others
	quantity [stockProducts]int64
	expected int64 // version; 0 for none
}

// stockOutput is what it was answered: the levels of the products that moved,
// or a code with what it tells of the state.
type stockOutput struct {
	code      string
	moved     [stockProducts]level
	available [stockProducts]int64
	current   int64
}

// step does a command on the model.
func (s stockState) step(in stockInput) (stockState, stockOutput) {
	if in.kind == "read" {
		return s, stockOutput{moved: s.level}
	}
	refused := func(code string) (stockState, stockOutput) { return s, stockOutput{code: code} }
	next, delta := s, [stockProducts]int64{}
	switch in.kind {
	case "sale":
		if s.sales[in.sale].made {
			return refused(domain.CodeInvalidTransition)
		}
		for p, q := range in.quantity {
			delta[p] = -q
		}
		next.sales[in.sale] = stockSale{true, in.quantity}
	case "refund":
		sale := &next.sales[in.sale]
		switch {
		case !sale.made:
			return refused(domain.CodeUnknownTransaction)
		case sale.left == [stockProducts]int64{}:
			return refused(domain.CodeInvalidTransition)
		}
		for p, q := range in.quantity {
			if q > sale.left[p] {
				return refused(domain.CodeOverRefund)
			}
			sale.left[p] -= q
		}
		delta = in.quantity
	case "adjust", "count":
		if in.expected != 0 && in.expected != s.level[in.product].version {
			return s, stockOutput{code: domain.CodeVersionConflict, current: s.level[in.product].version}
		}
		delta[in.product] = in.quantity[in.product]
		if in.kind == "count" {
			delta[in.product] -= s.level[in.product].stock
		}
	}
	short := stockOutput{code: domain.CodeInsufficientStock}
	var out stockOutput
	isShort := false
	for p, d := range delta {
		moves := d != 0 || in.kind == "count" && p == in.product
		switch {
		case !moves:
		case d < 0 && s.level[p].stock+d < 0:
			isShort = true
			short.available[p] = s.level[p].stock
		default:
			next.level[p] = level{s.level[p].stock + d, s.level[p].version + 1}
			out.moved[p] = next.level[p]
		}
	}
	if isShort {
		return s, short
	}
	return next, out
}

// stockModel is the model for the checker.
func stockModel(initial stockState) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return initial },
		Step: func(state, input, output any) (bool, any) {
			next, want := state.(stockState).step(input.(stockInput))
			return want == output.(stockOutput), next
		},
	}
}

// describe writes a history for a person, in order of calls.
func describe(history []porcupine.Operation) string {
	sorted := slices.Clone(history)
	slices.SortFunc(sorted, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var s strings.Builder
	for _, op := range sorted {
		fmt.Fprintf(&s, "%9d–%9d µs client %d: %+v -> %+v\n", op.Call/1000, op.Return/1000, op.ClientId, op.Input, op.Output)
	}
	return s.String()
}

// The checker and the model find what they are there to find.
func TestLinear_model_refuses_what_cannot_have_happened(t *testing.T) {
	one := stockState{level: [stockProducts]level{{1, 1}, {5, 1}}}
	sell := func(sale int, q ...int64) stockInput {
		in := stockInput{kind: "sale", sale: sale}
		copy(in.quantity[:], q)
		return in
	}
	op := func(call, end int64, in stockInput, out stockOutput) porcupine.Operation {
		return porcupine.Operation{Input: in, Call: call, Output: out, Return: end}
	}
	sold := stockOutput{moved: [stockProducts]level{{0, 2}}}
	short := stockOutput{code: domain.CodeInsufficientStock}
	refund := stockInput{kind: "refund", sale: 0, quantity: [stockProducts]int64{1}}
	for name, c := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"the_last_one_sold_once":          {[]porcupine.Operation{op(0, 9, sell(0, 1), sold), op(0, 9, sell(1, 1), short)}, true},
		"the_last_one_sold_twice":         {[]porcupine.Operation{op(0, 9, sell(0, 1), sold), op(0, 9, sell(1, 1), sold)}, false},
		"refused_before_it_was_sold":      {[]porcupine.Operation{op(0, 1, sell(0, 1), short), op(2, 3, sell(1, 1), sold)}, false},
		"a_stale_read":                    {[]porcupine.Operation{op(0, 1, sell(0, 1), sold), op(2, 3, stockInput{kind: "read"}, stockOutput{moved: one.level})}, false},
		"a_read_while_it_is_sold":         {[]porcupine.Operation{op(0, 5, sell(0, 1), sold), op(2, 3, stockInput{kind: "read"}, stockOutput{moved: one.level})}, true},
		"a_basket_of_which_half_is_there": {[]porcupine.Operation{op(0, 1, sell(0, 1, 6), sold)}, false},
		"refunded_twice": {[]porcupine.Operation{
			op(0, 1, sell(0, 1), sold),
			op(2, 9, refund, stockOutput{moved: [stockProducts]level{{1, 3}}}), op(2, 9, refund, stockOutput{moved: [stockProducts]level{{2, 4}}}),
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := porcupine.CheckOperations(stockModel(one), c.history); got != c.want {
				t.Errorf("possible: %v, want %v", got, c.want)
			}
		})
	}
}
