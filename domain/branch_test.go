package domain

import (
	"errors"
	"strings"
	"testing"
)

func freshBranch() State { return NewBranch("b1") }

// Commands that many givens begin with.
var (
	opened = OpenBranch{BranchID: "b1", Name: "One"}
	// tea: 10 in stock, at least 3, never below 0.
	tea = CreateProduct{ProductID: "tea", SKU: "T", Name: "Tea", PriceMinor: 250, Currency: "EUR", Stock: new(int64(10)), MinStock: 3}
	// cup: 2 in stock, may go below 0.
	cup = CreateProduct{ProductID: "cup", SKU: "C", Name: "Cup", PriceMinor: 900, Currency: "EUR", Stock: new(int64(2)), NegativeStock: NegativeAllow}
	// jam: 1 in stock, below 0 only by sales made offline.
	jam = CreateProduct{ProductID: "jam", SKU: "J", Name: "Jam", PriceMinor: 400, Currency: "EUR", Stock: new(int64(1)), NegativeStock: NegativeOfflineOnly}
	// usd: priced in another currency.
	usd = CreateProduct{ProductID: "usd", SKU: "U", Name: "Map", PriceMinor: 100, Currency: "USD", Stock: new(int64(5))}
	// big: as much as there can be.
	big = CreateProduct{ProductID: "big", SKU: "B", Name: "Sand", PriceMinor: 1 << 62, Currency: "EUR", Stock: new(int64(1<<63 - 1))}
)

func Test_branch(t *testing.T) {
	runSpecs(t, freshBranch, map[string]spec{
		"open": {
			role: RoleAdmin, when: opened,
			then:   []Payload{BranchUpdated{Action: ActionCreated, Name: "One", Status: BranchOpen}},
			result: BranchResult{BranchID: "b1"},
		},
		"open_twice": {
			given: []any{opened}, role: RoleAdmin, when: opened,
			code: CodeInvalidTransition, detail: map[string]any{"from": "open", "to": "open"},
		},
		"open_a_closed_one": {
			given: []any{opened, ChangeBranch{Status: ptr(BranchClosed)}}, role: RoleAdmin, when: opened,
			code: CodeInvalidTransition, detail: map[string]any{"from": "closed", "to": "open"},
		},
		"open_under_another_id": {
			role: RoleAdmin, when: OpenBranch{BranchID: "b2", Name: "Two"},
			code: CodeValidation, detail: invalid("branchId", "differs from the command's branch"),
		},
		"open_by_a_manager":   {role: RoleManager, when: opened, code: CodeRoleForbidden},
		"open_by_staff":       {when: opened, code: CodeRoleForbidden},
		"open_without_a_name": {role: RoleAdmin, when: OpenBranch{BranchID: "b1"}, code: CodeValidation},
		"rename": {
			given: []any{opened}, role: RoleAdmin, when: ChangeBranch{Name: ptr("Uno")},
			then: []Payload{BranchUpdated{Action: ActionUpdated, Name: "Uno", Status: BranchOpen}},
		},
		"close": {
			given: []any{opened}, role: RoleAdmin, when: ChangeBranch{Status: ptr(BranchClosed)},
			then: []Payload{BranchUpdated{Action: ActionUpdated, Name: "One", Status: BranchClosed}},
		},
		"reopen_and_rename": {
			given: []any{opened, ChangeBranch{Status: ptr(BranchClosed)}}, role: RoleAdmin,
			when: ChangeBranch{Status: ptr(BranchOpen), Name: ptr("Again")},
			then: []Payload{BranchUpdated{Action: ActionUpdated, Name: "Again", Status: BranchOpen}},
		},
		"rename_a_closed_one": {
			given: []any{opened, ChangeBranch{Status: ptr(BranchClosed)}}, role: RoleAdmin, when: ChangeBranch{Name: ptr("X")},
			then: []Payload{BranchUpdated{Action: ActionUpdated, Name: "X", Status: BranchClosed}},
		},
		"change_nothing": {
			given: []any{opened}, role: RoleAdmin, when: ChangeBranch{Name: ptr("One"), Status: ptr(BranchOpen)},
			then: nil, result: BranchResult{BranchID: "b1"},
		},
		"change_without_a_field": {given: []any{opened}, role: RoleAdmin, when: ChangeBranch{}, code: CodeValidation, detail: invalid("body", "must give a field to change")},
		"change_an_unknown_one":  {role: RoleAdmin, when: ChangeBranch{Name: ptr("X")}, code: CodeUnknownBranch},
		"change_to_no_status":    {given: []any{opened}, role: RoleAdmin, when: ChangeBranch{Status: ptr("shut")}, code: CodeValidation, detail: invalid("status", "must be one of open, closed")},
		"change_by_a_manager":    {given: []any{opened}, role: RoleManager, when: ChangeBranch{Name: ptr("X")}, code: CodeRoleForbidden},
		"work_in_an_unknown_one": {when: AdjustStock{ProductID: "tea", Delta: 1, Reason: "found"}, code: CodeUnknownBranch},
		"work_in_a_closed_one": {
			given: []any{opened, tea, ChangeBranch{Status: ptr(BranchClosed)}},
			when:  AdjustStock{ProductID: "tea", Delta: 1, Reason: "found"}, code: CodeBranchClosed,
		},
		"work_in_a_foreign_one": {given: []any{opened, tea}, in: "b2", when: AdjustStock{ProductID: "tea", Delta: 1, Reason: "found"}, code: CodeBranchForbidden},
		"work_of_another_one":   {given: []any{opened, tea}, in: "b2", role: RoleAdmin, when: AdjustStock{ProductID: "tea", Delta: 1, Reason: "found"}, code: CodeValidation},
		"a_users_command":       {given: []any{opened}, role: RoleAdmin, when: SetUser{UserID: "u1", Role: RoleStaff}, code: CodeValidation},
	})
}

