package domain

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// history is a branch after a random sequence of commands, with everything
// that was committed.
type history struct {
	branch  *Branch
	commits []*Commit
}

// run draws 40 to 110 commands, of which many are rejected, and calls after
// for each commit with the state before it.
func run(t *rapid.T, after func(c Command, before *Branch, made *Commit)) *history {
	h := &history{branch: NewBranch("b1")}
	bodies := rapid.SliceOfN(anyBody(), 40, 110).Draw(t, "bodies")
	setUp := []any{opened, product("p0", NegativeDeny), product("p1", NegativeAllow), product("p2", NegativeOfflineOnly)}
	var created []string
	var sent []TransferDispatched
	for i, body := range append(setUp, bodies...) {
		switch b := body.(type) {
		case CreateTransaction:
			if b.TransactionID == "new" {
				b.TransactionID = fmt.Sprint("t", i)
				body = b
			}
		case SetTransactionStatus: // of one of the last ones
			if back := int(b.TransactionID[0] - '0'); back < len(created) {
				b.TransactionID = created[len(created)-1-back]
				body = b
			}
		case ReturnTransfer: // of the last one
			if len(sent) > 0 {
				body = ReturnTransfer{TransferID: sent[len(sent)-1].TransferID, Lines: sent[len(sent)-1].Lines}
			}
		}
		c := Command{
			ID: fmt.Sprint("c", i), Type: typeOf(body), BranchID: "b1", Identity: who(RoleAdmin),
			At: now.Add(time.Duration(i) * time.Second), Body: body,
		}
		if commands[c.Type].system {
			c.Identity = SystemIdentity()
		}
		if c.Type == CommandCancelTransfer {
			c.BranchID = "b2"
		}
		before := clone(t, h.branch)
		d, r := h.branch.Decide(c)
		if again, s := h.branch.Decide(c); !reflect.DeepEqual(d, again) || !reflect.DeepEqual(r, s) {
			t.Fatalf("%s decided %+v %v and then %+v %v", c.Type, d, r, again, s)
		}
		if !reflect.DeepEqual(before, h.branch) {
			t.Fatalf("Decide of %s %+v changed the state", c.Type, body)
		}
		few := withRows(t, h.branch, Needed(c))
		if again, s := few.Decide(c); !reflect.DeepEqual(d, again) || !reflect.DeepEqual(r, s) {
			t.Fatalf("%s %+v decided %+v %v, and with the rows %v alone %+v %v", c.Type, body, d, r, Needed(c), again, s)
		}
		if r != nil {
			if len(d.Events) > 0 || d.Result != nil {
				t.Fatalf("%s is rejected with %v and decided %+v", c.Type, r, d)
			}
			continue
		}
		made, err := NewCommit("branch/b1", uint64(len(h.commits)+1), c, d)
		if err != nil {
			t.Fatal(err)
		}
		for i := range made.Events {
			if err := few.Evolve(&made.Events[i]); err != nil {
				t.Fatalf("%s: evolve with the rows %v alone: %v", c.Type, Needed(c), err)
			}
		}
		for i := range made.Events {
			if err := h.branch.Evolve(&made.Events[i]); err != nil {
				t.Fatalf("%s %+v: %v", c.Type, body, err)
			}
		}
		h.commits = append(h.commits, made)
		switch b := body.(type) {
		case CreateTransaction:
			created = append(created, b.TransactionID)
		case DispatchTransfer:
			sent = append(sent, made.Events[0].payload.(TransferDispatched))
		}
		if after != nil {
			after(c, before, made)
		}
	}
	return h
}

func product(id, policy string) CreateProduct {
	return CreateProduct{ProductID: id, SKU: "S" + id, Name: "Product", PriceMinor: 10, Currency: "EUR", Stock: new(int64(20)), MinStock: 5, NegativeStock: policy}
}

