package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"bms/domain"
)

// decided is what a command came to.
type decided struct {
	commit *domain.Commit
	err    error
}

var (
	boss    = domain.Identity{UserID: "boss", Role: domain.RoleAdmin}
	cashier = domain.Identity{UserID: "cashier", Role: domain.RoleStaff, Branches: []string{"b1"}}
)

var commandsMade atomic.Int64

// commandBy makes a command with a fresh id.
func commandBy(who domain.Identity, commandType, branchID string, body any) domain.Command {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return domain.Command{
		ID: fmt.Sprintf("command-%d", commandsMade.Add(1)), Type: commandType, BranchID: branchID, Identity: who,
		At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Fingerprint: commandType + "|" + branchID + "|" + string(raw), Body: body,
	}
}

// keyed gives a command an id that the client chose.
func keyed(cmd domain.Command, id string) domain.Command {
	cmd.ID, cmd.Keyed = id, true
	return cmd
}

func openBranch(branchID string) domain.Command {
	return commandBy(boss, domain.CommandOpenBranch, branchID, domain.OpenBranch{BranchID: branchID, Name: "Shop"})
}

func createProduct(branchID string, stock int64) domain.Command {
	return commandBy(boss, domain.CommandCreateProduct, branchID, domain.CreateProduct{
		ProductID: "p1", SKU: "SKU-1", Name: "Tea", PriceMinor: 350, Currency: "EUR", Stock: new(stock), MinStock: 0,
	})
}

func adjust(delta int64) domain.Command {
	return commandBy(cashier, domain.CommandAdjustStock, "b1", domain.AdjustStock{ProductID: "p1", Delta: delta, Reason: "found"})
}

func sell(quantity int64) domain.Command {
	return commandBy(cashier, domain.CommandCreateTransaction, "b1", domain.CreateTransaction{
		Kind: domain.KindSale, Status: domain.StatusCompleted, Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: quantity}},
	})
}

// startDeciders starts Deciders that the end of the test closes.
func startDeciders(t testing.TB, log domain.Log, configure func(*DecidersConfig)) *Deciders {
	t.Helper()
	system, err := NewSystem(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cfg := DecidersConfig{System: system, Log: log, Logger: slog.New(slog.DiscardHandler)}
	if configure != nil {
		configure(&cfg)
	}
	d, err := NewDeciders(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Errorf("close deciders: %v", err)
		}
	})
	return d
}

// submit submits a command. The channel has room for a second answer, which
// answered finds.
func submit(d *Deciders, cmd domain.Command) <-chan decided {
	answers := make(chan decided, 2)
	d.Submit(cmd, func(commit *domain.Commit, err error) { answers <- decided{commit, err} })
	return answers
}

func do(d *Deciders, cmd domain.Command) (*domain.Commit, error) {
	a := <-submit(d, cmd)
	return a.commit, a.err
}

func mustDo(t testing.TB, d *Deciders, cmds ...domain.Command) *domain.Commit {
	t.Helper()
	var commit *domain.Commit
	for _, cmd := range cmds {
		var err error
		if commit, err = do(d, cmd); err != nil {
			t.Fatalf("%s: %v", cmd.Type, err)
		}
	}
	return commit
}

// stocked opens b1 with a product p1.
func stocked(t testing.TB, d *Deciders, stock int64) {
	t.Helper()
	mustDo(t, d, openBranch("b1"), createProduct("b1", stock))
}

func code(err error) string {
	var no *domain.Rejection
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &no):
		return no.Code
	default:
		return "fault"
	}
}

func wantCode(t testing.TB, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("outcome %s (%v), want %s", got, err, want)
	}
}

// stockOf replays a branch from the log and returns p1's stock. The log has to
// fold without an error, which includes that no event takes a stock below zero.
func stockOf(t testing.TB, log domain.Log, branchID string) int64 {
	t.Helper()
	stocks := stocksOf(t, log, branchID)
	return stocks[len(stocks)-1]
}

// stocksOf does so for each version of the branch, 0 included.
func stocksOf(t testing.TB, log domain.Log, branchID string) []int64 {
	t.Helper()
	branch := domain.NewBranch(branchID)
	stocks := []int64{0}
	for {
		version := uint64(len(stocks) - 1)
		commits, err := log.ReadStream(context.Background(), domain.StreamOfBranch(branchID), version, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(commits) == 0 {
			return stocks
		}
		for _, c := range commits {
			if version++; c.Version != version {
				t.Fatalf("version %d in the log, want %d", c.Version, version)
			}
			for i := range c.Events {
				if err := branch.Evolve(&c.Events[i]); err != nil {
					t.Fatalf("version %d: %v", version, err)
				}
			}
			stock := int64(0)
			if p := branch.Products["p1"]; p != nil {
				stock = p.Stock
			}
			stocks = append(stocks, stock)
		}
	}
}
