package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"bms/domain"
	"bms/transport/auth"
)

// benchClients is set in the environment of the process that holds the
// clients: the node's address and their number.
const benchClients = "BENCH_CLIENTS"

func init() {
	if what := os.Getenv(benchClients); what != "" {
		var addr string
		var count int
		_, err := fmt.Sscan(what, &addr, &count)
		if err == nil {
			err = holdConnections(addr, count)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// startClients starts a process with so many clients, staff of the branch b1,
// and returns when all are connected. They read whatever comes.
func startClients(b *testing.B, addr string, count int) (hangUp func()) {
	b.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", benchClients, addr, count))
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
func holdConnections(addr string, count int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var connecting errgroup.Group
	connecting.SetLimit(32)
	for i := range count {
		connecting.Go(func() error {
			conn, err := connectSocketIO(ctx, addr, "u"+strconv.Itoa(i))
			if err != nil {
				return err
			}
			conn.SetReadLimit(-1)
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
