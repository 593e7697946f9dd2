package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"bms/domain"
	"bms/transport/eventlog"
)

// millionEvents is how much log BenchmarkStart starts on.
const millionEvents = 1_000_000

// BenchmarkStart opens a node on a log of a million events with its read
// models beside it, until /readyz says ready, as after a clean stop.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	fillLog(b, dir)
	// The first start folds the log.
	first := startNode(b, dir)
	for _, name := range first.app.projections.Names() {
		if err := first.app.projections.WaitFor(b.Context(), name, first.app.log.Head()); err != nil {
			b.Fatal(err)
		}
	}
	first.stop()
	for b.Loop() {
		node := startNode(b, dir)
		res, err := http.Get("http://" + node.addr + "/readyz")
		if err != nil {
			b.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			b.Fatalf("/readyz: %s", res.Status)
		}
		b.StopTimer()
		node.stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/start")
}

// fillLog writes a million events: shops that open, fill their shelves, and
// sell.
func fillLog(b *testing.B, dir string) {
	b.Helper()
	log, err := eventlog.Open(b.Context(), eventlog.Config{Dir: dir, Durability: eventlog.Relaxed})
	if err != nil {
		b.Fatal(err)
	}
	const branches, products = 16, 100
	at := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	admin := domain.Identity{UserID: "bench", Role: domain.RoleAdmin}
	states := make([]domain.State, branches)
	versions := make([]uint64, branches)
	var batch []*domain.Commit
	events, commands := 0, 0
	do := func(branch int, commandType string, body any) {
		id := fmt.Sprintf("b%d", branch)
		if states[branch] == nil {
			if states[branch], err = domain.NewState(domain.StreamOfBranch(id)); err != nil {
				b.Fatal(err)
			}
		}
		commands++
		cmd := domain.Command{
			ID: fmt.Sprintf("c%d", commands), Type: commandType, BranchID: id, Identity: admin,
			At: at.Add(time.Duration(commands) * time.Second), Body: body,
		}
		decision, rejection := states[branch].Decide(cmd)
		if rejection != nil {
			b.Fatal(rejection)
		}
		versions[branch]++
		commit, err := domain.NewCommit(domain.StreamOfBranch(id), versions[branch], cmd, decision)
		if err != nil {
			b.Fatal(err)
		}
		for i := range commit.Events {
			if err := states[branch].Evolve(&commit.Events[i]); err != nil {
				b.Fatal(err)
			}
		}
		events += len(commit.Events)
		if batch = append(batch, commit); len(batch) == 1000 {
			if err := log.Append(b.Context(), batch...); err != nil {
				b.Fatal(err)
			}
			batch = nil
		}
	}
	for branch := range branches {
		do(branch, domain.CommandOpenBranch, domain.OpenBranch{BranchID: fmt.Sprintf("b%d", branch), Name: "Shop"})
		for p := range products {
			do(branch, domain.CommandCreateProduct, domain.CreateProduct{
				ProductID: fmt.Sprintf("p%d", p), SKU: fmt.Sprintf("s%d", p), Name: "Product", PriceMinor: 199, Currency: "EUR", Stock: 1 << 40,
			})
		}
	}
	for i := 0; events < millionEvents; i++ {
		do(i%branches, domain.CommandCreateTransaction, domain.CreateTransaction{
			Kind: "sale", Status: "completed", Lines: []domain.TransactionLine{
				{ProductID: fmt.Sprintf("p%d", i%products), Quantity: 1}, {ProductID: fmt.Sprintf("p%d", (i+7)%products), Quantity: 2},
			},
		})
	}
	if err := log.Append(b.Context(), batch...); err != nil {
		b.Fatal(err)
	}
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
}
