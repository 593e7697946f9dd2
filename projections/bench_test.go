package projections

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

// history is a log as read from disk: sales of two lines with their stock
// changes, adjustments, and now and then a refund, on some branches.
func history(b testing.TB, branches, products, events int) *eventlogtest.Memory {
	b.Helper()
	shop := newShop(b)
	for i := range branches {
		shop.open(fmt.Sprintf("b%d", i))
		for j := range products {
			shop.product(fmt.Sprintf("b%d", i), fmt.Sprintf("p%d", j), 1<<40, 10)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for n := branches * products; n < events; {
		branch, product := fmt.Sprintf("b%d", r.IntN(branches)), fmt.Sprintf("p%d", r.IntN(products))
		switch r.IntN(10) {
		case 0, 1, 2:
			n += len(shop.adjust(branch, product, 1).Events)
		case 3:
			tx := fmt.Sprintf("t%d", shop.n-1)
			if c, _ := shop.do(domain.CommandSetTransactionStatus, branch, domain.SetTransactionStatus{TransactionID: tx, Status: domain.StatusRefunded, Reason: "so"}); c != nil {
				n += len(c.Events)
			}
		default:
			n += len(shop.must(domain.CommandCreateTransaction, branch, domain.CreateTransaction{
				TransactionID: fmt.Sprintf("t%d", shop.n), Kind: domain.KindSale, Status: domain.StatusCompleted,
				Lines: []domain.TransactionLine{{ProductID: product, Quantity: 1}, {ProductID: fmt.Sprintf("p%d", r.IntN(products)), Quantity: 2}},
			}).Events)
		}
	}
	return shop.log.Reread()
}

// BenchmarkFold folds a log of 200,000 events from its beginning.
func BenchmarkFold(b *testing.B) {
	log := history(b, 16, 200, 200_000)
	events := 0
	for _, c := range log.All() {
		events += len(c.Events)
	}
	for _, d := range definitions(Config{AlertsRepeat: RepeatEvery}, newDirectory()) {
		b.Run(d.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				c := config(b.TempDir(), log)
				if err := c.defaults(); err != nil {
					b.Fatal(err)
				}
				in, err := openInstance(d, &c, c.Logger, filepath.Join(c.Dir, d.fileName(0)), 0, false)
				if err != nil {
					b.Fatal(err)
				}
				for after := uint64(0); ; {
					commits, err := log.Read(context.Background(), after, maxBatch)
					if err != nil {
						b.Fatal(err)
					}
					if len(commits) == 0 {
						break
					}
					if _, err := in.advance(commits); err != nil {
						b.Fatal(err)
					}
					after += uint64(len(commits))
				}
				if err := in.file.shut(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N*events), "cpu-ns/event")
		})
	}
	b.Run("all_together", func(b *testing.B) {
		before := cpuTime()
		for b.Loop() {
			r := run(b, config(b.TempDir(), log))
			r.wait(log.Head())
			r.close()
		}
		b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric(float64(cpuTime()-before)/float64(b.N*events), "cpu-ns/event")
	})
}

// cpuTime is what this process has used of the processors: on a busy machine
// it says more than the clock.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkQuery asks a Set with 200,000 events folded.
func BenchmarkQuery(b *testing.B) {
	log := history(b, 16, 200, 200_000)
	r := run(b, config(b.TempDir(), log))
	r.wait(log.Head())
	ctx := context.Background()
	for _, q := range []struct {
		name string
		ask  func() error
	}{
		{"branch", func() error { _, _, err := r.Branch(ctx, "b3"); return err }},
		{"product", func() error { _, _, err := r.Product(ctx, "b3", "p7"); return err }},
		{"products_page", func() error { _, err := r.Products(ctx, ProductsQuery{BranchID: "b3"}); return err }},
		{"products_search", func() error { _, err := r.Products(ctx, ProductsQuery{BranchID: "b3", Q: "sku-p19"}); return err }},
		{"levels_low", func() error { _, err := r.Levels(ctx, LevelsQuery{BranchID: "b3", LowStock: true}); return err }},
		{"ledger_page", func() error { _, err := r.Ledger(ctx, LedgerQuery{BranchID: "b3", ProductID: "p7"}); return err }},
		{"ledger_as_of_time", func() error {
			at := log.All()[len(log.All())/2].At
			_, err := r.Ledger(ctx, LedgerQuery{BranchID: "b3", ProductID: "p7", AsOfTime: &at, Limit: 1})
			return err
		}},
		{"transactions_page", func() error { _, err := r.Transactions(ctx, TransactionsQuery{BranchID: "b3"}); return err }},
		{"stats", func() error { _, err := r.BranchStats(ctx, StatsQuery{BranchID: "b3"}); return err }},
		{"load_branch", func() error { _, _, err := r.LoadBranch(ctx, "branch/b3"); return err }},
		{"identity", func() error { r.Identity(boss); return nil }},
	} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := q.ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen opens what was folded of a log of a million events.
func BenchmarkOpen(b *testing.B) {
	log := history(b, 64, 500, 1_000_000)
	dir := b.TempDir()
	r := run(b, config(dir, log))
	r.wait(log.Head())
	r.close()
	for b.Loop() {
		r := run(b, config(dir, log))
		r.wait(log.Head())
		b.StopTimer()
		r.close()
		b.StartTimer()
	}
}

// BenchmarkReadYourWrite appends one commit and asks for its product as soon as
// it shows.
func BenchmarkReadYourWrite(b *testing.B) {
	shop := newShop(b)
	shop.open("b1")
	shop.product("b1", "p1", 1<<40, 10)
	r := run(b, config(b.TempDir(), shop.log))
	ctx := context.Background()
	for b.Loop() {
		c := shop.adjust("b1", "p1", 1)
		if err := r.WaitFor(ctx, Inventory, c.Position); err != nil {
			b.Fatal(err)
		}
		if _, _, err := r.Product(ctx, "b1", "p1"); err != nil {
			b.Fatal(err)
		}
	}
}
