package main

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// openCore opens what decides, keeps and folds, without any edge.
func openCore(t *testing.T, dataDir string) *App {
	t.Helper()
	a := &App{cfg: &serveConfig{dataDir: dataDir, durability: "fsync"}, logger: slog.New(slog.DiscardHandler), now: time.Now}
	for _, open := range []func(context.Context) error{a.openTelemetry, a.openLog, a.openProjections, a.openDeciders} {
		if err := open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// runFor lets the parts and a demo run for some time, which in a bubble takes
// none.
func (a *App) runFor(t *testing.T, d time.Duration, run string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	work, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- a.bus.Run(work) }()
	go func() { done <- a.projections.Run(work) }()
	demo := demo{do: a.bus.Do, logger: a.logger, now: a.now, run: run}
	if err := demo.Run(ctx); err != nil {
		t.Errorf("demo: %v", err)
	}
	for _, name := range a.projections.Names() {
		if err := a.projections.WaitFor(t.Context(), name, a.log.Head()); err != nil {
			t.Errorf("projection: %v", err)
		}
	}
	stop()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// Twice ten minutes of demo: shops open once, customers buy, shelves run low, deliveries
// come, and stock is never below zero.
func TestDemo_sells_refunds_runs_low_and_restocks(t *testing.T) {
	dir := t.TempDir()
	for _, run := range []string{"monday", "tuesday"} {
		synctest.Test(t, func(t *testing.T) { openCore(t, dir).runFor(t, 10*time.Minute, run) })
	}
	count := map[string]int{}
	synctest.Test(t, func(t *testing.T) {
		a := openCore(t, dir)
		defer a.Close()
		for after := uint64(0); ; {
			commits, err := a.log.Read(t.Context(), after, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if len(commits) == 0 {
				break
			}
			for _, c := range commits {
				after = c.Position.Seq
				for i := range c.Events {
					payload, err := c.Events[i].Payload()
					if err != nil {
						t.Fatal(err)
					}
					switch p := payload.(type) {
					case domain.BranchUpdated, domain.ProductUpdated, domain.LowStockAlert:
						count[c.Events[i].Type]++
					case domain.TransactionCreated:
						count[p.Kind]++
					case domain.TransactionStatusChanged:
						count["refund"]++
					case domain.InventoryUpdated:
						if p.Stock < 0 {
							t.Errorf("%s of %s: stock %d", p.ProductID, c.Events[i].BranchID, p.Stock)
						}
					}
				}
			}
		}
	})
	if got, want := count[domain.TypeBranchUpdated], len(demoBranches); got != want {
		t.Errorf("%d branches opened, want %d", got, want)
	}
	if got, want := count[domain.TypeProductUpdated], len(demoBranches)*len(demoRange); got != want {
		t.Errorf("%d products created, want %d", got, want)
	}
	for _, what := range []string{"sale", "refund", "purchase", domain.TypeLowStockAlert} {
		if count[what] == 0 {
			t.Errorf("no %s in 20 minutes", what)
		}
	}
}

func TestDemo_range_looks_like_a_shop(t *testing.T) {
	ids, skus := map[string]bool{}, map[string]bool{}
	for _, p := range demoRange {
		if ids[p.id] || skus[p.sku] || !domain.ValidID(p.id) {
			t.Errorf("%s, %s: id or sku twice, or no id", p.id, p.sku)
		}
		ids[p.id], skus[p.sku] = true, true
		if p.priceMinor <= 0 || p.min <= 0 || p.stock <= p.min || p.popularity <= 0 {
			t.Errorf("%s: price %d, stock %d, minimum %d, popularity %d", p.id, p.priceMinor, p.stock, p.min, p.popularity)
		}
	}
}
