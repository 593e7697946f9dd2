package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"bms/cmd/bms/bench"
)

// benchConfig is what `bms bench` was told.
type benchConfig struct {
	load               bench.Config
	dataDir, jwtSecret string
	alertsRepeat       string
	json               bool
}

func benchCommand() (*flagSet, runFunc) {
	f, c := newFlagSet("bench"), &benchConfig{}
	f.StringVar(&c.load.URL, "url", "http://localhost:3001", "`URL` of the node")
	f.StringVar(&c.dataDir, "data", "./data", "data `folder` whose development key signs the tokens if there is no --jwt-secret")
	f.secret(&c.jwtSecret, "jwt-secret", "HS256 `key` of the node, at least 32 bytes")
	f.StringVar(&c.load.Issuer, "jwt-issuer", "", "`iss` of the tokens")
	f.StringVar(&c.load.Audience, "jwt-audience", "", "`aud` of the tokens")
	define(f, &c.load.Sockets, "sockets", "100", parseCount, "`number` of sockets, each a user of its own")
	define(f, &c.load.Transport, "transport", bench.WebSocket, oneOf(bench.Transports...),
		"`how` the sockets connect: websocket; polling; upgrade, from polling to WebSocket as stock clients do; plain, without Socket.IO; mixed, all by turns")
	define(f, &c.load.Slow, "slow", "0", parseCount, "`number` of the sockets that stop reading for the first half of the duration; their latencies don't count")
	define(f, &c.load.Rate, "rate", "0", parseRate, "commands a second, all clients together; 0: as fast as answers come")
	define(f, &c.load.Clients, "clients", "16", parseCount, "`number` of clients that give commands, each one at a time")
	define(f, &c.load.Branches, "branches", "4", parseCount, "`number` of branches to open")
	define(f, &c.load.Products, "products", "20", parseCount, "`number` of products in each branch")
	define(f, &c.load.Duration, "duration", "30s", parseDuration, "`time` to give commands for")
	define(f, &c.load.Grace, "grace", "30s", parseDuration, "`time` to wait for answers and deliveries afterwards, and for the sockets to connect before")
	f.BoolVar(&c.load.Check, "check", false, "check every command, delivery, stock level and alert against the node's log; exit 1 if any is wrong")
	define(f, &c.alertsRepeat, "alerts-repeat", "every", oneOf("every", "escalation"), "`which` low-stock changes the node alerts; for --check")
	f.Uint64Var(&c.load.Seed, "seed", 0, "`seed` of the choice of commands")
	f.BoolVar(&c.json, "json", false, "report in JSON, durations in nanoseconds")
	return f, func(ctx context.Context, stdout, _ io.Writer) error { return runBench(ctx, c, stdout) }
}

// parseCount reads a number from 0 on.
func parseCount(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, errors.New("want a whole number from 0 on")
	}
	return int(n), nil
}

// parseRate reads a number per second.
func parseRate(s string) (float64, error) {
	r, err := strconv.ParseFloat(s, 64)
	if err != nil || !(r >= 0 && r <= 1e9) {
		return 0, errors.New("want a number per second from 0 on")
	}
	return r, nil
}

// errBroken ends a run that has seen what must not be.
var errBroken = errors.New("the node has broken its promises, see above")

func runBench(ctx context.Context, c *benchConfig, stdout io.Writer) error {
	switch {
	case c.load.Clients == 0 || c.load.Branches == 0 || c.load.Products == 0:
		return usagef("--clients, --branches and --products: at least 1")
	case c.jwtSecret != "":
		c.load.Secret = []byte(c.jwtSecret)
	default:
		key, err := readDevKey(c.dataDir)
		if errors.Is(err, fs.ErrNotExist) {
			return usagef("no signing key: give --jwt-secret (BMS_JWT_SECRET, BMS_JWT_SECRET_FILE), or --data of a node that runs with --dev")
		}
		if err != nil {
			return err
		}
		c.load.Secret = key
	}
	c.load.Escalation = c.alertsRepeat == "escalation"
	load, err := bench.New(c.load)
	if err != nil {
		return usagef("%v", err)
	}
	var report *bench.Report
	func() {
		if !c.json {
			defer showProgress(load, stdout)()
		}
		report, err = load.Run(ctx)
	}()
	if err != nil {
		return err
	}
	if c.json {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else {
		_, err = io.WriteString(stdout, report.String())
	}
	if err == nil && !report.OK() {
		err = errBroken
	}
	return err
}

// showProgress says how the run stands: on a terminal in one line that changes,
// elsewhere in a line now and then. It goes on until stop is called.
func showProgress(load *bench.Load, stdout io.Writer) (stop func()) {
	every, begin, end := 5*time.Second, "", "\n"
	if isTerminal(stdout) {
		every, begin, end = time.Second/2, "\r\x1b[K", ""
	}
	done := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		var before bench.Progress
		last := time.Now()
		for {
			select {
			case now := <-tick.C:
				p := load.Progress()
				seconds := now.Sub(last).Seconds()
				last = now
				fmt.Fprintf(stdout, "%s%4.0fs  %d sockets  %6.0f commands/s  p50 %v p99 %v  %8.0f events/s%s", begin, p.Elapsed.Seconds(), p.Connected,
					float64(p.Commands-before.Commands)/seconds, p.Answers.P50, p.Answers.P99, float64(p.Events-before.Events)/seconds, end)
				before = p
			case <-done:
				fmt.Fprint(stdout, begin)
				return
			}
		}
	})
	return func() { close(done); shown.Wait() }
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
