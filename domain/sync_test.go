package domain

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// batch is one of till-1's.
func batch(fromSeq int64, ops ...SyncOperation) SubmitSync {
	return SubmitSync{DeviceID: "till-1", FromSeq: fromSeq, Operations: ops}
}

func offline(seq int64, lines ...TransactionLine) SyncOperation {
	return SyncOperation{Seq: seq, TransactionID: fmt.Sprint("t", seq), Lines: lines}
}

func Test_sync(t *testing.T) {
	created := func(id string, total int64, lines ...Line) Payload {
		return TransactionCreated{
			TransactionID: id, Kind: KindSale, Status: StatusCompleted, Lines: lines, TotalMinor: total, Currency: "EUR",
			DeviceID: "till-1", OccurredAt: nowText,
		}
	}
	sold := func(product, sku string, delta, stock, minStock, version int64, id string) Payload {
		return InventoryUpdated{ProductID: product, SKU: sku, Delta: delta, Stock: stock, MinStock: minStock, Version: version, Reason: ReasonSale, TransactionID: id}
	}
	handled := func(ranges ...SeqRange) Payload { return SyncHandled{DeviceID: "till-1", Seqs: ranges} }
	done := func(received, applied, duplicates, conflicted, rejected, lastSeq int64, errs ...SyncError) SyncStatus {
		return SyncStatus{
			DeviceID: "till-1", Phase: SyncDone, Received: received, Applied: applied, Duplicates: duplicates,
			Conflicted: conflicted, Rejected: rejected, LastSeq: lastSeq, Errors: append([]SyncError{}, errs...),
		}
	}
	raised := func(message string) Payload {
		return SystemNotification{
			NotificationID: madeID(command(RoleStaff, batch(1)), "notification"), Severity: SeverityWarning, Audience: "branch:b1",
			Title: "Stock below zero after offline sales", Message: message,
		}
	}
	device := func(id string) SubmitSync {
		b := batch(1, offline(1, line("tea", 1)))
		b.DeviceID = id
		return b
	}
	one := batch(1, offline(1, line("tea", 1)))
	runSpecs(t, freshBranch, map[string]spec{
		"two_sales_in_order_of_their_numbers": {
			given: []any{opened, tea, cup}, when: batch(1, offline(2, line("tea", 1)), offline(1, line("tea", 2), line("cup", 1))),
			then: []Payload{
				created("t1", 1400, Line{"tea", 2, 250}, Line{"cup", 1, 900}), sold("tea", "T", -2, 8, 3, 3, "t1"), sold("cup", "C", -1, 1, 0, 3, "t1"),
				created("t2", 250, Line{"tea", 1, 250}), sold("tea", "T", -1, 7, 3, 4, "t2"),
				handled(SeqRange{1, 2}), done(2, 2, 0, 0, 0, 2),
			},
			result: done(2, 2, 0, 0, 0, 2),
		},
		"never_short_of_stock": {
			given: []any{opened, tea, jam, cup}, when: batch(1, offline(1, line("tea", 9)), offline(2, line("tea", 2), line("tea", 1)), offline(3, line("jam", 2)), offline(4, line("cup", 3))),
			then: []Payload{
				created("t1", 2250, Line{"tea", 9, 250}), sold("tea", "T", -9, 1, 3, 3, "t1"),
				created("t2", 750, Line{"tea", 2, 250}, Line{"tea", 1, 250}), sold("tea", "T", -2, -1, 3, 4, "t2"), sold("tea", "T", -1, -2, 3, 5, "t2"),
				created("t3", 800, Line{"jam", 2, 400}), sold("jam", "J", -2, -1, 0, 3, "t3"),
				created("t4", 2700, Line{"cup", 3, 900}), sold("cup", "C", -3, -1, 0, 3, "t4"),
				handled(SeqRange{1, 4}),
				raised("1 sale(s) that device till-1 made offline took more than there was. Please count: tea (-2)."),
				done(4, 4, 0, 1, 0, 4),
			},
		},
		"a_pending_sale_moves_nothing": {
			given: []any{opened, tea}, when: batch(1, SyncOperation{Seq: 1, TransactionID: "t1", Kind: KindSale, Status: StatusPending, Lines: []TransactionLine{line("tea", 99)}}),
			then: []Payload{
				TransactionCreated{TransactionID: "t1", Kind: KindSale, Status: StatusPending, Lines: []Line{{"tea", 99, 250}}, TotalMinor: 24750, Currency: "EUR", DeviceID: "till-1", OccurredAt: nowText},
				handled(SeqRange{1, 1}), done(1, 1, 0, 0, 0, 1),
			},
		},
		"older_than_any": {
			given: []any{opened, tea}, when: batch(1, SyncOperation{Seq: 1, TransactionID: "t1", Lines: []TransactionLine{line("tea", 1)}, DeviceID: "till-1", OccurredAt: "2019-01-31T12:00:00+01:00"}),
			then: []Payload{
				TransactionCreated{TransactionID: "t1", Kind: KindSale, Status: StatusCompleted, Lines: []Line{{"tea", 1, 250}}, TotalMinor: 250, Currency: "EUR", DeviceID: "till-1", OccurredAt: "2019-01-31T11:00:00.000Z"},
				sold("tea", "T", -1, 9, 3, 3, "t1"), handled(SeqRange{1, 1}), done(1, 1, 0, 0, 0, 1),
			},
		},
		"refused_ones_are_listed_and_handled": {
			given: []any{opened, tea, usd, big, sale("old", line("tea", 1))},
			when: batch(1,
				offline(1, line("x", 1)), offline(2, line("tea", 0)), offline(3, TransactionLine{"tea", 1, ptr(int64(-1))}), offline(4),
				SyncOperation{Seq: 5, Kind: KindPurchase, Lines: []TransactionLine{line("tea", 1)}},
				SyncOperation{Seq: 6, Status: StatusRefunded, Lines: []TransactionLine{line("tea", 1)}},
				SyncOperation{Seq: 7, DeviceID: "till-2", Lines: []TransactionLine{line("tea", 1)}},
				SyncOperation{Seq: 8, OccurredAt: "2026-01-31T12:06:00Z", Lines: []TransactionLine{line("tea", 1)}},
				SyncOperation{Seq: 9, OccurredAt: "noon", Lines: []TransactionLine{line("tea", 1)}},
				SyncOperation{Seq: 10, TransactionID: "old", Lines: []TransactionLine{line("tea", 1)}},
				SyncOperation{Seq: 11, TransactionID: "no id", Lines: []TransactionLine{line("tea", 1)}},
				offline(12, line("tea", 1), line("usd", 1)), offline(13, line("big", math.MaxInt64)), offline(14, line("tea", math.MaxInt64), line("tea", 1)),
				SyncOperation{Seq: 15, TransactionID: "t16", Lines: []TransactionLine{line("tea", 1)}},
				offline(16, line("tea", 1)),
				SyncOperation{Seq: 17, Lines: make([]TransactionLine, MaxLines+1)},
				SyncOperation{Seq: 18, OccurredAt: "0000-01-01T00:30:00+01:00", Lines: []TransactionLine{line("tea", 1)}},
				SyncOperation{Seq: 19, OccurredAt: "0001-01-01T00:30:00+01:00", Lines: []TransactionLine{line("tea", 1)}},
			),
			then: []Payload{
				created("t16", 250, Line{"tea", 1, 250}), sold("tea", "T", -1, 8, 3, 4, "t16"),
				handled(SeqRange{1, 19}),
				done(19, 1, 0, 0, 18, 19,
					SyncError{1, CodeUnknownProduct, "there is no product x in branch b1"},
					SyncError{2, CodeInvalidQuantity, "lines[0].quantity must be at least 1"},
					SyncError{3, CodeValidation, "lines[0].unitPriceMinor must not be negative"},
					SyncError{4, CodeValidation, "lines must have at least one line"},
					SyncError{5, CodeValidation, "kind must be sale: nothing else is made offline"},
					SyncError{6, CodeValidation, "status must be one of completed, pending"},
					SyncError{7, CodeValidation, "deviceId differs from the batch's"},
					SyncError{8, CodeOccurredAtInvalid, "occurredAt is more than 5 minutes in the future; set the device's clock"},
					SyncError{9, CodeOccurredAtInvalid, "occurredAt " + msgTime},
					SyncError{10, CodeInvalidTransition, "transaction old is completed and can't become completed"},
					SyncError{11, CodeValidation, "transactionId " + msgID},
					SyncError{12, CodeValidation, "lines[1].productId is priced in USD, lines before it in EUR; a transaction has one currency"},
					SyncError{13, CodeOverflow, "the total is beyond 64 bits"},
					SyncError{14, CodeOverflow, "the total is beyond 64 bits"},
					SyncError{16, CodeInvalidTransition, "transaction t16 is completed and can't become completed"},
					SyncError{17, CodeBatchTooLarge, "1001 lines, at most 1000 are taken; send several commands"},
					SyncError{18, CodeOccurredAtInvalid, "occurredAt " + msgTime},
					SyncError{19, CodeOccurredAtInvalid, "occurredAt " + msgTime},
				),
			},
		},
		"stock_below_64_bits": {
			given: []any{opened, cup}, when: batch(1, offline(1, free("cup", math.MaxInt64)), offline(2, free("cup", 4)), offline(3, free("cup", math.MaxInt64), free("cup", 1)), offline(4, free("cup", 3))),
			then: []Payload{
				created("t1", 0, Line{"cup", math.MaxInt64, 0}), sold("cup", "C", -math.MaxInt64, 2-math.MaxInt64, 0, 3, "t1"),
				created("t4", 0, Line{"cup", 3, 0}), sold("cup", "C", -3, math.MinInt64, 0, 4, "t4"),
				handled(SeqRange{1, 4}),
				done(4, 2, 0, 0, 2, 4, SyncError{2, CodeOverflow, "the stock of product cup is beyond 64 bits"}, SyncError{3, CodeOverflow, "the stock of product cup is beyond 64 bits"}),
			},
		},
		"again": {
			given: []any{opened, tea, one}, when: one,
			then:   []Payload{done(1, 0, 1, 0, 0, 1)},
			result: done(1, 0, 1, 0, 0, 1),
		},
		"again_with_more": {
			given: []any{opened, tea, one}, when: batch(1, offline(1, line("tea", 1)), offline(2, line("tea", 1)), offline(2, line("tea", 5))),
			then: []Payload{
				created("t2", 250, Line{"tea", 1, 250}), sold("tea", "T", -1, 8, 3, 4, "t2"), handled(SeqRange{2, 2}), done(3, 1, 2, 0, 0, 2),
			},
		},
		"a_refused_one_again": {
			given: []any{opened, batch(1, offline(1, line("tea", 1))), tea}, when: one,
			then: []Payload{done(1, 0, 1, 0, 0, 1)},
		},
		"numbers_left_out": {
			given: []any{opened, tea, one}, when: batch(2, offline(3, line("tea", 1)), offline(7, line("tea", 1))),
			then: []Payload{
				created("t3", 250, Line{"tea", 1, 250}), sold("tea", "T", -1, 8, 3, 4, "t3"), created("t7", 250, Line{"tea", 1, 250}), sold("tea", "T", -1, 7, 3, 5, "t7"),
				handled(SeqRange{3, 3}, SeqRange{7, 7}), done(2, 2, 0, 0, 0, 7),
			},
		},
		"one_left_out_comes_after_all": {
			given: []any{opened, tea, batch(1, offline(1, line("tea", 1)), offline(3, line("tea", 1)))}, when: batch(2, offline(2, line("tea", 1))),
			then: []Payload{created("t2", 250, Line{"tea", 1, 250}), sold("tea", "T", -1, 7, 3, 5, "t2"), handled(SeqRange{2, 2}), done(1, 1, 0, 0, 0, 3)},
		},
		"beyond_a_gap": {
			given: []any{opened, tea, one}, when: batch(5, offline(5, line("tea", 1))),
			then: []Payload{created("t5", 250, Line{"tea", 1, 250}), sold("tea", "T", -1, 8, 3, 4, "t5"), handled(SeqRange{5, 5}), done(1, 1, 0, 0, 0, 1)},
		},
		"the_gap_is_filled": {
			given: []any{opened, tea, one, batch(5, offline(5, line("tea", 1)))}, when: batch(2, offline(2, line("tea", 1)), offline(4, line("tea", 1))),
			then: []Payload{
				created("t2", 250, Line{"tea", 1, 250}), sold("tea", "T", -1, 7, 3, 5, "t2"), created("t4", 250, Line{"tea", 1, 250}), sold("tea", "T", -1, 6, 3, 6, "t4"),
				handled(SeqRange{2, 2}, SeqRange{4, 4}), done(2, 2, 0, 0, 0, 5),
			},
		},
		"the_gap_was_none": {
			given: []any{opened, tea, one, batch(5, offline(5, line("tea", 1)), offline(6, line("tea", 1)))}, when: batch(2, offline(5, line("tea", 1))),
			then: []Payload{done(1, 0, 1, 0, 0, 6)},
		},
		"a_device_may_begin_anywhere": {
			given: []any{opened, tea}, when: batch(100, offline(103, line("tea", 1))),
			then: []Payload{created("t103", 250, Line{"tea", 1, 250}), sold("tea", "T", -1, 9, 3, 3, "t103"), handled(SeqRange{103, 103}), done(1, 1, 0, 0, 0, 103)},
		},
		"no_operations":      {given: []any{opened}, when: batch(1), code: CodeValidation, detail: invalid("operations", "must have at least one operation")},
		"before_the_first":   {given: []any{opened}, when: batch(2, offline(1, line("tea", 1))), code: CodeValidation, detail: invalid("operations[0].seq", "must be fromSeq to 2^53-1")},
		"beyond_the_last":    {given: []any{opened}, when: batch(2, offline(MaxSeq+1, line("tea", 1))), code: CodeValidation, detail: invalid("operations[0].seq", "must be fromSeq to 2^53-1")},
		"from_before_all":    {given: []any{opened}, when: batch(-1, offline(1, line("tea", 1))), code: CodeValidation, detail: invalid("fromSeq", "must be 0 to 2^53-1")},
		"1001_operations":    {given: []any{opened}, when: batch(1, make([]SyncOperation, 1001)...), code: CodeBatchTooLarge, detail: map[string]any{"limit": 1000}},
		"too_many_lines":     {given: []any{opened}, when: batch(1, slices.Repeat([]SyncOperation{{Seq: 1, Lines: make([]TransactionLine, 1000)}}, 17)...), code: CodeBatchTooLarge, detail: map[string]any{"limit": MaxSyncLines}},
		"of_no_device":       {given: []any{opened}, when: device("till 1"), code: CodeValidation, detail: invalid("deviceId", msgID)},
		"in_a_closed_branch": {given: []any{opened, ChangeBranch{Status: ptr(BranchClosed)}}, when: one, code: CodeBranchClosed},
		"in_no_branch":       {when: one, code: CodeUnknownBranch},
		"in_a_foreign_one":   {given: []any{opened}, in: "b2", when: one, code: CodeBranchForbidden},
	})
}

