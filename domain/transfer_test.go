package domain

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

// Transfers to b1 and to b2 from the other.
const (
	comes = "0123456789abcdef0123456789abcdef-b1"
	goes  = "0123456789abcdef0123456789abcdef-b2"
)

func send(product string, quantity int64) TransferLine { return TransferLine{product, quantity} }

func announced(lines ...TransferLine) AnnounceTransfer {
	return AnnounceTransfer{TransferID: comes, FromBranchID: "b2", Lines: lines}
}

func receive(lines ...ReceivedLine) ReceiveTransfer {
	return ReceiveTransfer{TransferID: comes, Lines: &lines}
}

func Test_transfer_dispatch(t *testing.T) {
	dispatch := func(lines ...TransferLine) DispatchTransfer {
		return DispatchTransfer{ToBranchID: "b2", Lines: lines}
	}
	id := transferID(command(RoleManager, dispatch()), "b2")
	out := func(product, sku string, delta, stock, minStock, version int64) Payload {
		return InventoryUpdated{ProductID: product, SKU: sku, Delta: delta, Stock: stock, MinStock: minStock, Version: version, Reason: ReasonTransferOut, Ref: id}
	}
	runSpecs(t, freshBranch, map[string]spec{
		"some": {
			given: []any{opened, tea, cup}, role: RoleManager, when: dispatch(send("tea", 4), send("cup", 1), send("tea", 6)),
			then: []Payload{
				TransferDispatched{TransferID: id, FromBranchID: "b1", ToBranchID: "b2", Lines: []TransferLine{{"tea", 10}, {"cup", 1}}},
				out("tea", "T", -4, 6, 3, 3), out("cup", "C", -1, 1, 0, 3), out("tea", "T", -6, 0, 3, 4),
			},
			result: DispatchResult{TransferID: id},
		},
		"more_than_there_is": {
			given: []any{opened, tea, jam}, role: RoleManager, when: dispatch(send("tea", 6), send("tea", 5), send("jam", 2)), code: CodeInsufficientStock,
			detail: map[string]any{"lines": []ShortLine{{"tea", 10, 11}, {"jam", 1, 2}}},
		},
		"beyond_64_bits":       {given: []any{opened, cup}, role: RoleManager, when: dispatch(send("cup", math.MaxInt64), send("cup", 1)), code: CodeOverflow},
		"an_unknown_one":       {given: []any{opened}, role: RoleManager, when: dispatch(send("tea", 1)), code: CodeUnknownProduct},
		"a_deleted_one":        {given: []any{opened, tea, DeleteProduct{ProductID: "tea"}}, role: RoleManager, when: dispatch(send("tea", 1)), code: CodeProductDeleted},
		"nothing":              {given: []any{opened}, role: RoleManager, when: dispatch(), code: CodeValidation, detail: invalid("lines", "must have at least one line")},
		"none_of_one":          {given: []any{opened, tea}, role: RoleManager, when: dispatch(send("tea", 0)), code: CodeInvalidQuantity, detail: invalid("lines[0].quantity", "must be at least 1")},
		"of_no_id":             {given: []any{opened, tea}, role: RoleManager, when: dispatch(send("t e a", 1)), code: CodeValidation, detail: invalid("lines[0].productId", msgID)},
		"too_many_lines":       {given: []any{opened, tea}, role: RoleManager, when: dispatch(make([]TransferLine, 1001)...), code: CodeBatchTooLarge},
		"to_itself":            {given: []any{opened, tea}, role: RoleManager, when: DispatchTransfer{ToBranchID: "b1", Lines: []TransferLine{{"tea", 1}}}, code: CodeValidation, detail: invalid("toBranchId", "must be another branch")},
		"to_no_id":             {given: []any{opened, tea}, role: RoleManager, when: DispatchTransfer{ToBranchID: "b 2", Lines: []TransferLine{{"tea", 1}}}, code: CodeValidation},
		"by_staff":             {given: []any{opened, tea}, when: dispatch(send("tea", 1)), code: CodeRoleForbidden},
		"from_a_closed_branch": {given: []any{opened, tea, ChangeBranch{Status: ptr(BranchClosed)}}, role: RoleManager, when: dispatch(send("tea", 1)), code: CodeBranchClosed},
	})
}

