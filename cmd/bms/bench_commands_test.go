package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bms/domain"
)

// BenchmarkCommands sells over HTTP with fsync, from the acceptance of a
// request to its answer: clients are keep-alive connections of their own, each
// with one request under way.
func BenchmarkCommands(b *testing.B) {
	for _, clients := range []int{1, 64} {
		for _, branches := range []int{1, 64} {
			b.Run(fmt.Sprintf("clients=%d/branches=%d", clients, branches), func(b *testing.B) {
				benchCommands(b, clients, branches)
			})
		}
	}
}

func benchCommands(b *testing.B, clients, branches int) {
	data := b.TempDir()
	node := startNode(b, data)
	for i := range branches {
		id := "b" + strconv.Itoa(i)
		node.do(b, domain.CommandOpenBranch, id, domain.OpenBranch{BranchID: id, Name: id})
		node.do(b, domain.CommandCreateProduct, id, domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "p1", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1 << 40))})
	}
	node.stop() // as branches are that were not opened just now
	node = startNode(b, data)
	token := signed("bench", domain.RoleAdmin)
	var next atomic.Int64
	took := make([][]time.Duration, clients)
	b.ResetTimer()
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			conn := dial(b, node.addr)
			defer conn.Close()
			r := bufio.NewReader(conn)
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				const body = `{"kind":"sale","status":"completed","lines":[{"productId":"p1","quantity":1}]}`
				start := time.Now()
				fmt.Fprintf(conn, "POST /api/branches/b%d/transactions HTTP/1.1\r\nHost: bms\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
					i%int64(branches), token, len(body), body)
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					b.Error(err)
					return
				}
				answer, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode > 299 {
					b.Errorf("answer %d %s, %v", res.StatusCode, answer, err)
					return
				}
				took[c] = append(took[c], time.Since(start))
			}
		})
	}
	group.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "commands/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}

func dial(tb testing.TB, addr string) net.Conn {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Error(err)
		return nil
	}
	return conn
}