// free is a line without a price.
func free(product string, quantity int64) TransactionLine {
	return TransactionLine{ProductID: product, Quantity: quantity, UnitPriceMinor: ptr(int64(0))}
}

func Test_a_token_of_a_device_is_for_that_device(t *testing.T) {
	b := NewBranch("b1")
	given(t, b, RoleAdmin, opened, tea)
	c := command(RoleStaff, batch(1, offline(1, line("tea", 1))))
	c.Identity.DeviceID = "till-2"
	if _, r := b.Decide(c); r == nil || r.Code != CodeRoleForbidden {
		t.Errorf("till-1's batch by till-2: %v, want %s", r, CodeRoleForbidden)
	}
	c.Identity.DeviceID = "till-1"
	commit(t, b, c)
}

func Test_a_large_batch_shows_its_progress_and_fits_a_commit(t *testing.T) {
	b := NewBranch("b1")
	given(t, b, RoleAdmin, opened, tea)
	body := batch(1)
	for seq := range int64(MaxSyncOperations) {
		body.Operations = append(body.Operations, offline(seq+1, slices.Repeat([]TransactionLine{line("tea", 1)}, MaxSyncLines/MaxSyncOperations)...))
	}
	made := commit(t, b, command(RoleStaff, body))
	var seen []string
	for _, e := range made.Events {
		if s, ok := e.payload.(SyncStatus); ok {
			seen = append(seen, fmt.Sprint(s.Phase, " ", s.Applied, "/", s.Received))
		}
	}
	if want := []string{"applying 250/1000", "applying 500/1000", "applying 750/1000", "done 1000/1000"}; !slices.Equal(seen, want) {
		t.Errorf("sync:status %q, want %q", seen, want)
	}
	if last := made.Events[len(made.Events)-1]; last.Type != TypeSyncStatus || string(last.Data) != string(made.Result) {
		t.Errorf("the last event is %s %s, the result %s", last.Type, last.Data, made.Result)
	}
	if got := b.Devices["till-1"]; !reflect.DeepEqual(got, &DeviceState{LastSeq: 1000, Handled: []SeqRange{{1, 1000}}}) {
		t.Errorf("device %+v", got)
	}
}

