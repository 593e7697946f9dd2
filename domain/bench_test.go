package domain

import (
	"strconv"
	"testing"
	"time"
)

var benchTime = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// benchBranch has 100 products with plenty of stock.
func benchBranch(b *testing.B) *Branch {
	b.Helper()
	branch := NewBranch("b1")
	given(b, branch, "admin", OpenBranch{BranchID: "b1", Name: "One"})
	for i := range 100 {
		given(b, branch, "admin", CreateProduct{
			ProductID: "p" + strconv.Itoa(i), SKU: "SKU-" + strconv.Itoa(i), Name: "Product " + strconv.Itoa(i),
			PriceMinor: 250, Currency: "EUR", Stock: new(int64(1 << 40)), MinStock: 5,
		})
	}
	return branch
}

// write does what the write path does for a command: decide, make the commit,
// fold it in.
func write(b *testing.B, s *Branch, c Command, version uint64) *Commit {
	d, r := s.Decide(c)
	if r != nil {
		b.Fatal(r)
	}
	commit, err := NewCommit("branch/b1", version, c, d)
	if err != nil {
		b.Fatal(err)
	}
	for i := range commit.Events {
		if err := s.Evolve(&commit.Events[i]); err != nil {
			b.Fatal(err)
		}
	}
	return commit
}

func benchCommand(body any, i int) Command {
	return Command{
		ID: "0197b3a2-0000-7000-8000-" + strconv.Itoa(100000000000+i), Type: typeOf(body), BranchID: "b1",
		Identity: Identity{UserID: "u1", Role: RoleStaff, Branches: []string{"b1"}},
		At:       benchTime.Add(time.Duration(i) * time.Millisecond), Body: body,
	}
}

func BenchmarkDecideEvolve(b *testing.B) {
	b.Run("adjust", func(b *testing.B) {
		s := benchBranch(b)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			write(b, s, benchCommand(AdjustStock{ProductID: "p7", Delta: -1, Reason: "breakage"}, i), uint64(i+1))
		}
	})
	b.Run("sale_of_three_lines", func(b *testing.B) {
		s := benchBranch(b)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			write(b, s, benchCommand(CreateTransaction{Kind: KindSale, Status: StatusCompleted, Lines: []TransactionLine{
				{ProductID: "p1", Quantity: 1}, {ProductID: "p2", Quantity: 2}, {ProductID: "p3", Quantity: 3},
			}}, i), uint64(i+1))
			if i%1000 == 999 { // keep the map small: its growth is not the subject
				clear(s.Transactions)
			}
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	s := benchBranch(b)
	c := benchCommand(AdjustStock{ProductID: "p7", Delta: -1, Reason: "breakage"}, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, r := s.Decide(c); r != nil {
			b.Fatal(r)
		}
	}
}

func BenchmarkReplayFromJSON(b *testing.B) {
	s := benchBranch(b)
	commit := write(b, s, benchCommand(AdjustStock{ProductID: "p7", Delta: 1, Reason: "found"}, 1), 1)
	e := commit.Events[0]
	e.payload = nil
	p := s.Products["p7"]
	before := *p
	before.Stock, before.Version = before.Stock-1, before.Version-1
	b.ReportAllocs()
	for b.Loop() {
		*p = before
		if err := s.Evolve(&e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendEnvelope(b *testing.B) {
	commit := write(b, benchBranch(b), benchCommand(AdjustStock{ProductID: "p7", Delta: -1, Reason: "breakage"}, 1), 1)
	commit.Placed(1767225600000, 12345)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = commit.Events[0].AppendEnvelope(buf[:0])
	}
}

func BenchmarkAudience(b *testing.B) {
	commit := write(b, benchBranch(b), benchCommand(AdjustStock{ProductID: "p7", Delta: -1, Reason: "breakage"}, 1), 1)
	e := &commit.Events[0]
	b.Run("append_rooms", func(b *testing.B) {
		var rooms []string
		b.ReportAllocs()
		for b.Loop() {
			rooms = AppendRooms(rooms[:0], e)
		}
	})
	b.Run("may_see", func(b *testing.B) {
		id := Identity{UserID: "u1", Role: RoleStaff, Branches: []string{"b1"}}
		b.ReportAllocs()
		for b.Loop() {
			if !MaySee(id, NamespacePOS, e) {
				b.Fatal("not seen")
			}
		}
	})
}

func BenchmarkDecodeBody(b *testing.B) {
	raw := []byte(`{"kind":"sale","status":"completed","lines":[{"productId":"p1","quantity":1},{"productId":"p2","quantity":2},{"productId":"p3","quantity":3}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeBody(CommandCreateTransaction, raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecideLarge is what a stream's actor does for one command of the
// greatest size: decide and make the commit.
func BenchmarkDecideLarge(b *testing.B) {
	bulk := AdjustStockBulk{Mode: BulkAtomic}
	for i := range MaxLines {
		bulk.Lines = append(bulk.Lines, BulkAdjustment{ProductID: "p" + strconv.Itoa(i%100), Delta: -1, Reason: "breakage"})
	}
	sync := SubmitSync{DeviceID: "till-1", FromSeq: 1}
	for i := range MaxSyncOperations {
		sync.Operations = append(sync.Operations, SyncOperation{Seq: int64(i + 1), Lines: []TransactionLine{
			{ProductID: "p" + strconv.Itoa(i%100), Quantity: 1}, {ProductID: "p" + strconv.Itoa(i%99), Quantity: 2},
		}})
	}
	transfer := DispatchTransfer{ToBranchID: "b2"}
	for i := range MaxLines {
		transfer.Lines = append(transfer.Lines, TransferLine{ProductID: "p" + strconv.Itoa(i%100), Quantity: 1})
	}
	for name, body := range map[string]any{"bulk_of_1000_lines": bulk, "sync_of_1000_operations": sync, "transfer_of_1000_lines": transfer} {
		b.Run(name, func(b *testing.B) {
			s := benchBranch(b)
			c := benchCommand(body, 1)
			c.Identity.Role = RoleManager
			b.ReportAllocs()
			for b.Loop() {
				d, r := s.Decide(c)
				if r != nil {
					b.Fatal(r)
				}
				if _, err := NewCommit("branch/b1", 1, c, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