func Test_a_disabled_user_commands_nothing(t *testing.T) {
	b := NewBranch("b1")
	given(t, b, RoleAdmin, opened, tea)
	c := command(RoleAdmin, AdjustStock{ProductID: "tea", Delta: 1, Reason: "found"})
	c.Identity.Disabled = true
	if _, r := b.Decide(c); r == nil || r.Code != CodeUnauthorized {
		t.Fatalf("rejected with %v, want %s", r, CodeUnauthorized)
	}
}

func Test_evolve_refuses_what_was_not_decided_on_the_state(t *testing.T) {
	for name, p := range map[string]Payload{
		"branch_opened_again":      BranchUpdated{Action: ActionCreated, Name: "One", Status: BranchOpen},
		"product_created_again":    ProductUpdated{Action: ActionCreated, ProductID: "tea", Product: Product{ProductID: "tea", Version: 1}},
		"unknown_product_updated":  ProductUpdated{Action: ActionUpdated, ProductID: "x", Product: Product{ProductID: "x", Version: 1}},
		"product_version_skipped":  ProductUpdated{Action: ActionUpdated, ProductID: "tea", Product: Product{ProductID: "tea", Version: 9}},
		"deleted_product_updated":  ProductUpdated{Action: ActionUpdated, ProductID: "cup", Product: Product{ProductID: "cup", Version: 3}},
		"stock_of_unknown_product": InventoryUpdated{ProductID: "x", Delta: 1, Stock: 1, Version: 1},
		"stock_of_deleted_product": InventoryUpdated{ProductID: "cup", Delta: 1, Stock: 3, Version: 3},
		"stock_that_is_no_sum":     InventoryUpdated{ProductID: "tea", Delta: 1, Stock: 12, Version: 4},
		"stock_version_skipped":    InventoryUpdated{ProductID: "tea", Delta: 1, Stock: 10, Version: 9},
		"transaction_twice":        TransactionCreated{TransactionID: "t1"},
		"status_of_unknown":        TransactionStatusChanged{TransactionID: "x", From: StatusPending, To: StatusVoided},
		"status_from_another":      TransactionStatusChanged{TransactionID: "t1", From: StatusPending, To: StatusVoided},
		"refund_of_more_than_sold": TransactionStatusChanged{TransactionID: "t1", From: StatusCompleted, To: StatusRefunded, Lines: []RefundLine{{ProductID: "tea", Quantity: 2}}},
		"refund_of_another_amount": TransactionStatusChanged{TransactionID: "t1", From: StatusCompleted, To: StatusRefunded, RefundedMinor: ptr(int64(1)), Lines: []RefundLine{{ProductID: "tea", Quantity: 1}}},
		"transfer_sent_twice":      TransferDispatched{TransferID: goes, FromBranchID: "b1", ToBranchID: "b2"},
		"transfer_sent_by_another": TransferDispatched{TransferID: "x", FromBranchID: "b2", ToBranchID: "b1"},
		"transfer_announced_twice": TransferAnnounced{TransferID: comes, FromBranchID: "b2", ToBranchID: "b1"},
		"transfer_for_another":     TransferAnnounced{TransferID: "x", FromBranchID: "b1", ToBranchID: "b2"},
		"transfer_refused_later":   TransferRefused{TransferID: comes, FromBranchID: "b2", ToBranchID: "b1"},
		"receipt_of_unknown":       TransferReceived{TransferID: "x"},
		"receipt_of_a_sent_one":    TransferReceived{TransferID: goes},
		"receipt_of_too_much":      TransferReceived{TransferID: comes, Lines: []ReceivedLine{{"tea", 5, 1}}},
		"withdrawal_of_unknown":    TransferWithdrawn{TransferID: "x"},
		"withdrawal_of_a_sent_one": TransferWithdrawn{TransferID: goes},
		"return_of_unknown":        TransferReturned{TransferID: "x"},
		"return_of_what_came":      TransferReturned{TransferID: comes},
		"sequences_handled_again":  SyncHandled{DeviceID: "till-1", Seqs: []SeqRange{{2, 3}, {1, 1}}},
		"sequences_backwards":      SyncHandled{DeviceID: "till-1", Seqs: []SeqRange{{3, 2}}},
		"sync_of_unknown_device":   SyncStatus{DeviceID: "till-2", Phase: SyncDone},
		"event_of_a_user":          UserUpdated{UserID: "u1"},
		"event_of_the_alerts":      LowStockAlert{ProductID: "tea"},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBranch("b1")
			given(t, b, RoleAdmin, opened, tea, cup, DeleteProduct{ProductID: "cup"}, sale("t1", line("tea", 1)), announced(send("tea", 5)), batch(1, offline(1, line("cup", 1))))
			evolve(t, b, TransferDispatched{TransferID: goes, FromBranchID: "b1", ToBranchID: "b2", Lines: []TransferLine{{"tea", 1}}})
			e := &Event{Type: p.EventType(), Version: 1, BranchID: "b1", payload: p}
			if err := b.Evolve(e); err == nil {
				t.Fatal("folded in, want an error")
			}
		})
	}
}