func Test_sales_without_an_id_get_their_own(t *testing.T) {
	b := NewBranch("b1")
	given(t, b, RoleAdmin, opened, tea)
	op := func(seq int64) SyncOperation {
		return SyncOperation{Seq: seq, Lines: []TransactionLine{line("tea", 1)}}
	}
	for i, body := range []SubmitSync{batch(1, op(1), op(2)), batch(3, op(3)), {DeviceID: "till-2", FromSeq: 1, Operations: []SyncOperation{op(1)}}} {
		c := command(RoleStaff, body)
		c.ID = fmt.Sprint("c", i)
		commit(t, b, c)
	}
	if len(b.Transactions) != 4 {
		t.Errorf("%d transactions, want 4", len(b.Transactions))
	}
}

func Test_many_conflicts_are_told_in_one_message(t *testing.T) {
	b := NewBranch("b1")
	given(t, b, RoleAdmin, opened)
	body := batch(1)
	for i := range int64(12) {
		id := fmt.Sprint("p", i, strings.Repeat("x", 60))
		given(t, b, RoleAdmin, product(id, NegativeDeny))
		body.Operations = append(body.Operations, offline(i+1, line(id, 21)))
	}
	made := commit(t, b, command(RoleStaff, body))
	n, ok := made.Events[len(made.Events)-2].payload.(SystemNotification)
	if !ok || !strings.Contains(n.Message, "12 sale(s)") || !strings.HasSuffix(n.Message, "x (-1) and 2 more.") || !validText(n.Message, MaxMessage) {
		t.Errorf("notification %+v", n)
	}
}

