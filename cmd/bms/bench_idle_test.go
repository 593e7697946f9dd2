package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"bms/domain"
	"bms/transport/auth"
)

// idleConnections is how many clients BenchmarkIdleConnections has.
const idleConnections = 5000

// BenchmarkIdleConnections is what an idle Socket.IO connection over WebSocket
// takes of the node's memory: all of the node, with the clients in a process
// of their own. Kernel buffers are not counted.
func BenchmarkIdleConnections(b *testing.B) {
	node := startNode(b, b.TempDir())
	node.do(b, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	for b.Loop() {
		rss, heap, stack := memory(b)
		hangUp := connectIdle(b, node.addr)
		rssAfter, heapAfter, stackAfter := memory(b)
		report := func(before, after int64, unit string) {
			b.ReportMetric(float64(after-before)/idleConnections/1000, unit)
		}
		report(rss, rssAfter, "rss-KB/conn")
		report(heap, heapAfter, "heap-KB/conn")
		report(stack, stackAfter, "stack-KB/conn")
		hangUp()
	}
}

// memory returns what this process has resident, on the heap and in stacks,
// in bytes.
func memory(b *testing.B) (rss, heap, stack int64) {
	b.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatalf("resident memory is read from /proc: %v", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return pages * int64(os.Getpagesize()), int64(m.HeapInuse), int64(m.StackInuse)
}

// idleClients is set in the environment of the process that holds the clients.
const idleClients = "BENCH_IDLE_CLIENTS"

func init() {
	if addr := os.Getenv(idleClients); addr != "" {
		if err := holdConnections(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// connectIdle starts the process with the clients and returns when all are
// connected.
func connectIdle(b *testing.B, addr string) (hangUp func()) {
	b.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), idleClients+"="+addr)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "connected\n" {
		b.Fatalf("the clients' process says %q, %v", line, err)
	}
	return func() {
		stdin.Close()
		if err := child.Wait(); err != nil {
			b.Errorf("the clients' process: %v", err)
		}
	}
}

// holdConnections opens the connections, says so, and answers pings until
// stdin ends.
func holdConnections(addr string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var connecting errgroup.Group
	connecting.SetLimit(32)
	for i := range idleConnections {
		connecting.Go(func() error {
			conn, err := connectSocketIO(ctx, addr, "u"+strconv.Itoa(i))
			if err != nil {
				return err
			}
			go answerPings(ctx, conn)
			return nil
		})
	}
	if err := connecting.Wait(); err != nil {
		return err
	}
	fmt.Println("connected")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// connectSocketIO opens a connection to /ws as socket.io-client does, and
// waits for the session event.
func connectSocketIO(ctx context.Context, addr, user string) (*websocket.Conn, error) {
	now := time.Now()
	token, err := auth.Sign([]byte(testSecret), auth.Grant{
		Identity: domain.Identity{UserID: user, Role: domain.RoleStaff, Branches: []string{"b1"}}, IssuedAt: now, ExpiresAt: now.Add(time.Hour),
	})
	if err != nil {
		return nil, err
	}
	conn, _, err := websocket.Dial(ctx, "ws://"+addr+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		return nil, err
	}
	for _, step := range []struct{ send, want string }{
		{"", "0{"},
		{`40/ws,{"token":"` + token + `"}`, "40/ws,{"},
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

func answerPings(ctx context.Context, conn *websocket.Conn) {
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if string(message) == "2" && conn.Write(ctx, websocket.MessageText, []byte("3")) != nil {
			return
		}
	}
}
