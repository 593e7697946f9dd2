package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"bms/domain"
	"bms/transport/eventlog"
)

const (
	drainClients = 2000
	// drainTills are clients that sell by socket until they are sent away, too.
	drainTills = 4
	// drainSaleEvery is the time between two sales of a till, each of which is
	// an event to every client.
	drainSaleEvery = 100 * time.Millisecond
	drainSales     = 5 // of each till before the node is told to stop
)

// drainNode is a node in a process of its own.
type drainNode struct {
	*child
	addr  string
	log   chan []byte // all it has logged, once it has ended
	lines chan string // as it logs them; those that nobody takes go by
}

func startDrainNode(t *testing.T, data string) *drainNode {
	t.Helper()
	return startNodeCommand(t, childCommand("bms", "serve", "--addr", "127.0.0.1:0", "--data", data))
}

// startNodeCommand starts a node and waits until it serves.
func startNodeCommand(t *testing.T, cmd *exec.Cmd) *drainNode {
	t.Helper()
	cmd.Env = append(cmd.Env, "BMS_JWT_SECRET="+testSecret)
	cmd.Stderr = nil
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	n := &drainNode{child: startCommand(t, cmd), log: make(chan []byte, 1), lines: make(chan string, 64)}
	go func() {
		var all bytes.Buffer
		for lines := bufio.NewScanner(io.TeeReader(stderr, &all)); lines.Scan(); {
			select {
			case n.lines <- lines.Text():
			default:
			}
		}
		close(n.lines)
		n.log <- all.Bytes()
	}()
	line, err := n.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("the node says %q, %v; its log: %s", line, err, <-n.log)
	}
	_, at, _ := strings.Cut(line, "serving on http://")
	n.addr, _, _ = strings.Cut(at, " ")
	return n
}

// logs waits until the node logs something.
func (n *drainNode) logs(t *testing.T, want string) {
	t.Helper()
	enough := time.NewTimer(time.Minute)
	defer enough.Stop()
	for {
		select {
		case line, open := <-n.lines:
			if strings.Contains(line, want) {
				return
			}
			if !open {
				t.Fatalf("the node has ended and not logged %q; its log: %s", want, <-n.log)
			}
		case <-enough.C:
			t.Fatalf("the node has not logged %q within a minute", want)
		}
	}
}