func Test_transfer_receive(t *testing.T) {
	in := func(product, sku string, delta, stock, minStock, version int64, reason string) Payload {
		return InventoryUpdated{ProductID: product, SKU: sku, Delta: delta, Stock: stock, MinStock: minStock, Version: version, Reason: reason, Ref: comes}
	}
	state := func(s string) map[string]any { return map[string]any{"state": s} }
	closed := ChangeBranch{Status: ptr(BranchClosed)}
	runSpecs(t, freshBranch, map[string]spec{
		"all": {
			given: []any{opened, tea, cup, announced(send("tea", 5), send("cup", 2))}, role: RoleManager, when: ReceiveTransfer{TransferID: comes},
			then: []Payload{
				TransferReceived{TransferID: comes, Lines: []ReceivedLine{{"tea", 5, 0}, {"cup", 2, 0}}},
				in("tea", "T", 5, 15, 3, 3, ReasonTransferIn), in("cup", "C", 2, 4, 0, 3, ReasonTransferIn),
			},
			result: ReceiveResult{TransferID: comes, Status: TransferStateReceived, Lines: []ReceivedLine{{"tea", 5, 0}, {"cup", 2, 0}}, InTransit: []TransferLine{}},
		},
		"some_of_it_damaged": {
			given: []any{opened, tea, cup, announced(send("tea", 5), send("cup", 2))}, role: RoleManager, when: receive(ReceivedLine{"tea", 2, 1}),
			then: []Payload{
				TransferReceived{TransferID: comes, Lines: []ReceivedLine{{"tea", 2, 1}}},
				in("tea", "T", 3, 13, 3, 3, ReasonTransferIn), in("tea", "T", -1, 12, 3, 4, ReasonTransferDamage),
			},
			result: ReceiveResult{
				TransferID: comes, Status: TransferStateInTransit, Lines: []ReceivedLine{{"tea", 2, 1}},
				InTransit: []TransferLine{{"tea", 2}, {"cup", 2}},
			},
		},
		"the_rest": {
			given: []any{opened, tea, announced(send("tea", 5)), receive(ReceivedLine{"tea", 1, 1})}, role: RoleManager, when: ReceiveTransfer{TransferID: comes},
			then: []Payload{TransferReceived{TransferID: comes, Lines: []ReceivedLine{{"tea", 3, 0}}}, in("tea", "T", 3, 14, 3, 5, ReasonTransferIn)},
		},
		"one_product_on_two_lines": {
			given: []any{opened, tea, announced(send("tea", 5))}, role: RoleManager, when: receive(ReceivedLine{"tea", 3, 0}, ReceivedLine{"tea", 0, 2}),
			then: []Payload{
				TransferReceived{TransferID: comes, Lines: []ReceivedLine{{"tea", 3, 0}, {"tea", 0, 2}}},
				in("tea", "T", 3, 13, 3, 3, ReasonTransferIn), in("tea", "T", 2, 15, 3, 4, ReasonTransferIn), in("tea", "T", -2, 13, 3, 5, ReasonTransferDamage),
			},
		},
		"more_than_is_in_transit": {
			given: []any{opened, tea, announced(send("tea", 5))}, role: RoleManager, when: receive(ReceivedLine{"tea", 3, 0}, ReceivedLine{"tea", 2, 1}, ReceivedLine{"cup", 1, 0}),
			code: CodeTransferState, detail: map[string]any{"state": "in_transit", "lines": []TransitShortLine{{"tea", 5, 6}, {"cup", 0, 1}}},
		},
		"beyond_64_bits":     {given: []any{opened, tea, announced(send("tea", 5))}, role: RoleManager, when: receive(ReceivedLine{"tea", math.MaxInt64, 1}), code: CodeOverflow},
		"stock_beyond_it":    {given: []any{opened, big, announced(send("big", 5))}, role: RoleManager, when: receive(ReceivedLine{"big", 1, 0}), code: CodeOverflow},
		"twice":              {given: []any{opened, tea, announced(send("tea", 5)), ReceiveTransfer{TransferID: comes}}, role: RoleManager, when: ReceiveTransfer{TransferID: comes}, code: CodeTransferState, detail: state("received")},
		"one_line_twice":     {given: []any{opened, tea, announced(send("tea", 5)), receive(ReceivedLine{"tea", 5, 0})}, role: RoleManager, when: receive(ReceivedLine{"tea", 5, 0}), code: CodeTransferState, detail: state("received")},
		"an_unknown_one":     {given: []any{opened, tea}, role: RoleManager, when: ReceiveTransfer{TransferID: comes}, code: CodeUnknownTransfer},
		"by_its_sender":      {given: []any{opened, tea, DispatchTransfer{ToBranchID: "b2", Lines: []TransferLine{{"tea", 1}}}}, role: RoleManager, when: ReceiveTransfer{TransferID: transferID(thirdGiven(), "b2")}, code: CodeUnknownTransfer},
		"a_refused_one":      {given: []any{opened, tea, closed, announced(send("tea", 5)), ChangeBranch{Status: ptr(BranchOpen)}}, role: RoleManager, when: ReceiveTransfer{TransferID: comes}, code: CodeTransferState, detail: state("refused")},
		"an_unknown_product": {given: []any{opened, announced(send("tea", 5))}, role: RoleManager, when: ReceiveTransfer{TransferID: comes}, code: CodeUnknownProduct, detail: map[string]any{"productId": "tea"}},
		"a_deleted_product":  {given: []any{opened, tea, DeleteProduct{ProductID: "tea"}, announced(send("tea", 5))}, role: RoleManager, when: ReceiveTransfer{TransferID: comes}, code: CodeProductDeleted},
		"in_a_closed_one":    {given: []any{opened, tea, announced(send("tea", 5)), closed}, role: RoleManager, when: ReceiveTransfer{TransferID: comes}, code: CodeBranchClosed},
		"no_lines":           {given: []any{opened}, role: RoleManager, when: receive(), code: CodeValidation, detail: invalid("lines", "must have at least one line; leave them out for all that is in transit")},
		"nothing_of_one":     {given: []any{opened}, role: RoleManager, when: receive(ReceivedLine{"tea", 0, 0}), code: CodeInvalidQuantity},
		"less_than_nothing":  {given: []any{opened}, role: RoleManager, when: receive(ReceivedLine{"tea", -1, 2}), code: CodeInvalidQuantity, detail: invalid("lines[0].received", "must not be negative")},
		"negative_damage":    {given: []any{opened}, role: RoleManager, when: receive(ReceivedLine{"tea", 2, -1}), code: CodeInvalidQuantity, detail: invalid("lines[0].damaged", "must not be negative")},
		"of_no_id":           {given: []any{opened}, role: RoleManager, when: receive(ReceivedLine{"t e a", 1, 0}), code: CodeValidation},
		"too_many_lines":     {given: []any{opened}, role: RoleManager, when: receive(make([]ReceivedLine, 1001)...), code: CodeBatchTooLarge},
		"no_transfer_id":     {given: []any{opened}, role: RoleManager, when: ReceiveTransfer{TransferID: "x"}, code: CodeValidation, detail: invalid("transferId", msgTransferID)},
		"by_staff":           {given: []any{opened, tea, announced(send("tea", 5))}, when: ReceiveTransfer{TransferID: comes}, code: CodeRoleForbidden},
	})
}