func Test_evolve_refuses_events_of_another_branch_and_of_the_future(t *testing.T) {
	b := NewBranch("b1")
	data := []byte(`{"action":"created","name":"One","status":"open"}`)
	if err := b.Evolve(&Event{Type: TypeBranchUpdated, Version: 1, BranchID: "b2", Data: data}); err == nil || !strings.Contains(err.Error(), "branch/b1") {
		t.Errorf("event of b2: %v, want an error that names the stream", err)
	}
	for _, e := range []*Event{
		{Type: TypeBranchUpdated, Version: 2, BranchID: "b1", Data: data},
		{Type: TypeBranchUpdated, Version: 0, BranchID: "b1", Data: data},
		{Type: "branch:painted", Version: 1, BranchID: "b1", Data: data},
	} {
		if err := b.Evolve(e); !errors.Is(err, ErrUnknownEvent) {
			t.Errorf("%s version %d: %v, want ErrUnknownEvent", e.Type, e.Version, err)
		}
	}
	if err := b.Evolve(&Event{Type: TypeBranchUpdated, Version: 1, BranchID: "b1", Data: []byte(`[]`)}); err == nil || errors.Is(err, ErrUnknownEvent) {
		t.Errorf("data of another shape: %v, want an error that is not ErrUnknownEvent", err)
	}
}

func evolve(t *testing.T, b *Branch, p Payload) {
	t.Helper()
	if err := b.Evolve(&Event{Type: p.EventType(), Version: 1, BranchID: b.ID, payload: p}); err != nil {
		t.Fatal(err)
	}
}

func Test_rows_that_events_touch(t *testing.T) {
	for eventType, e := range samples() {
		got, want := Touched(e), Row{}
		switch eventType {
		case TypeInventoryUpdated, TypeProductUpdated:
			want = Row{RowProduct, "tea"}
		case TypeTransactionCreated, TypeTransactionStatusChanged:
			want = Row{RowTransaction, "t1"}
		case TypeSyncStatus, TypeSyncHandled:
			want = Row{rowDevice, "till-1"}
		case TypeTransferDispatched, TypeTransferAnnounced, TypeTransferRefused, TypeTransferReceived, TypeTransferWithdrawn, TypeTransferReturned:
			want = Row{RowTransfer, "x"}
		}
		if got != want {
			t.Errorf("%s touches %+v, want %+v", eventType, got, want)
		}
		broken := &Event{Type: eventType, Version: 1, Data: []byte(`[]`)}
		if row := Touched(broken); row != (Row{}) {
			t.Errorf("%s that can't be read touches %+v, want none", eventType, row)
		}
	}
}
