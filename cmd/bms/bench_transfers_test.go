package main

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bms/domain"
)

// BenchmarkTransfers sends a unit from branch to branch and takes it in there,
// with fsync: each operation is three commits (dispatched, announced, received)
// in two streams, the second while the first is being answered.
func BenchmarkTransfers(b *testing.B) {
	const clients, branches = 64, 64
	node := startNode(b, b.TempDir())
	for i := range branches {
		id := "b" + strconv.Itoa(i)
		node.do(b, domain.CommandOpenBranch, id, domain.OpenBranch{BranchID: id, Name: id})
		node.do(b, domain.CommandCreateProduct, id, domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "p1", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1 << 40))})
	}
	do := func(ctx context.Context, id, commandType, branchID string, body any) (*domain.Commit, error) {
		return node.app.commands.do(ctx, domain.Command{
			ID: id, Type: commandType, BranchID: branchID, Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: time.Now(), Body: body,
		})
	}
	var next atomic.Int64
	b.ResetTimer()
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				id := strconv.FormatInt(i, 10)
				from, to := "b"+strconv.FormatInt(i%branches, 10), "b"+strconv.FormatInt((i+1)%branches, 10)
				sent, err := do(b.Context(), "send-"+id, domain.CommandDispatchTransfer, from, domain.DispatchTransfer{
					ToBranchID: to, Lines: []domain.TransferLine{{ProductID: "p1", Quantity: 1}},
				})
				if err != nil {
					b.Error(err)
					return
				}
				var result domain.DispatchResult
				if err := json.Unmarshal(sent.Result, &result); err != nil {
					b.Error(err)
					return
				}
				if _, err := do(b.Context(), "take-"+id, domain.CommandReceiveTransfer, to, domain.ReceiveTransfer{TransferID: result.TransferID}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "transfers/s")
}