// thirdGiven is the command that runSpecs makes of its third given one.
func thirdGiven() Command {
	c := command(RoleAdmin, DispatchTransfer{})
	c.ID = "given-2"
	return c
}

func Test_transfer_cancel(t *testing.T) {
	cancel := CancelTransfer{TransferID: comes}
	withdrawn := func(lines ...TransferLine) []Payload {
		return []Payload{TransferWithdrawn{TransferID: comes, FromBranchID: "b2", ToBranchID: "b1", Lines: lines}}
	}
	result := func(lines ...TransferLine) CancelResult {
		return CancelResult{TransferID: comes, Status: TransferStateCancelled, Lines: lines}
	}
	closed := ChangeBranch{Status: ptr(BranchClosed)}
	runSpecs(t, freshBranch, map[string]spec{
		"all_of_it": {
			given: []any{opened, tea, announced(send("tea", 5), send("x", 1))}, role: RoleAdmin, in: "b2", when: cancel,
			then: withdrawn(send("tea", 5), send("x", 1)), result: result(send("tea", 5), send("x", 1)),
		},
		"what_has_not_come": {
			given: []any{opened, tea, cup, announced(send("tea", 5), send("cup", 1)), receive(ReceivedLine{"tea", 2, 1}, ReceivedLine{"cup", 1, 0})}, role: RoleAdmin, in: "b2", when: cancel,
			then: withdrawn(send("tea", 2)), result: result(send("tea", 2)),
		},
		"from_a_closed_one":      {given: []any{opened, announced(send("tea", 5)), closed}, role: RoleAdmin, in: "b2", when: cancel, then: withdrawn(send("tea", 5))},
		"a_received_one":         {given: []any{opened, tea, announced(send("tea", 5)), ReceiveTransfer{TransferID: comes}}, role: RoleAdmin, in: "b2", when: cancel, code: CodeTransferState, detail: map[string]any{"state": "received"}},
		"a_refused_one":          {given: []any{announced(send("tea", 5))}, role: RoleAdmin, in: "b2", when: cancel, code: CodeTransferState, detail: map[string]any{"state": "refused"}},
		"an_unknown_one":         {given: []any{opened}, role: RoleAdmin, in: "b2", when: cancel, code: CodeUnknownTransfer},
		"another_branchs":        {given: []any{opened, announced(send("tea", 5))}, role: RoleAdmin, in: "b3", when: cancel, code: CodeUnknownTransfer},
		"by_the_receiver":        {given: []any{opened, announced(send("tea", 5))}, role: RoleManager, when: cancel, code: CodeUnknownTransfer},
		"by_staff":               {given: []any{opened, announced(send("tea", 5))}, when: cancel, code: CodeRoleForbidden},
		"by_a_stranger":          {given: []any{opened, announced(send("tea", 5))}, role: RoleManager, in: "b2", when: cancel, code: CodeBranchForbidden},
		"in_the_senders_stream":  {given: []any{opened}, role: RoleManager, when: CancelTransfer{TransferID: goes}, code: CodeValidation, detail: invalid("type", "transfer.cancel is not decided in branch/b1")},
		"what_is_no_transfer_id": {given: []any{opened}, role: RoleManager, when: CancelTransfer{TransferID: "../b1"}, code: CodeValidation},
	})
	t.Run("twice_or_before_receipt", func(t *testing.T) {
		b := NewBranch("b1")
		given(t, b, RoleAdmin, opened, tea, announced(send("tea", 5)))
		c := command(RoleAdmin, cancel)
		c.BranchID = "b2"
		commit(t, b, c)
		for _, c := range []Command{c, command(RoleManager, ReceiveTransfer{TransferID: comes}), command(RoleManager, receive(ReceivedLine{"tea", 1, 0}))} {
			if _, r := b.Decide(c); r == nil || r.Code != CodeTransferState || r.Details["state"] != TransferStateCancelled {
				t.Errorf("%s after the cancellation: %v, want %s", c.Type, r, CodeTransferState)
			}
		}
	})
}

