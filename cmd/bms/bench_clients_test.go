package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"bms/transport/telemetry"
)

// benchClients are clients over WebSocket in a process of their own, so that what the node takes can be told from what they take.
type benchClients struct {
	process *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
}

// benchClientsOf is set, to "protocol address count", in the environment of
// that process.
const benchClientsOf = "BENCH_CLIENTS_OF"

func init() {
	of := os.Getenv(benchClientsOf)
	if of == "" {
		return
	}
	var protocol, addr string
	var count int
	_, err := fmt.Sscan(of, &protocol, &addr, &count)
	if err == nil {
		err = runClients(protocol, addr, count)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// connectClients starts so many clients of a protocol, staff of branch b1, and returns when
// all are connected.
func connectClients(b *testing.B, protocol, addr string, count int) *benchClients {
	b.Helper()
	c := &benchClients{process: exec.Command(os.Args[0])}
	c.process.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", benchClientsOf, protocol, addr, count))
	c.process.Stderr = os.Stderr
	stdout, err := c.process.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if c.stdin, err = c.process.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	c.stdout = bufio.NewReader(stdout)
	if err := c.process.Start(); err != nil {
		b.Fatal(err)
	}
	c.expect(b, "connected")
	return c
}

func (c *benchClients) expect(b *testing.B, want string) {
	b.Helper()
	if line, err := c.stdout.ReadString('\n'); err != nil || line != want+"\n" {
		b.Fatalf("the clients say %q, %v; want %q", line, err, want)
	}
}

// await returns when the clients have got so many events since they connected,
// counted over all of them.
func (c *benchClients) await(b *testing.B, total int) {
	b.Helper()
	fmt.Fprintln(c.stdin, total)
	c.expect(b, "got "+strconv.Itoa(total))
}

func (c *benchClients) hangUp(b *testing.B) {
	b.Helper()
	c.stdin.Close()
	if err := c.process.Wait(); err != nil {
		b.Errorf("the clients: %v", err)
	}
}

// runClients is the process of the clients: it connects them, says so, and
// then for each number on stdin says when so many events have come.
func runClients(protocol, addr string, count int) error {
	connect := connectSocketIO
	if protocol == telemetry.ProtocolWebSocket {
		connect = connectPlain
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := newCounter()
	var connecting errgroup.Group
	connecting.SetLimit(32)
	for i := range count {
		connecting.Go(func() error {
			conn, err := connect(ctx, addr, "u"+strconv.Itoa(i))
			if err == nil {
				go listen(ctx, conn, events)
			}
			return err
		})
	}
	if err := connecting.Wait(); err != nil {
		return err
	}
	fmt.Println("connected")
	for {
		var total int
		switch _, err := fmt.Fscanln(os.Stdin, &total); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		events.await(total)
		fmt.Println("got", total)
	}
}

// counter counts, and wakes who awaits a number.
type counter struct {
	mu      sync.Mutex // guards what follows
	n, want int
	reached *sync.Cond
}

func newCounter() *counter {
	c := &counter{}
	c.reached = sync.NewCond(&c.mu)
	return c
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n == c.want {
		c.reached.Signal()
	}
}

func (c *counter) await(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want = n
	for c.n < n {
		c.reached.Wait()
	}
}

// connectSocketIO opens a connection to /ws as socket.io-client does, and
// waits for the session event.
func connectSocketIO(ctx context.Context, addr, user string) (*websocket.Conn, error) {
	conn, _, err := websocket.Dial(ctx, "ws://"+addr+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		return nil, err
	}
	for _, step := range []struct{ send, want string }{
		{"", "0{"},
		{`40/ws,{"token":"` + staffToken(user) + `"}`, "40/ws,{"},
		{"", `42/ws,["session"`},
	} {
		if step.send != "" {
			if err := conn.Write(ctx, websocket.MessageText, []byte(step.send)); err != nil {
				return nil, err
			}
		}
		_, got, err := conn.Read(ctx)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(string(got), step.want) {
			return nil, fmt.Errorf("got %.60q, want %q", got, step.want)
		}
	}
	return conn, nil
}

// connectPlain opens a plain WebSocket to /ws and waits for the session.
func connectPlain(ctx context.Context, addr, user string) (*websocket.Conn, error) {
	conn, _, err := websocket.Dial(ctx, "ws://"+addr+"/ws?token="+staffToken(user), nil)
	if err != nil {
		return nil, err
	}
	_, got, err := conn.Read(ctx)
	if err == nil && !strings.HasPrefix(string(got), `{"type":"session"`) {
		err = fmt.Errorf("got %.60q, want the session", got)
	}
	return conn, err
}

// listen answers pings and counts events until the connection ends.
func listen(ctx context.Context, conn *websocket.Conn, events *counter) {
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if string(message) != "2" {
			events.add()
		} else if conn.Write(ctx, websocket.MessageText, []byte("3")) != nil {
			return
		}
	}
}