// Test_each_operation_takes_effect_once sends a device's operations in
// batches that overlap, come twice, in another order, shuffled, with pieces
// left out and pieces doubled; then all of them.
func Test_each_operation_takes_effect_once(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBranch("b1")
		setUp(t, b, opened, tea)
		const total = 12
		op := func(seq int64) SyncOperation {
			product := "tea"
			if seq%5 == 0 {
				product = "x" // refused
			}
			return SyncOperation{Seq: seq, Lines: []TransactionLine{line(product, seq)}}
		}
		var trace []SyncStatus
		effects := map[int64]int{}
		submit := func(i int, body SubmitSync) {
			c := command(RoleStaff, body)
			c.ID = fmt.Sprint("batch-", i)
			c.At = now.Add(time.Duration(i) * time.Second)
			was := b.Products["tea"].Stock
			d, r := b.Decide(c)
			if r != nil {
				t.Fatalf("batch %+v: %v", body, r)
			}
			made, err := NewCommit("branch/b1", 1, c, d)
			if err != nil {
				t.Fatal(err)
			}
			order := int64(0)
			for i := range made.Events {
				e := &made.Events[i]
				e.payload = nil
				if err := b.Evolve(e); err != nil {
					t.Fatal(err)
				}
				if e.Type == TypeTransactionCreated {
					p, _ := payloadOf[TransactionCreated](e)
					effects[p.Lines[0].Quantity]++
					if p.Lines[0].Quantity <= order {
						t.Fatalf("operation %d after %d", p.Lines[0].Quantity, order)
					}
					order = p.Lines[0].Quantity
				}
			}
			var s SyncStatus
			if err := json.Unmarshal(made.Result, &s); err != nil {
				t.Fatal(err)
			}
			if s.Applied+s.Duplicates+s.Rejected != s.Received || int64(len(s.Errors)) != s.Rejected {
				t.Fatalf("status %+v does not add up", s)
			}
			if s.Applied > 0 && (b.Products["tea"].Stock < 0) != (s.Conflicted > 0) {
				t.Fatalf("stock from %d to %d, %d conflicts", was, b.Products["tea"].Stock, s.Conflicted)
			}
			trace = append(trace, s)
		}
		batches := rapid.IntRange(0, 6).Draw(t, "batches")
		for i := range batches {
			from := rapid.Int64Range(1, total).Draw(t, "from")
			body := batch(from)
			for seq := from; seq <= min(total, from+rapid.Int64Range(0, 5).Draw(t, "more")); seq++ {
				if rapid.SampledFrom([]bool{true, true, true, false}).Draw(t, "in it") {
					body.Operations = append(body.Operations, op(seq))
				}
			}
			if len(body.Operations) > 0 {
				twice := rapid.SliceOfN(rapid.SampledFrom(body.Operations), 0, 2).Draw(t, "twice")
				body.Operations = rapid.Permutation(append(body.Operations, twice...)).Draw(t, "in any order")
				submit(i, body)
			}
		}
		all := batch(1)
		for seq := range int64(total) {
			all.Operations = append(all.Operations, op(seq+1))
		}
		submit(batches, all)
		submit(batches+1, all)
		if last := trace[len(trace)-1]; last.Duplicates != total || last.LastSeq != total {
			t.Fatalf("at last %+v, want %d duplicates and lastSeq %d", last, total, total)
		}
		sum := int64(0)
		for seq := range int64(total + 1) {
			want := 1
			if seq == 0 || seq%5 == 0 {
				want = 0
			}
			if effects[seq] != want {
				t.Fatalf("operation %d took effect %d times, want %d; %+v", seq, effects[seq], want, trace)
			}
			sum += seq * int64(want)
		}
		if got := b.Products["tea"].Stock; got != 10-sum {
			t.Fatalf("stock %d, want %d", got, 10-sum)
		}
	})
}

// setUp is given in a property.
func setUp(t *rapid.T, b *Branch, bodies ...any) {
	for i, body := range bodies {
		c := command(RoleAdmin, body)
		c.ID, c.BranchID = fmt.Sprint("given-", i), b.ID
		d, r := b.Decide(c)
		if r != nil {
			t.Fatalf("%s: %v", c.Type, r)
		}
		for _, f := range d.Events {
			if err := b.Evolve(&Event{Type: f.Payload.EventType(), Version: 1, BranchID: b.ID, payload: f.Payload}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