// anyBody draws bodies that mostly make sense: few ids, small numbers, and
// now and then the edges of int64. rapid prefers what comes first.
func anyBody() *rapid.Generator[any] {
	productID := rapid.SampledFrom([]string{"p0", "p1", "p0", "p1", "p2", "p3"})
	transactionID := rapid.SampledFrom([]string{"new", "new", "new", "t3"})
	back := rapid.SampledFrom([]string{"0", "1", "0", "2", "0", "3", "4"})
	policy := rapid.SampledFrom([]string{NegativeDeny, NegativeOfflineOnly, NegativeAllow})
	number := rapid.OneOf(rapid.Int64Range(0, 9), rapid.Int64Range(-9, 9), rapid.Int64Range(0, 9), rapid.Int64())
	small := rapid.Int64Range(1, 4)
	positive := rapid.OneOf(small, small, small, small, small, small, rapid.Int64Range(1, 1<<63-1))
	sku := rapid.Map(productID, func(id string) string { return "S" + id })
	price := rapid.OneOf(rapid.Int64Range(0, 9), rapid.Int64Range(0, 9), rapid.Int64Range(0, 9), rapid.Int64Range(0, 9), rapid.Int64())
	maybe := func(g *rapid.Generator[int64]) *rapid.Generator[*int64] { return rapid.Ptr(g, true) }
	lines := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) TransactionLine {
		return TransactionLine{productID.Draw(t, "product"), positive.Draw(t, "quantity"), maybe(price).Draw(t, "price")}
	}), 1, 3)
	refunds := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) RefundRequestLine {
		return RefundRequestLine{productID.Draw(t, "product"), positive.Draw(t, "quantity"), rapid.Ptr(rapid.Bool(), true).Draw(t, "restock")}
	}), 1, 2)
	return rapid.OneOf(
		rapid.Custom(anyStatus(back, refunds)),
		rapid.Custom(anyTransaction(transactionID, lines)),
		rapid.Custom(anyStatus(back, refunds)),
		rapid.Custom(anyTransaction(transactionID, lines)),
		rapid.Custom(anyStatus(back, refunds)),
		rapid.Custom(anyTransfer(productID, positive)),
		rapid.Custom(anyTransfer(productID, positive)),
		rapid.Custom(anySync(lines)),
		rapid.Custom(func(t *rapid.T) any {
			body := AdjustStockBulk{Mode: rapid.SampledFrom([]string{BulkPerLine, BulkAtomic}).Draw(t, "mode")}
			for range rapid.IntRange(1, 4).Draw(t, "lines") {
				body.Lines = append(body.Lines, BulkAdjustment{ProductID: productID.Draw(t, "id"), Delta: number.Draw(t, "delta"), Reason: "because"})
			}
			return body
		}),
		rapid.Custom(func(t *rapid.T) any {
			return AdjustStock{ProductID: productID.Draw(t, "id"), Delta: number.Draw(t, "delta"), Reason: "because"}
		}),
		rapid.Custom(func(t *rapid.T) any {
			return CountStock{productID.Draw(t, "id"), number.Draw(t, "counted"), maybe(rapid.Int64Range(1, 6)).Draw(t, "version")}
		}),
		rapid.Custom(func(t *rapid.T) any {
			return ChangeProduct{
				ProductID: productID.Draw(t, "id"), SKU: rapid.Ptr(sku, true).Draw(t, "sku"), PriceMinor: maybe(price).Draw(t, "price"),
				Stock: maybe(number).Draw(t, "stock"), MinStock: maybe(number).Draw(t, "minimum"), NegativeStock: rapid.Ptr(policy, true).Draw(t, "policy"),
			}
		}),
		rapid.Custom(func(t *rapid.T) any {
			return CreateProduct{
				ProductID: productID.Draw(t, "id"), SKU: sku.Draw(t, "sku"), Name: "Product", PriceMinor: price.Draw(t, "price"), Currency: "EUR",
				Stock: new(number.Draw(t, "stock")), MinStock: number.Draw(t, "minimum"), NegativeStock: policy.Draw(t, "policy"),
			}
		}),
		rapid.Custom(func(t *rapid.T) any {
			return ChangeBranch{Status: ptr(rapid.SampledFrom([]string{BranchOpen, BranchOpen, BranchOpen, BranchClosed}).Draw(t, "status"))}
		}),
		rapid.Custom(func(t *rapid.T) any {
			if rapid.SampledFrom([]bool{false, false, false, true}).Draw(t, "delete") {
				return DeleteProduct{productID.Draw(t, "id")}
			}
			return ChangeBranch{Status: ptr(BranchOpen)}
		}),
	)
}

