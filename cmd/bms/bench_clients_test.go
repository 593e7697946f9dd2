package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"bms/transport/telemetry"
)

// countingClients are clients that count events.
type countingClients struct{ *child }

// connectClients starts so many clients of a protocol, staff of branch b1, and
// returns when all are connected.
func connectClients(tb testing.TB, protocol, addr string, count int) countingClients {
	tb.Helper()
	c := countingClients{startChild(tb, "counting", protocol, addr, strconv.Itoa(count))}
	c.expect(tb, "connected")
	return c
}

// await returns when the clients have got so many events since they connected,
// counted over all of them.
func (c countingClients) await(tb testing.TB, total int) {
	tb.Helper()
	c.say(total)
	c.expect(tb, "got "+strconv.Itoa(total))
}

// hangUp ends them.
func (c countingClients) hangUp(tb testing.TB) { c.wait(tb) }

// runClients is the process of the clients: it connects them, says so, and
// then for each number on stdin says when so many events have come.
func runClients(args []string) error {
	var protocol, addr string
	var count int
	if err := arguments(args, &protocol, &addr, &count); err != nil {
		return err
	}
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
