package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"bms/domain"
	"bms/transport/auth"
)

// A storm: so many clients come back at once, each so many events behind. The
// environment makes it smaller or larger: STORM_CLIENTS, STORM_BEHIND.
const (
	stormClients = 1000
	stormBehind  = 10_000
)

// BenchmarkStorm is what a storm takes, and what it does to the delivery of
// live events to a client that is up to date: accept→socket latency before and
// meanwhile. The storm's clients are in a process of their own, on the same
// processors.
func BenchmarkStorm(b *testing.B) {
	clients, behind := fromEnv(b, "STORM_CLIENTS", stormClients), fromEnv(b, "STORM_BEHIND", stormBehind)
	node := startNode(b, b.TempDir())
	node.do(b, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	node.do(b, domain.CommandCreateProduct, "b1", domain.CreateProduct{
		ProductID: "p1", SKU: "P1", Name: "Apples", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1 << 40)),
	})
	since := node.app.log.Head().String()
	var sent atomic.Int64
	adjust := func() error {
		_, err := node.app.bus.Do(b.Context(), domain.Command{
			ID: fmt.Sprint(sent.Add(1)), Type: domain.CommandAdjustStock, BranchID: "b1",
			Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: time.Now(),
			Body: domain.AdjustStock{ProductID: "p1", Delta: -1, Reason: "count"},
		})
		return err
	}
	var filling errgroup.Group
	for range 64 {
		filling.Go(func() error {
			for range (behind + 63) / 64 {
				if err := adjust(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := filling.Wait(); err != nil {
		b.Fatal(err)
	}

	live, err := dialRaw(node.addr, "live", "")
	if err != nil {
		b.Fatal(err)
	}
	defer live.conn.Close()
	latencies := func(until func() bool) (all []time.Duration) {
		for !until() {
			start := time.Now()
			if err := adjust(); err != nil {
				b.Fatal(err)
			}
			if _, err := live.events(1); err != nil {
				b.Fatal(err)
			}
			all = append(all, time.Since(start))
			time.Sleep(5 * time.Millisecond)
		}
		slices.Sort(all)
		return all
	}
	report := func(all []time.Duration, when string) {
		for _, p := range []int{50, 99} {
			b.ReportMetric(float64(all[len(all)*p/100].Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", when, p))
		}
	}
	calm := 0
	quiet := latencies(func() bool { calm++; return calm > 300 })

	for b.Loop() {
		runtime.GC()
		rss, _, _ := memory(b)
		cpu := cpuTime(b)
		start := time.Now()
		storm := exec.CommandContext(b.Context(), os.Args[0])
		if cpus := os.Getenv("STORM_CLIENT_CPUS"); cpus != "" {
			storm = exec.CommandContext(b.Context(), "taskset", "-c", cpus, os.Args[0])
		}
		storm.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		storm.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s %d", stormOf, node.addr, clients, since, behind))
		storm.Stderr = os.Stderr
		if err := storm.Start(); err != nil {
			b.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- storm.Wait() }()
		var result error
		done := false
		peak := rss
		during := latencies(func() bool {
			peak = max(peak, resident(b))
			select {
			case result = <-ended:
				done = true
			default:
			}
			return done
		})
		if result != nil {
			b.Fatal(result)
		}
		events := float64(clients) * float64(behind)
		report(quiet, "quiet")
		report(during, "storm")
		b.ReportMetric(float64(clients)/time.Since(start).Seconds(), "resumes/s")
		b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1000/events, "cpu-us/replayed")
		b.ReportMetric(float64(peak-rss)/float64(clients)/1000, "peak-KB/client")
	}
}

func fromEnv(b *testing.B, name string, def int) int {
	b.Helper()
	v := os.Getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		b.Fatalf("%s is %q, want a number", name, v)
	}
	return n
}

// stormOf is set, to "address clients since events", in the environment of the
// storm's process.
const stormOf = "BENCH_STORM_OF"

func init() {
	of := os.Getenv(stormOf)
	if of == "" {
		return
	}
	var addr, since string
	var clients, behind int
	_, err := fmt.Sscan(of, &addr, &clients, &since, &behind)
	if err == nil {
		// Clients have processors of their own; here the server goes first.
		err = syscall.Setpriority(syscall.PRIO_PGRP, 0, 19)
	}
	if err == nil {
		var storm errgroup.Group
		for i := range clients {
			storm.Go(func() error {
				c, err := dialRaw(addr, "s"+strconv.Itoa(i), since)
				if err != nil {
					return err
				}
				defer c.conn.Close()
				_, err = c.events(behind)
				return err
			})
		}
		err = storm.Wait()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// rawClient is a Socket.IO client that does as little as it can, so that the
// processors are the server's: it counts frames and answers pings.
type rawClient struct {
	conn net.Conn
	in   *bufio.Reader
}

// dialRaw connects to /ws as staff of b1, with a cursor unless since is empty,
// and waits for the session event.
func dialRaw(addr, user, since string) (*rawClient, error) {
	now := time.Now()
	token, err := auth.Sign([]byte(testSecret), auth.Grant{
		Identity: domain.Identity{UserID: user, Role: domain.RoleStaff, Branches: []string{"b1"}}, IssuedAt: now, ExpiresAt: now.Add(time.Hour),
	})
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &rawClient{conn: conn, in: bufio.NewReaderSize(conn, 16<<10)}
	fmt.Fprintf(conn, "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", addr)
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	if err := res.Body.Close(); err != nil {
		return nil, err
	}
	auth := `40/ws,{"token":"` + token + `"}`
	if since != "" {
		auth = `40/ws,{"token":"` + token + `","since":"` + since + `"}`
	}
	if err := c.send(auth); err != nil {
		return nil, err
	}
	first, err := c.events(1)
	if err == nil && !strings.HasPrefix(first, `42/ws,["session"`) {
		err = fmt.Errorf("got %.80q, want the session", first)
	}
	return c, err
}

// send sends a text frame, masked with zeros.
func (c *rawClient) send(text string) error {
	frame := []byte{0x81, 0x80 | 126, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(frame[2:], uint16(len(text)))
	_, err := c.conn.Write(append(frame, text...))
	return err
}

// events reads until so many events have come and returns the beginning of the
// last.
func (c *rawClient) events(count int) (last string, err error) {
	for count > 0 {
		head, err := c.in.Peek(2)
		if err != nil {
			return "", err
		}
		size, skip := int(head[1]), 2
		switch size {
		case 126:
			if head, err = c.in.Peek(4); err != nil {
				return "", err
			}
			size, skip = int(binary.BigEndian.Uint16(head[2:])), 4
		case 127:
			return "", io.ErrUnexpectedEOF // none is that large
		}
		if _, err := c.in.Discard(skip); err != nil {
			return "", err
		}
		start, err := c.in.Peek(min(size, 80))
		if err != nil {
			return "", err
		}
		switch {
		case string(start) == "2":
			err = c.send("3")
		case strings.HasPrefix(string(start), "44"):
			return "", fmt.Errorf("refused: %s", start)
		case strings.HasPrefix(string(start), "42"):
			count--
			if count == 0 {
				last = string(start)
			}
		}
		if err != nil {
			return "", err
		}
		if _, err := c.in.Discard(size); err != nil {
			return "", err
		}
	}
	return last, nil
}
