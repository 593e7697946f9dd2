package main

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"bms/domain"
)

// testNode is a node in this process.
type testNode struct {
	app  *App
	addr string
	stop func()
}

// startNode serves from a data folder, with further flags, until the end of the
// test or stop.
func startNode(tb testing.TB, dataDir string, more ...string) *testNode {
	tb.Helper()
	flags, cfg := serveFlags()
	if err := flags.Parse(append([]string{"--addr", "127.0.0.1:0", "--data", dataDir, "--jwt-secret", testSecret}, more...)); err != nil {
		tb.Fatal(err)
	}
	return runNode(tb, patientApp(cfg, slog.New(slog.DiscardHandler)))
}

// patientApp is newApp for a machine however slow: the node leaves nothing
// undone because it has waited long enough.
func patientApp(cfg *serveConfig, logger *slog.Logger) *App {
	app := newApp(cfg, logger)
	const long = 20 * time.Second
	app.waits = waits{fresh: long, users: long, followUps: long, unread: long, acked: long, start: long, traces: long}
	return app
}

// runNode opens a node and serves until the end of the test or stop.
func runNode(tb testing.TB, app *App) *testNode {
	tb.Helper()
	if err := app.open(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := app.Run(ctx); err != nil {
			tb.Errorf("run: %v", err)
		}
		if err := app.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	}()
	n := &testNode{app: app, addr: app.listener.Addr().String(), stop: sync.OnceFunc(func() { cancel(); <-done })}
	tb.Cleanup(n.stop)
	return n
}

// do gives a command that has to be accepted.
func (n *testNode) do(tb testing.TB, commandType, branchID string, body any) {
	tb.Helper()
	_, err := n.app.bus.Do(tb.Context(), domain.Command{
		ID: commandType + "-" + branchID, Keyed: true, Type: commandType, BranchID: branchID,
		Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: time.Now(), Body: body,
	})
	if err != nil {
		tb.Fatalf("%s in %s: %v", commandType, branchID, err)
	}
}