func anyTransaction(id *rapid.Generator[string], lines *rapid.Generator[[]TransactionLine]) func(*rapid.T) any {
	return func(t *rapid.T) any {
		return CreateTransaction{
			TransactionID: id.Draw(t, "id"), Kind: rapid.SampledFrom([]string{KindSale, KindPurchase}).Draw(t, "kind"),
			Status: rapid.SampledFrom([]string{StatusCompleted, StatusPending}).Draw(t, "status"), Lines: lines.Draw(t, "lines"),
		}
	}
}

func anyStatus(id *rapid.Generator[string], refunds *rapid.Generator[[]RefundRequestLine]) func(*rapid.T) any {
	return func(t *rapid.T) any {
		s := SetTransactionStatus{TransactionID: id.Draw(t, "id"), Reason: "because"}
		s.Status = rapid.SampledFrom([]string{StatusPartiallyRefunded, StatusCompleted, StatusPartiallyRefunded, StatusRefunded, StatusVoided, StatusFailed}).Draw(t, "status")
		if s.Status == StatusPartiallyRefunded || s.Status == StatusRefunded && rapid.Bool().Draw(t, "by line") {
			s.Lines = refunds.Draw(t, "lines")
		}
		return s
	}
}

// anyTransfer draws what happens to transfers from b1 and, few, to it.
func anyTransfer(productID *rapid.Generator[string], positive *rapid.Generator[int64]) func(*rapid.T) any {
	id := rapid.SampledFrom([]string{"a", "a", "b"})
	few := rapid.Int64Range(0, 2)
	return func(t *rapid.T) any {
		lines := []TransferLine{{productID.Draw(t, "product"), positive.Draw(t, "quantity")}}
		transfer := strings.Repeat(id.Draw(t, "transfer"), transferIDPrefix) + "-b1"
		switch rapid.SampledFrom([]string{"receive", "announce", "announce", "receive", "dispatch", "return", "dispatch", "return", "receive", "announce", "receive all", "cancel"}).Draw(t, "step") {
		case "announce":
			return AnnounceTransfer{TransferID: transfer, FromBranchID: "b2", Lines: []TransferLine{{"p0", 9}, {"p1", 9}, {"p2", 9}}}
		case "receive":
			return ReceiveTransfer{TransferID: transfer, Lines: &[]ReceivedLine{{productID.Draw(t, "product"), few.Draw(t, "received"), few.Draw(t, "damaged")}}}
		case "receive all":
			return ReceiveTransfer{TransferID: transfer}
		case "dispatch":
			return DispatchTransfer{ToBranchID: "b2", Lines: lines}
		case "return":
			return ReturnTransfer{TransferID: strings.Repeat("d", transferIDPrefix) + "-b2", Lines: lines}
		default:
			return CancelTransfer{TransferID: transfer}
		}
	}
}

func anySync(lines *rapid.Generator[[]TransactionLine]) func(*rapid.T) any {
	return func(t *rapid.T) any {
		body := SubmitSync{DeviceID: rapid.SampledFrom([]string{"till-1", "till-2"}).Draw(t, "device"), FromSeq: rapid.Int64Range(0, 9).Draw(t, "from")}
		for range rapid.IntRange(1, 3).Draw(t, "operations") {
			body.Operations = append(body.Operations, SyncOperation{Seq: body.FromSeq + rapid.Int64Range(0, 3).Draw(t, "seq"), Lines: lines.Draw(t, "lines")})
		}
		return body
	}
}

func clone(t *rapid.T, b *Branch) *Branch {
	raw, err := MarshalState(b)
	if err != nil {
		t.Fatal(err)
	}
	s, err := readState(StreamOfBranch(b.ID), raw)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*Branch)
}

