package main

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"bms/domain"
)

// The branch of BenchmarkBranch: BRANCH_PRODUCTS products, BRANCH_EVENTS events
// of those, and BRANCH_SALES sales of three lines.
const (
	branchProducts = 100_000
	branchEvents   = 1_000_000
	branchSales    = 100_000
)

// BenchmarkBranch is what it takes to wake a large branch: the time until its
// state is there, kept beside the log and from the log alone, and the memory
// that it holds.
func BenchmarkBranch(b *testing.B) {
	products, events := fromEnv(b, "BRANCH_PRODUCTS", branchProducts), fromEnv(b, "BRANCH_EVENTS", branchEvents)
	node := startNode(b, b.TempDir())
	do := func(id, commandType string, body any) error {
		_, err := node.app.bus.Do(b.Context(), domain.Command{
			ID: id, Type: commandType, BranchID: "b1", Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: time.Now(), Body: body,
		})
		return err
	}
	if err := do("open", domain.CommandOpenBranch, domain.OpenBranch{BranchID: "b1", Name: "Shop"}); err != nil {
		b.Fatal(err)
	}
	var creating errgroup.Group
	creating.SetLimit(64)
	for i := range products {
		creating.Go(func() error {
			id := fmt.Sprintf("p%d", i)
			return do(id, domain.CommandCreateProduct, domain.CreateProduct{ProductID: id, SKU: "SKU-" + id, Name: "Product " + id, PriceMinor: 100, Currency: "EUR"})
		})
	}
	if err := creating.Wait(); err != nil {
		b.Fatal(err)
	}
	for made := products + 1; made < events; made += domain.MaxLines {
		bulk := domain.AdjustStockBulk{Mode: domain.BulkAtomic}
		for i := range domain.MaxLines {
			bulk.Lines = append(bulk.Lines, domain.BulkAdjustment{ProductID: fmt.Sprintf("p%d", (made+i)%products), Delta: 1, Reason: "delivery"})
		}
		if err := do(fmt.Sprint("bulk", made), domain.CommandAdjustStockBulk, bulk); err != nil {
			b.Fatal(err)
		}
	}
	sales := fromEnv(b, "BRANCH_SALES", branchSales)
	for made := 0; made < sales; made += domain.MaxSyncOperations {
		batch := domain.SubmitSync{DeviceID: "till-1", FromSeq: int64(made)}
		for i := range min(domain.MaxSyncOperations, sales-made) {
			op := domain.SyncOperation{Seq: int64(made + i)}
			for l := range 3 {
				op.Lines = append(op.Lines, domain.TransactionLine{ProductID: fmt.Sprintf("p%d", (made+i+l)%products), Quantity: 1})
			}
			batch.Operations = append(batch.Operations, op)
		}
		if err := do(fmt.Sprint("sync", made), domain.CommandSubmitSync, batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := node.app.projections.WaitFor(b.Context(), "branches", node.app.log.Head()); err != nil {
		b.Fatal(err)
	}
	stream := domain.StreamOfBranch("b1")
	for b.Loop() {
		before := heap()
		start := time.Now()
		state, _, err := node.app.loadStream(b.Context(), stream)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "kept-ms")
		b.ReportMetric(float64(heap()-before)/1e6, "MB")
		runtime.KeepAlive(state)

		start = time.Now()
		folded := domain.NewBranch("b1")
		for after := uint64(0); ; {
			commits, err := node.app.log.ReadStream(b.Context(), stream, after, 1000)
			if err != nil {
				b.Fatal(err)
			}
			if len(commits) == 0 {
				break
			}
			for _, c := range commits {
				for i := range c.Events {
					if err := folded.Evolve(&c.Events[i]); err != nil {
						b.Fatal(err)
					}
				}
				after = c.Version
			}
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "from-log-ms")
	}
}

// heap is what is alive, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
