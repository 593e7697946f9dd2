package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"bms/domain"
	"bms/transport/auth"
)

// Kinds of clients of connectMany.
const (
	connectWebSocket = "websocket"
	connectPolling   = "polling"
	connectRefused   = "refused"
)

// connectMany is a process of clients, of args "address kind count", that stay
// until the test ends.
func connectMany(args []string) error {
	var addr, kind string
	var count int
	if err := arguments(args, &addr, &kind, &count); err != nil {
		return err
	}
	if err := connectAll(addr, kind, count); err != nil {
		return err
	}
	fmt.Println("connected")
	untilClosed()
	return nil
}

func connectAll(addr, kind string, count int) error {
	ctx := context.Background()
	var connecting errgroup.Group
	connecting.SetLimit(16)
	if kind == connectRefused {
		for begin := 0; begin < count; begin += refusalsAtOnce {
			n := min(refusalsAtOnce, count-begin)
			connecting.Go(func() error { return beRefused(ctx, addr, begin, n) })
		}
		return connecting.Wait()
	}
	for i := range count {
		connecting.Go(func() error {
			user := kind + strconv.Itoa(i)
			if kind == connectPolling {
				return connectByPolling(ctx, addr, user)
			}
			conn, err := connectSocketIO(ctx, addr, user)
			if err == nil {
				go listen(ctx, conn, newCounter())
			}
			return err
		})
	}
	return connecting.Wait()
}

// connectByPolling joins /ws and then polls on, answering pings.
func connectByPolling(ctx context.Context, addr, user string) error {
	client := &http.Client{Transport: &http.Transport{}} // a connection of its own
	base := "http://" + addr + "/socket.io/?EIO=4&transport=polling"
	open, err := exchange(ctx, client, http.MethodGet, base, "")
	if err != nil {
		return err
	}
	_, sid, _ := strings.Cut(open, `"sid":"`)
	sid, _, _ = strings.Cut(sid, `"`)
	base += "&sid=" + sid
	if _, err := exchange(ctx, client, http.MethodPost, base, `40/ws,{"token":"`+staffToken(user)+`"}`); err != nil {
		return err
	}
	for got := ""; !strings.Contains(got, `["session"`); {
		more, err := exchange(ctx, client, http.MethodGet, base, "")
		if err != nil {
			return err
		}
		got += more
	}
	go func() {
		for {
			got, err := exchange(ctx, client, http.MethodGet, base, "")
			if err != nil {
				return
			}
			if got == "2" {
				if _, err := exchange(ctx, client, http.MethodPost, base, "3"); err != nil {
					return
				}
			}
		}
	}()
	return nil
}

func exchange(ctx context.Context, client *http.Client, method, url, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", method, res.Status, got)
	}
	return string(got), err
}

// refusalsAtOnce is how many refusals one attacker collects: a third by bad
// handshakes, a third by a wrong token on a plain WebSocket, a third on one
// Engine.IO session, which may try that often.
const refusalsAtOnce = 180

func beRefused(ctx context.Context, addr string, begin, count int) error {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var session *websocket.Conn
	for i := begin; i < begin+count; i++ {
		token := wrongToken(i)
		switch i % 3 {
		case 0:
			if err := wantStatus(ctx, client, "http://"+addr+"/socket.io/?EIO=3&transport=polling", "", http.StatusBadRequest); err != nil {
				return err
			}
		case 1:
			if err := wantStatus(ctx, client, "http://"+addr+"/ws", token, http.StatusUnauthorized); err != nil {
				return err
			}
		default:
			if session == nil {
				conn, response, err := websocket.Dial(ctx, "ws://"+addr+"/socket.io/?EIO=4&transport=websocket", nil)
				if err != nil {
					return err
				}
				if response.Body != nil {
					_ = response.Body.Close()
				}
				defer func() { _ = conn.CloseNow() }()
				if _, _, err := conn.Read(ctx); err != nil {
					return err
				}
				session = conn
			}
			if err := session.Write(ctx, websocket.MessageText, []byte(`40/ws,{"token":"`+token+`"}`)); err != nil {
				return err
			}
			if _, answer, err := session.Read(ctx); err != nil || !bytes.Contains(answer, []byte(domain.CodeUnauthorized)) {
				return fmt.Errorf("answer %q to a wrong token: %w", answer, err)
			}
		}
	}
	return nil
}

// wrongToken is signed by another key, and each is another one.
func wrongToken(i int) string {
	now := time.Now()
	token, err := auth.Sign([]byte("another secret of at least 32 bytes"), auth.Grant{
		Identity: domain.Identity{UserID: "stranger" + strconv.Itoa(i), Role: domain.RoleAdmin}, IssuedAt: now, ExpiresAt: now.Add(time.Hour),
	})
	if err != nil {
		panic(err)
	}
	return token
}

// wantStatus asks for a WebSocket if there is a token, and checks how that is
// refused.
func wantStatus(ctx context.Context, client *http.Client, url, token string, status int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		for name, value := range map[string]string{
			"Authorization": "Bearer " + token, "Connection": "Upgrade", "Upgrade": "websocket",
			"Sec-Websocket-Version": "13", "Sec-Websocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
		} {
			req.Header.Set(name, value)
		}
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != status {
		return fmt.Errorf("%s: %s, want %d", url, res.Status, status)
	}
	return nil
}

// connectOthers starts a process of clients, and waits until all are connected
// or refused.
func connectOthers(b *testing.B, addr, kind string, count int) (hangUp func()) {
	b.Helper()
	clients := startChild(b, "connect", addr, kind, strconv.Itoa(count))
	clients.expect(b, "connected")
	return func() { clients.wait(b) }
}

// BenchmarkConnect is what a client takes of the node: its processors, to
// connect, and its memory, while it is idle. Run it with -benchtime 5000x;
// kernel buffers are not counted.
func BenchmarkConnect(b *testing.B) {
	for _, kind := range []string{connectWebSocket, connectPolling} {
		b.Run(kind, func(b *testing.B) {
			node := startNode(b, b.TempDir())
			node.do(b, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
			rss, heap, stack := memory(b)
			cpu := cpuTime(b)
			hangUp := connectOthers(b, node.addr, kind, b.N)
			defer hangUp()
			b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-us/connect")
			rssAfter, heapAfter, stackAfter := memory(b)
			b.ReportMetric(float64(rssAfter-rss)/float64(b.N)/1000, "rss-KB/conn")
			b.ReportMetric(float64(heapAfter-heap)/float64(b.N)/1000, "heap-KB/conn")
			b.ReportMetric(float64(stackAfter-stack)/float64(b.N)/1000, "stack-KB/conn")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRefusals is what refused clients cost, and that they leave nothing:
// a third each by a bad handshake, and by wrong tokens over plain WebSocket and
// Socket.IO. Run it with -benchtime 1000000x.
func BenchmarkRefusals(b *testing.B) {
	node := startNode(b, b.TempDir())
	connectOthers(b, node.addr, connectRefused, 2*refusalsAtOnce)()
	_, heap, _ := memory(b)
	cpu := cpuTime(b)
	connectOthers(b, node.addr, connectRefused, b.N)()
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-us/refusal")
	_, after, _ := memory(b)
	b.ReportMetric(float64(heap)/1e6, "heap-MB-before")
	b.ReportMetric(float64(after)/1e6, "heap-MB-after")
	b.ReportMetric(0, "ns/op")
}