func Test_transfer_ids_name_the_branch_that_decides(t *testing.T) {
	for _, to := range []string{"b2", strings.Repeat("b", 64), "-", "a-b_C"} {
		id := transferID(command(RoleManager, DispatchTransfer{}), to)
		if got, ok := transferDestination(id); got != to || !ok {
			t.Errorf("%s goes to %q, %t; want %q", id, got, ok, to)
		}
		if stream, err := StreamOf(command(RoleManager, CancelTransfer{TransferID: id})); stream != StreamOfBranch(to) || err != nil {
			t.Errorf("its cancellation is decided in %q, %v; want that branch's stream", stream, err)
		}
		if stream, err := StreamOf(command(RoleManager, ReceiveTransfer{TransferID: id})); stream != StreamOfBranch("b1") || err != nil {
			t.Errorf("its receipt is decided in %q, %v; want that of who gives it", stream, err)
		}
	}
	for _, id := range []string{
		"", "b2", comes[:33], comes[:32], comes[1:], "x" + comes[1:], "A" + comes[1:], comes[:32] + "_b1", comes + "/", comes + "\x00", comes[:33] + strings.Repeat("b", 65),
	} {
		if to, ok := transferDestination(id); ok || to != "" {
			t.Errorf("%q goes to %q, want it to be no id", id, to)
		}
	}
}

