package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bms/domain"
	"bms/transport/eventlog"
)

// logLengths are the logs, in events, that the benchmarks here start on.
var logLengths = map[string]int{"1M": 1_000_000, "5M": 5_000_000}

// BenchmarkStart opens a node on a log with its read models beside it, until
// /readyz says ready: after a clean stop, and on the files as they are while a
// node works on them, which is what a kill -9 leaves.
func BenchmarkStart(b *testing.B) {
	for name, events := range logLengths {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			fillLog(b, dir, events)
			began := time.Now()
			node := startNode(b, dir) // folds the log
			for _, name := range node.app.projections.Names() {
				if err := node.app.projections.WaitFor(b.Context(), name, node.app.log.Head()); err != nil {
					b.Fatal(err)
				}
			}
			b.Logf("all read models folded in %v", time.Since(began))
			node.do(b, domain.CommandOpenBranch, "late", domain.OpenBranch{BranchID: "late", Name: "Late"})
			killed := filepath.Join(b.TempDir(), "killed")
			if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
				b.Fatal(err)
			}
			node.stop()
			b.Run("clean", func(b *testing.B) { startOn(b, dir, false) })
			b.Run("killed", func(b *testing.B) { startOn(b, killed, true) })
		})
	}
}

func startOn(b *testing.B, dir string, killed bool) {
	for b.Loop() {
		if killed { // each start finds it as it was
			b.StopTimer()
			copied := filepath.Join(b.TempDir(), "again")
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				b.Fatal(err)
			}
			dir := copied
			b.StartTimer()
			startUntilReady(b, dir)
			b.StopTimer()
			if err := os.RemoveAll(copied); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			continue
		}
		startUntilReady(b, dir)
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/start")
}

func startUntilReady(b *testing.B, dir string) {
	node := startNode(b, dir)
	for {
		res, err := http.Get("http://" + node.addr + "/readyz")
		if err != nil {
			b.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			break
		}
		for _, name := range node.app.projections.Names() {
			if err := node.app.projections.WaitFor(b.Context(), name, node.app.log.Head()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	node.stop()
	b.StartTimer()
}

// BenchmarkOperations measures what an operator does to a log of a million
// events.
func BenchmarkOperations(b *testing.B) {
	dir := b.TempDir()
	fillLog(b, dir, logLengths["1M"])
	node := startNode(b, dir)
	for _, name := range node.app.projections.Names() {
		if err := node.app.projections.WaitFor(b.Context(), name, node.app.log.Head()); err != nil {
			b.Fatal(err)
		}
	}
	commits := float64(node.app.log.Head().Seq)
	file := filepath.Join(b.TempDir(), "backup")
	for _, op := range []struct {
		name string
		args func() []string
	}{
		{"verify", func() []string { return []string{"verify", "--data", dir} }},
		{"verify-log-only", func() []string { return []string{"verify", "--data", dir, "--log-only"} }},
		{"backup", func() []string { _ = os.Remove(file); return []string{"backup", file, "--data", dir} }},
		{"restore", func() []string { return []string{"restore", file, "--data", filepath.Join(b.TempDir(), "new")} }},
	} {
		b.Run(op.name, func(b *testing.B) {
			for b.Loop() {
				var stdout, stderr bytes.Buffer
				if code := run(b.Context(), op.args(), &stdout, &stderr); code != exitOK {
					b.Fatalf("code %d: %s", code, stderr.String())
				}
				b.Log(stdout.String())
			}
			b.ReportMetric(commits*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

// fillLog writes so many events: shops that open, fill their shelves, and sell.
func fillLog(b *testing.B, dir string, wanted int) {
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
				ProductID: fmt.Sprintf("p%d", p), SKU: fmt.Sprintf("s%d", p), Name: "Product", PriceMinor: 199, Currency: "EUR", Stock: new(int64(1 << 40)),
			})
		}
	}
	for i := 0; events < wanted; i++ {
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
