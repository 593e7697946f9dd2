package socketio

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bms/transport/wsframe"
)

// The benchmarks' clients are raw TCP connections in a child process, which is
// this test binary again with benchClients set, so that neither their CPU nor
// their memory is measured.
const benchClients = "SOCKETIO_BENCH_CLIENTS"

// runBenchClients is the child process: it opens the WebSockets, joins a
// namespace on each, then drops what comes, answering pings.
func runBenchClients(addr string, n int) error {
	type client struct {
		conn   net.Conn
		reader *bufio.Reader
	}
	request := "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: " + addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	for range n {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, request+string(maskedText("40"))); err != nil {
			return err
		}
		c := client{conn, bufio.NewReaderSize(conn, 512)}
		if _, err := http.ReadResponse(c.reader, nil); err != nil {
			return err
		}
		go func() {
			sink := make([]byte, 4<<10)
			for {
				if _, err := c.reader.Read(sink); err != nil {
					os.Exit(0) // the server is done
				}
			}
		}()
	}
	fmt.Println("ready")
	select {}
}

// shared is a Source of frames that all sockets share: each sees events up to
// the head.
type shared struct {
	bench *benchServer
	frame []byte
	next  int64
}

func (s *shared) Next(dst [][]byte, limit int) [][]byte {
	head := s.bench.head.Load()
	from := s.next
	for s.next < head && limit > 0 {
		dst = append(dst, s.frame)
		limit -= len(s.frame)
		s.next++
	}
	if s.next > from && s.bench.taken.Add(s.next-from) == s.bench.want.Load() {
		s.bench.all <- struct{}{}
	}
	return dst
}

// benchServer is a server with n raw clients.
type benchServer struct {
	sockets []*Socket
	head    atomic.Int64
	taken   atomic.Int64
	want    atomic.Int64
	all     chan struct{} // the sockets have taken what is wanted
}

func startBench(tb testing.TB, n int) *benchServer {
	tb.Helper()
	b := &benchServer{all: make(chan struct{}, 1)}
	frame := AppendEvent(nil, "/", "inventory:updated", []byte(`"`+strings.Repeat("x", 260)+`"`))
	s, err := New(Config{Config: wsframe.Config{PingInterval: time.Hour}})
	if err != nil {
		tb.Fatal(err)
	}
	joined := make(chan *Socket, n)
	s.Of("/", NamespaceFunc(func(_ context.Context, s *Socket, _ Handshake) (Session, error) {
		joined <- s
		return Session{Source: &shared{bench: b, frame: frame}}, nil
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	h := &http.Server{Handler: s}
	go func() { _ = h.Serve(l) }()
	child := exec.Command(os.Args[0], l.Addr().String(), strconv.Itoa(n))
	child.Env = append(os.Environ(), benchClients+"=1")
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := child.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
		_ = s.Close()
		_ = h.Close()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		tb.Fatalf("clients: %q, %v", line, err)
	}
	for range n {
		b.sockets = append(b.sockets, <-joined)
	}
	return b
}

// publish makes events visible and waits until all sockets have taken them.
func (b *benchServer) publish(events int64) {
	b.want.Add(events * int64(len(b.sockets)))
	b.head.Add(events)
	for _, s := range b.sockets {
		s.Wake()
	}
	<-b.all
}

// cpu is the CPU time of this process.
func cpu(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchDelivery(b *testing.B, events int64) {
	const sockets = 1000
	s := startBench(b, sockets)
	s.publish(1)
	b.ReportAllocs()
	start := cpu(b)
	b.ResetTimer()
	for b.Loop() {
		s.publish(events)
	}
	delivered := float64(b.N) * float64(events) * sockets
	b.ReportMetric(float64((cpu(b)-start).Nanoseconds())/1000/delivered, "cpu-µs/delivery")
	b.ReportMetric(delivered/b.Elapsed().Seconds(), "deliveries/s")
}

// One event at a time to 1,000 sockets: a write per delivery.
func Benchmark_delivery_one_event_at_a_time(b *testing.B) { benchDelivery(b, 1) }

// Eight events at a time, as in a burst.
func Benchmark_delivery_of_eight_events(b *testing.B) { benchDelivery(b, 8) }

// The source always has more: writes are as large as a turn.
func Benchmark_delivery_at_saturation(b *testing.B) { benchDelivery(b, 1000) }

// Memory of 5,000 idle WebSocket connections with one namespace each.
func Benchmark_memory_per_idle_connection(b *testing.B) {
	const sockets = 5000
	before := settled(b)
	s := startBench(b, sockets)
	for b.Loop() {
		s.publish(1) // each has been written to once
	}
	after := settled(b)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(after-before)/1000/sockets, "RSS-KB/conn")
	b.ReportMetric(float64(m.HeapAlloc)/1000/sockets, "heap-KB/conn")
	b.ReportMetric(float64(m.StackInuse)/1000/sockets, "stack-KB/conn")
	b.ReportMetric(float64(runtime.NumGoroutine())/sockets, "goroutines/conn")
}

// settled is this process's resident memory in bytes once freed memory has
// gone back to the system.
func settled(tb testing.TB) int64 {
	runtime.GC()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Fatalf("resident memory is read from /proc: %v", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