// Test_stock_and_refunds_add_up is invariant 8.
func Test_stock_and_refunds_add_up(t *testing.T) {
	seen := map[string]int{} // what the histories had of each
	rapid.Check(t, func(t *rapid.T) {
		sums := map[string]int64{}
		sold, back := map[string]int64{}, map[string]int64{} // by transaction and product
		money := map[string]int64{}
		h := run(t, func(c Command, before *Branch, made *Commit) {
			moved := map[string]int64{}
			for i := range made.Events {
				switch p := made.Events[i].payload.(type) {
				case InventoryUpdated:
					seen[p.Reason]++
					sums[p.ProductID] += p.Delta
					moved[p.ProductID] += p.Delta
					if p.Stock != sums[p.ProductID] {
						t.Fatalf("%s: stock %d, sum of deltas %d", p.ProductID, p.Stock, sums[p.ProductID])
					}
				case TransactionCreated:
					money[p.TransactionID] = p.TotalMinor
					for _, l := range p.Lines {
						sold[p.TransactionID+l.ProductID] += l.Quantity
					}
				case SyncStatus:
					seen[p.Phase]++
				case TransactionStatusChanged:
					seen[p.To]++
					for _, l := range p.Lines {
						key := p.TransactionID + l.ProductID
						back[key] += l.Quantity
						if back[key] > sold[key] {
							t.Fatalf("transaction %s: %d of %s refunded, %d sold", p.TransactionID, back[key], l.ProductID, sold[key])
						}
					}
					if p.RefundedMinor != nil && (*p.RefundedMinor < 0 || *p.RefundedMinor > money[p.TransactionID]) {
						t.Fatalf("transaction %s: %d refunded of %d", p.TransactionID, *p.RefundedMinor, money[p.TransactionID])
					}
				}
			}
			if c.Type == CommandSubmitSync {
				clear(moved) // whatever the policy
			}
			for id, delta := range moved {
				was, ok := before.Products[id]
				if ok && delta < 0 && sums[id] < 0 && was.NegativeStock != NegativeAllow {
					t.Fatalf("%s %+v took %s from %d to %d under policy %s", c.Type, c.Body, id, was.Stock, sums[id], was.NegativeStock)
				}
			}
		})
		for id, p := range h.branch.Products {
			if p.Stock != sums[id] {
				t.Fatalf("%s: stock %d, sum of deltas %d", id, p.Stock, sums[id])
			}
		}
		for id, tr := range h.branch.Transactions {
			if (tr.Status == StatusRefunded) != (tr.Kind != "" && refundedWhole(tr)) {
				t.Fatalf("transaction %s is %s: %+v", id, tr.Status, tr)
			}
		}
	})
	for _, what := range []string{
		ReasonInitial, ReasonCount, ReasonSale, ReasonPurchase, ReasonRefund, ReasonVoid,
		ReasonTransferOut, ReasonTransferIn, ReasonTransferDamage, ReasonTransferReturn, SyncDone,
		StatusCompleted, StatusVoided, StatusFailed, StatusPartiallyRefunded, StatusRefunded,
	} {
		t.Logf("%d %s", seen[what], what)
		if seen[what] == 0 {
			t.Errorf("%d %s in all histories: they prove little, draw others", seen[what], what)
		}
	}
}

func refundedWhole(t *TransactionState) bool {
	for _, l := range t.Lines {
		if l.Refunded < l.Quantity {
			return false
		}
	}
	return t.RefundedMinor == t.TotalMinor
}

// Test_replay_gives_the_same_state is invariant 6: the events as decided, as
// read from disk, on a state that was stored half-way, and on one kept row by
// row give the same state, byte for byte.
func Test_replay_gives_the_same_state(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := run(t, nil)
		want, err := MarshalState(h.branch)
		if err != nil {
			t.Fatal(err)
		}
		fromDisk, restored := NewBranch("b1"), NewBranch("b1")
		rows := rowStore{own: mustMarshal(t, NewBranch("b1")), rows: map[Row][]byte{}}
		ids := map[string]bool{}
		stop := rapid.IntRange(0, len(h.commits)).Draw(t, "restored at")
		for i, c := range h.commits {
			if i == stop {
				restored = clone(t, restored)
			}
			for j := range c.Events {
				e := c.Events[j]
				if ids[e.ID] {
					t.Fatalf("event id %s is there twice", e.ID)
				}
				ids[e.ID] = true
				e.payload = nil
				if err := fromDisk.Evolve(&e); err != nil {
					t.Fatal(err)
				}
				if err := restored.Evolve(&e); err != nil {
					t.Fatal(err)
				}
				rows.evolve(t, &e)
			}
		}
		for name, b := range map[string]*Branch{"from disk": fromDisk, "restored": restored, "by row": rows.load(t)} {
			if got := mustMarshal(t, b); string(got) != string(want) {
				t.Fatalf("%s\n     %s\nwant %s", name, got, want)
			}
			if !reflect.DeepEqual(b, h.branch) {
				t.Fatalf("%s differs in what is not marshalled: %+v, want %+v", name, b, h.branch)
			}
		}
	})
}

