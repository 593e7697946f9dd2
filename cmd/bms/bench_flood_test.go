package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"bms/domain"
)

// floods are what attackers without a token do, each on some connections, again
// soon after they are thrown out.
var floods = []struct {
	name        string
	connections int
	send        string // over and over on a WebSocket; empty: see slowHeader
}{
	{"quiet", 0, ""},
	{"pings", 4, "\x89\x80\x00\x00\x00\x00"},
	{"pongs", 4, "\x8a\x80\x00\x00\x00\x00"},
	{"fragments_of_a_byte", 4, "\x00\x81\x00\x00\x00\x00x"},
	{"empty_fragments", 4, "\x00\x80\x00\x00\x00\x00"},
	{"packets", 4, "\x81\x81\x00\x00\x00\x006"},
	{"slow_headers", 2000, ""},
}

const (
	// floodClients are those who get events meanwhile.
	floodClients = 20
	// floodEvery is the time between two events.
	floodEvery = 20 * time.Millisecond
	// floodAgain is the time after which an attacker that was thrown out comes
	// back. What a connect costs is BenchmarkConnect's to tell.
	floodAgain = 100 * time.Millisecond
)

// flood is the process of the attackers, of args "address index", the index
// being that of a flood. They give precedence, so that it is not they who take
// the processors.
func flood(args []string) error {
	var addr string
	var i int
	if err := arguments(args, &addr, &i); err != nil {
		return err
	}
	if err := givePrecedence(); err != nil {
		return err
	}
	begun := make(chan struct{}, floods[i].connections)
	for range floods[i].connections {
		go func() {
			attack := attackWebSocket
			if floods[i].send == "" {
				attack = slowHeader
			}
			once := sync.OnceFunc(func() { begun <- struct{}{} })
			for ; ; <-time.After(floodAgain) {
				if err := attack(addr, floods[i].send, once); err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
			}
		}()
	}
	for range floods[i].connections {
		<-begun
	}
	fmt.Println("flooding")
	untilClosed()
	return nil
}

// attackWebSocket opens a WebSocket and sends until it is closed.
func attackWebSocket(addr, send string, begun func()) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: "+addr+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("handshake: %s", answer.Status)
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	if send[0] == 0 { // a fragment: of a message
		if _, err := io.WriteString(conn, "\x01\x80\x00\x00\x00\x00"); err != nil {
			return err
		}
	}
	begun()
	many := []byte(strings.Repeat(send, 4096))
	for {
		if _, err := conn.Write(many); err != nil {
			return nil
		}
	}
}

// slowHeader sends a byte of a header a second, until it is closed.
func slowHeader(addr, _ string, begun func()) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nX-Slow: "); err != nil {
		return err
	}
	begun()
	for tick := time.NewTicker(time.Second); ; <-tick.C {
		if _, err := conn.Write([]byte("x")); err != nil {
			tick.Stop()
			return nil
		}
	}
}

// BenchmarkFlood is what floods cost: how late clients get their events beside
// them, from the command on, and the node's CPU. Run it with -benchtime 500x,
// which is ten seconds each.
func BenchmarkFlood(b *testing.B) {
	node := startNode(b, b.TempDir())
	node.do(b, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	node.do(b, domain.CommandCreateProduct, "b1", domain.CreateProduct{
		ProductID: "p1", SKU: "P1", Name: "Apples", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1 << 40)),
	})
	conns := make([]*websocket.Conn, floodClients)
	for i := range conns {
		conn, err := connectSocketIO(b.Context(), node.addr, "flood"+strconv.Itoa(i))
		if err != nil {
			b.Fatal(err)
		}
		conns[i] = conn
		defer func() { _ = conn.CloseNow() }()
	}
	for i, flood := range floods {
		b.Run(flood.name, func(b *testing.B) {
			if flood.connections > 0 {
				defer startFlood(b, node.addr, i)()
			}
			var late []time.Duration
			cpu, begun := cpuTime(b), time.Now()
			tick := time.NewTicker(floodEvery)
			defer tick.Stop()
			for n := range b.N {
				<-tick.C
				late = append(late, deliver(b, node, conns, fmt.Sprintf("%s-%d-%d", flood.name, b.N, n))...)
			}
			slices.Sort(late)
			b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(100*(cpuTime(b)-cpu).Seconds()/time.Since(begun).Seconds(), "cpu-%")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// startFlood starts the attackers and returns what ends them.
func startFlood(b *testing.B, addr string, index int) (stop func()) {
	b.Helper()
	attackers := startChild(b, "flood", addr, strconv.Itoa(index))
	attackers.expect(b, "flooding")
	return func() { attackers.wait(b) }
}

// deliver makes an event and returns how late each client gets it.
func deliver(b *testing.B, node *testNode, conns []*websocket.Conn, id string) []time.Duration {
	b.Helper()
	begun := time.Now()
	late := make([]time.Duration, len(conns))
	var receiving errgroup.Group
	for i, conn := range conns {
		receiving.Go(func() error {
			for {
				_, message, err := conn.Read(b.Context())
				if err != nil {
					return err
				}
				if string(message) != "2" {
					late[i] = time.Since(begun)
					return nil
				}
				if err := conn.Write(b.Context(), websocket.MessageText, []byte("3")); err != nil {
					return err
				}
			}
		})
	}
	_, err := node.app.bus.Do(context.Background(), domain.Command{
		ID: id, Type: domain.CommandAdjustStock, BranchID: "b1", Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin},
		At: time.Now(), Body: domain.AdjustStock{ProductID: "p1", Delta: -1, Reason: "count"},
	})
	if err == nil {
		err = receiving.Wait()
	}
	if err != nil {
		b.Fatal(err)
	}
	return late
}