// must makes a request that has to be answered well, and returns the position.
func (n *drainNode) must(t *testing.T, path, body string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+n.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+signed("root", domain.RoleAdmin))
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Pos string `json:"pos"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Pos == "" {
		t.Fatalf("POST %s: %s, %v", path, res.Status, err)
	}
	return answer.Pos
}

// Invariant 4 across a drain: a node that is told to stop under load asks all
// clients to come back, spread in time, ends well and in time, and none loses
// an event, which each gets from the node's successor.
func TestDrain_of_2000_clients_under_load(t *testing.T) {
	data := t.TempDir()
	first := startDrainNode(t, data)
	first.must(t, "/api/branches", `{"branchId":"b1","name":"Shop"}`)
	before := first.must(t, "/api/branches/b1/products", `{"productId":"p1","sku":"P1","name":"Apples","priceMinor":100,"currency":"EUR","stock":1000000}`)

	clients := startChild(t, "drain-clients", first.addr, strconv.Itoa(drainClients))
	clients.expect(t, "connected")

	var enough, selling sync.WaitGroup
	enough.Add(drainTills)
	for i := range drainTills {
		till, err := connectSocketIO(t.Context(), first.addr, "till"+strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		selling.Go(func() { sellBySocket(t.Context(), till, sync.OnceFunc(enough.Done)) })
	}
	enough.Wait()
	told := time.Now()
	if err := first.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	log := <-first.log
	if err := first.process.Wait(); err != nil {
		t.Errorf("the node ends with %v, want exit code 0; its log: %s", err, log)
	}
	gone := time.Since(told)
	selling.Wait()
	took, spread := departures(t, log)
	// It has 15 seconds, and takes 5 of them; a machine that others use as well
	// gives it more.
	const atMost = time.Minute
	if took > atMost || gone > atMost {
		t.Errorf("the node drains for %v and is gone after %v, want %v at most", took, gone, atMost)
	}

	second := startDrainNode(t, data)
	clients.say(second.addr)
	clients.expect(t, "back")
	last := second.must(t, "/api/branches/b1/inventory/adjustments", `{"productId":"p1","delta":-1,"reason":"count"}`)
	clients.say(last)
	events, digest := logOfBranch(t, data, before)
	clients.expect(t, fmt.Sprintf("%d saw %s", drainClients, seen(events, digest)))
	clients.wait(t)
	t.Logf("%d events; the node drained for %v, its clients left over %v", events, took.Round(time.Millisecond), spread.Round(time.Millisecond))
}

// sellBySocket sells until the connection ends, and says when it has sold
// enough, or sells no more.
func sellBySocket(ctx context.Context, till *websocket.Conn, enough func()) {
	defer enough()
	tick := time.NewTicker(drainSaleEvery)
	defer tick.Stop()
	for sale := 1; ; sale++ {
		command := fmt.Sprintf(`42/ws,%d["command",{"type":"stock.adjust","branchId":"b1","body":{"productId":"p1","delta":-1,"reason":"count"}}]`, sale)
		if till.Write(ctx, websocket.MessageText, []byte(command)) != nil {
			return
		}
		answer := fmt.Sprintf(`43/ws,%d[{"ok":true,`, sale)
		for message := []byte(nil); !bytes.HasPrefix(message, []byte(answer)); {
			var err error
			if _, message, err = till.Read(ctx); err != nil {
				return
			}
			if string(message) == "2" && till.Write(ctx, websocket.MessageText, []byte("3")) != nil {
				return
			}
		}
		if sale == drainSales {
			enough()
		}
		<-tick.C
	}
}

// departures reads in the node's log how long it took to drain, and when and
// why its clients were let go.
func departures(t *testing.T, log []byte) (took, spread time.Duration) {
	t.Helper()
	reasons := map[string]int{}
	var told, first, last, end time.Time
	for line := range bytes.Lines(log) {
		var l struct {
			Time   time.Time `json:"time"`
			Msg    string    `json:"msg"`
			Reason string    `json:"reason"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if end = l.Time; l.Msg == "draining" {
			told = l.Time
		}
		if l.Msg != "disconnected" {
			continue
		}
		reasons[l.Reason]++
		if first.IsZero() {
			first = l.Time
		}
		last = l.Time
	}
	if n := reasons["server shutting down"]; n != drainClients+drainTills || len(reasons) != 1 {
		t.Errorf("clients are let go for %v, want all %d because the server shuts down", reasons, drainClients+drainTills)
	}
	// Waves have a least time between them, so this doesn't depend on how fast
	// the machine is.
	spread = last.Sub(first)
	if spread < drainSpread/2 {
		t.Errorf("all clients are let go within %v, want them spread over about %v", spread, drainSpread)
	}
	if told.IsZero() {
		t.Error("the node doesn't say that it drains")
	}
	return end.Sub(told), spread
}

// logOfBranch reads the events of branch b1 after a position from the log.
func logOfBranch(t *testing.T, data, after string) (events int, d digest) {
	t.Helper()
	log, err := eventlog.OpenReadOnly(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d = newDigest()
	for at := uint64(0); ; {
		commits, err := log.Read(t.Context(), at, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(commits) == 0 {
			return events, d
		}
		for _, c := range commits {
			at = c.Position.Seq
			for i := range c.Events {
				if pos := c.Events[i].Pos.String(); pos > after && c.Events[i].BranchID == "b1" {
					events++
					d.add(pos)
				}
			}
		}
	}
}
