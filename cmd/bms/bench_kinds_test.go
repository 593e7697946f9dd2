package main

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"bms/domain"
)

// BenchmarkKinds is how many commands of each kind a node decides and keeps in
// a second, 64 at a time in one branch, from the bus to the disk.
func BenchmarkKinds(b *testing.B) {
	node := startNode(b, b.TempDir())
	var ids atomic.Int64
	do := func(commandType string, body any) (*domain.Commit, error) {
		return node.app.bus.Do(b.Context(), domain.Command{
			ID: fmt.Sprint(ids.Add(1)), Type: commandType, BranchID: "b1",
			Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: time.Now(), Body: body,
		})
	}
	must := func(commandType string, body any) *domain.Commit {
		commit, err := do(commandType, body)
		if err != nil {
			b.Fatal(err)
		}
		return commit
	}
	must(domain.CommandOpenBranch, domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	for i := range 100 {
		must(domain.CommandCreateProduct, domain.CreateProduct{
			ProductID: fmt.Sprintf("p%d", i), SKU: fmt.Sprintf("P%d", i), Name: "Article", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1 << 40)),
		})
	}
	line := func(i int64) domain.TransactionLine {
		return domain.TransactionLine{ProductID: fmt.Sprintf("p%d", i%100), Quantity: 1}
	}
	sale := func(n int64) domain.CreateTransaction {
		return domain.CreateTransaction{
			TransactionID: fmt.Sprintf("t%d", n), Kind: "sale", Status: "completed",
			Lines: []domain.TransactionLine{line(n), line(n + 1), line(n + 2)},
		}
	}
	kinds := []struct {
		name, commandType string
		body              func(n int64) any
	}{
		{"adjust", domain.CommandAdjustStock, func(n int64) any {
			return domain.AdjustStock{ProductID: line(n).ProductID, Delta: 1, Reason: "found"}
		}},
		{"count", domain.CommandCountStock, func(n int64) any {
			return domain.CountStock{ProductID: line(n).ProductID, Counted: 1 << 40}
		}},
		{"sale_of_3_lines", domain.CommandCreateTransaction, func(n int64) any { return sale(n) }},
		{"product", domain.CommandCreateProduct, func(n int64) any {
			return domain.CreateProduct{SKU: fmt.Sprintf("N%d", n), Name: "New", PriceMinor: 100, Currency: "EUR"}
		}},
		{"price", domain.CommandChangeProduct, func(n int64) any {
			return domain.ChangeProduct{ProductID: line(n).ProductID, PriceMinor: &n}
		}},
		{"bulk_of_100_lines", domain.CommandAdjustStockBulk, func(n int64) any {
			bulk := domain.AdjustStockBulk{Mode: domain.BulkAtomic}
			for i := range int64(100) {
				bulk.Lines = append(bulk.Lines, domain.BulkAdjustment{ProductID: line(i).ProductID, Delta: 1, Reason: "delivery"})
			}
			return bulk
		}},
	}
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			var left atomic.Int64
			left.Store(int64(b.N))
			var senders errgroup.Group
			b.ResetTimer()
			for range 64 {
				senders.Go(func() error {
					for left.Add(-1) >= 0 {
						if _, err := do(kind.commandType, kind.body(ids.Add(1))); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := senders.Wait(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}