func mustMarshal(t *rapid.T, v any) []byte {
	raw, err := marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// withRows is a branch with few of its rows.
func withRows(t *rapid.T, whole *Branch, rows []Row) *Branch {
	b := clone(t, whole)
	clear(b.Transactions)
	clear(b.Transfers)
	clear(b.Devices)
	for _, row := range rows {
		putFrom(t, b, row, rowOf(t, whole, row))
	}
	return b
}

func rowOf(t *rapid.T, b *Branch, row Row) []byte {
	raw, err := b.MarshalRow(row)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func putFrom(t *rapid.T, b *Branch, row Row, raw []byte) {
	if err := b.PutRow(row, raw); err != nil {
		t.Fatal(err)
	}
}

// rowStore keeps a branch as a table does: a row of its own and one per
// product, transaction, transfer and device.
type rowStore struct {
	own  []byte
	rows map[Row][]byte
}

// evolve loads only the row that an event touches, folds it in and stores it
// again.
func (s *rowStore) evolve(t *rapid.T, e *Event) {
	row := Touched(e)
	b := fromJSON[Branch](t, s.own)
	if row != (Row{}) {
		putFrom(t, b, row, s.rows[row])
	}
	b.Reindex()
	if err := b.Evolve(e); err != nil {
		t.Fatalf("on row %+v: %v", row, err)
	}
	if row != (Row{}) {
		if raw := rowOf(t, b, row); raw != nil {
			s.rows[row] = raw
		}
	}
	clear(b.Products)
	clear(b.Transactions)
	clear(b.Transfers)
	clear(b.Devices)
	s.own = mustMarshal(t, b)
}

func (s *rowStore) load(t *rapid.T) *Branch {
	b := fromJSON[Branch](t, s.own)
	for row, raw := range s.rows {
		putFrom(t, b, row, raw)
	}
	b.Reindex()
	return b
}

func fromJSON[T any](t *rapid.T, raw []byte) *T {
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
	return v
}

// Test_replay_of_users_gives_the_same_state is invariant 6 for users.
func Test_replay_of_users_gives_the_same_state(t *testing.T) {
	role := rapid.SampledFrom([]string{RoleAdmin, RoleManager, RoleStaff, "boss"})
	branches := rapid.SliceOfN(rapid.SampledFrom([]string{"b1", "b2", "b3", "b 4"}), 0, 4)
	name := rapid.SampledFrom([]string{"", "Ann", "é <b>", "\x00"})
	body := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) any {
			return SetUser{"u1", role.Draw(t, "role"), branches.Draw(t, "branches"), rapid.Bool().Draw(t, "disabled"), name.Draw(t, "name")}
		}),
		rapid.Custom(func(t *rapid.T) any {
			return ChangeUser{
				"u1", rapid.Ptr(role, true).Draw(t, "role"), rapid.Ptr(branches, true).Draw(t, "branches"),
				rapid.Ptr(rapid.Bool(), true).Draw(t, "disabled"), rapid.Ptr(name, true).Draw(t, "name"),
			}
		}),
	)
	rapid.Check(t, func(t *rapid.T) {
		live, replayed := &User{ID: "u1"}, &User{ID: "u1"}
		for i, body := range rapid.SliceOfN(body, 0, 30).Draw(t, "bodies") {
			c := Command{ID: fmt.Sprint("c", i), Type: typeOf(body), Identity: who(RoleAdmin), At: now, Body: body}
			d, r := live.Decide(c)
			if r != nil {
				continue
			}
			made, err := NewCommit("user/u1", 1, c, d)
			if err != nil {
				t.Fatal(err)
			}
			for i := range made.Events {
				e := made.Events[i]
				if err := live.Evolve(&e); err != nil {
					t.Fatal(err)
				}
				e.payload = nil
				if err := replayed.Evolve(&e); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !reflect.DeepEqual(live, replayed) || string(mustMarshal(t, live)) != string(mustMarshal(t, replayed)) {
			t.Fatalf("replay gives %+v, want %+v", replayed, live)
		}
	})
}