func Test_what_follows_from_events(t *testing.T) {
	lines := []TransferLine{{"tea", 5}}
	follow := func(id, commandType, branch string, body any) []Command {
		return []Command{{ID: id, Keyed: true, Type: commandType, BranchID: branch, Identity: SystemIdentity(), Fingerprint: id, Body: body}}
	}
	for name, c := range map[string]struct {
		payload Payload
		want    []Command
	}{
		"a_dispatch_is_announced": {
			TransferDispatched{TransferID: goes, FromBranchID: "b1", ToBranchID: "b2", Lines: lines},
			follow("transfer/"+goes+"/announce", CommandAnnounceTransfer, "b2", AnnounceTransfer{TransferID: goes, FromBranchID: "b1", Lines: lines}),
		},
		"a_refusal_gives_back": {
			TransferRefused{TransferID: goes, FromBranchID: "b1", ToBranchID: "b2", Lines: lines, Reason: CodeUnknownBranch},
			follow("transfer/"+goes+"/return", CommandReturnTransfer, "b1", ReturnTransfer{TransferID: goes, Lines: lines}),
		},
		"a_withdrawal_gives_back": {
			TransferWithdrawn{TransferID: goes, FromBranchID: "b1", ToBranchID: "b2", Lines: lines},
			follow("transfer/"+goes+"/return", CommandReturnTransfer, "b1", ReturnTransfer{TransferID: goes, Lines: lines}),
		},
		"nothing_from_a_receipt":    {TransferReceived{TransferID: goes}, nil},
		"nothing_from_other_events": {InventoryUpdated{ProductID: "tea"}, nil},
	} {
		got, err := FollowUps(sample("b1", c.payload))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, c.want)
		}
		for _, c := range got {
			if r := Validate(c); r != nil {
				t.Errorf("%s: %v", name, r)
			}
		}
	}
	if got, err := FollowUps(&Event{Type: TypeTransferDispatched, Version: 9, Data: []byte(`{}`)}); err == nil {
		t.Errorf("of a newer version: %+v, want an error", got)
	}
}

