package actors

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

// pulled is a transport that pulls on a goroutine per wake-up, as a real
// flusher does, and throws the frames away.
type pulled struct {
	conn  atomic.Pointer[Connection]
	state atomic.Int32
	left  *atomic.Int64
	done  chan struct{}
	buf   [][]byte
}

func (p *pulled) Wake() {
	for {
		switch p.state.Load() {
		case 0:
			if p.state.CompareAndSwap(0, 1) {
				go p.flush()
				return
			}
		case 1:
			if p.state.CompareAndSwap(1, 2) {
				return
			}
		default:
			return
		}
	}
}

func (p *pulled) flush() {
	for {
		if c := p.conn.Load(); c != nil {
			for {
				p.buf = c.Next(p.buf[:0], 64<<10)
				if len(p.buf) == 0 {
					break
				}
				if p.left.Add(-int64(len(p.buf))) <= 0 {
					select {
					case p.done <- struct{}{}:
					default:
					}
				}
			}
		}
		if p.state.CompareAndSwap(1, 0) {
			return
		}
		p.state.Store(1)
	}
}

func (p *pulled) Close(EndReason) {}

// BenchmarkFanOut is the cost of a delivery up to the socket: one room of
// 1,000 connections, events one at a time and 100 at once.
func BenchmarkFanOut(b *testing.B) {
	for _, burst := range []int{1, 100} {
		b.Run(fmt.Sprintf("burst=%d", burst), func(b *testing.B) {
			const members = 1000
			log := eventlogtest.NewMemory()
			system, err := NewSystem(slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			hub, err := NewHub(HubConfig{System: system, Log: log, Codecs: []Codec{textCodec{}}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			go func() { _ = hub.Run(b.Context()) }()
			defer hub.Close()
			var left atomic.Int64
			done := make(chan struct{}, 1)
			left.Store(members) // the session messages
			for i := range members {
				p := &pulled{left: &left, done: done}
				c, _, err := hub.Connect(context.Background(), ConnectRequest{Identity: staff("u", "b1"), Namespace: domain.NamespaceAll, NewSID: func() string { return fmt.Sprint(i) }, Transport: p})
				if err != nil {
					b.Fatal(err)
				}
				p.conn.Store(c)
				p.Wake()
			}
			<-done
			version := uint64(0)
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				left.Store(int64(members * burst))
				commits := make([]*domain.Commit, burst)
				for i := range commits {
					version++
					commits[i], err = domain.NewCommit("branch/b1", version, domain.Command{ID: fmt.Sprint(version), At: time.Now()},
						domain.Decision{Events: []domain.Fact{{BranchID: "b1", Payload: domain.InventoryUpdated{ProductID: "p1", Delta: 1}}}})
					if err != nil {
						b.Fatal(err)
					}
				}
				if err := log.Append(context.Background(), commits...); err != nil {
					b.Fatal(err)
				}
				<-done
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(members*burst), "ns/delivery")
		})
	}
}
