package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"bms/domain"
)

// idleConnections is how many clients BenchmarkIdleConnections has.
const idleConnections = 5000

// BenchmarkIdleConnections is what an idle connection over WebSocket, with
// Socket.IO and plain, takes of the node's memory, all of the node. Kernel
// buffers are not counted.
func BenchmarkIdleConnections(b *testing.B) {
	for _, protocol := range protocols {
		b.Run(protocol, func(b *testing.B) { benchIdle(b, protocol) })
	}
}

func benchIdle(b *testing.B, protocol string) {
	node := startNode(b, b.TempDir())
	node.do(b, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	for b.Loop() {
		rss, heap, stack := memory(b)
		clients := connectClients(b, protocol, node.addr, idleConnections)
		rssAfter, heapAfter, stackAfter := memory(b)
		report := func(before, after int64, unit string) {
			b.ReportMetric(float64(after-before)/idleConnections/1000, unit)
		}
		report(rss, rssAfter, "rss-KB/conn")
		report(heap, heapAfter, "heap-KB/conn")
		report(stack, stackAfter, "stack-KB/conn")
		clients.hangUp(b)
	}
}

// memory returns what this process has resident, on the heap and in stacks,
// in bytes.
func memory(b *testing.B) (rss, heap, stack int64) {
	b.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return resident(b), int64(m.HeapInuse), int64(m.StackInuse)
}

// resident is what this process has in memory now, without a collection.
func resident(b *testing.B) int64 {
	b.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatalf("resident memory is read from /proc: %v", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