func Test_follow_ups_are_always_taken(t *testing.T) {
	refused := func(reason string) []Payload {
		return []Payload{TransferRefused{TransferID: comes, FromBranchID: "b2", ToBranchID: "b1", Lines: []TransferLine{{"tea", 5}}, Reason: reason}}
	}
	closed := ChangeBranch{Status: ptr(BranchClosed)}
	dispatched := DispatchTransfer{ToBranchID: "b2", Lines: []TransferLine{{"tea", 4}}}
	id := transferID(thirdGiven(), "b2")
	back := ReturnTransfer{TransferID: id, Lines: []TransferLine{{"tea", 4}}}
	returned := InventoryUpdated{ProductID: "tea", SKU: "T", Delta: 4, Stock: 10, MinStock: 3, Version: 4, Reason: ReasonTransferReturn, Ref: id}
	runSpecs(t, freshBranch, map[string]spec{
		"announce": {
			given: []any{opened}, when: announced(send("tea", 5)),
			then: []Payload{TransferAnnounced{TransferID: comes, FromBranchID: "b2", ToBranchID: "b1", Lines: []TransferLine{{"tea", 5}}}},
		},
		"announce_to_no_branch":       {when: announced(send("tea", 5)), then: refused(CodeUnknownBranch)},
		"announce_to_a_closed_branch": {given: []any{opened, closed}, when: announced(send("tea", 5)), then: refused(CodeBranchClosed)},
		"announce_twice":              {given: []any{opened, announced(send("tea", 5))}, when: announced(send("tea", 5))},
		"announce_a_refused_one":      {given: []any{opened, closed, announced(send("tea", 5)), ChangeBranch{Status: ptr(BranchOpen)}}, when: announced(send("tea", 5))},
		"return": {
			given: []any{opened, tea, dispatched}, when: back,
			then: []Payload{TransferReturned{TransferID: id, Lines: []ReturnedLine{{"tea", 4, 0}}}, returned},
		},
		"return_to_a_closed_branch": {
			given: []any{opened, tea, dispatched, closed}, when: back,
			then: []Payload{TransferReturned{TransferID: id, Lines: []ReturnedLine{{"tea", 4, 0}}}, returned},
		},
		"return_a_deleted_product": {
			given: []any{opened, tea, dispatched, DeleteProduct{ProductID: "tea"}}, when: back,
			then: []Payload{TransferReturned{TransferID: id, Lines: []ReturnedLine{{"tea", 4, 4}}}},
		},
		"return_beyond_64_bits": {
			given: []any{opened, tea, dispatched, CountStock{ProductID: "tea", Counted: math.MaxInt64 - 1}}, when: back,
			then: []Payload{
				TransferReturned{TransferID: id, Lines: []ReturnedLine{{"tea", 4, 3}}},
				InventoryUpdated{ProductID: "tea", SKU: "T", Delta: 1, Stock: math.MaxInt64, MinStock: 3, Version: 5, Reason: ReasonTransferReturn, Ref: id},
			},
		},
		"return_to_the_full": {
			given: []any{opened, tea, dispatched, CountStock{ProductID: "tea", Counted: math.MaxInt64}}, when: back,
			then: []Payload{TransferReturned{TransferID: id, Lines: []ReturnedLine{{"tea", 4, 4}}}},
		},
		"return_twice":           {given: []any{opened, tea, dispatched, back}, when: back},
		"return_what_never_left": {given: []any{opened, tea}, when: back, code: CodeUnknownTransfer},
		"return_what_came":       {given: []any{opened, tea, announced(send("tea", 4))}, when: ReturnTransfer{TransferID: comes, Lines: []TransferLine{{"tea", 4}}}, code: CodeUnknownTransfer},
	})
}

func Test_internal_events_are_not_in_answers(t *testing.T) {
	b := NewBranch("b1")
	given(t, b, RoleAdmin, opened, tea)
	c := commit(t, b, command(RoleManager, DispatchTransfer{ToBranchID: "b2", Lines: []TransferLine{{"tea", 1}}}))
	c.Placed(1767225600000, 42)
	got := string(AppendAnswer(nil, c))
	if strings.Contains(got, TypeTransferDispatched) || strings.Count(got, `"type"`) != 1 || !strings.Contains(got, `"events":[{"id":"`+c.Events[1].ID) {
		t.Errorf("answer %s, want inventory:updated in it alone", got)
	}
	if want := `"result":{"transferId":"` + transferID(command(RoleManager, DispatchTransfer{}), "b2") + `"}}`; !strings.HasSuffix(got, want) {
		t.Errorf("answer %s, want %s in it", got, want)
	}
}
