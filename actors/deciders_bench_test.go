package actors

import (
	"fmt"
	"sync"
	"testing"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

// BenchmarkDeciders decides and appends to a log in memory: what the write path
// costs without the disk. Clients wait for each answer before they ask again.
func BenchmarkDeciders(b *testing.B) {
	for _, bench := range []struct {
		clients, branches int
		keyed             bool
	}{{1, 1, false}, {64, 1, false}, {64, 64, false}, {64, 64, true}} {
		b.Run(fmt.Sprintf("clients=%d/branches=%d/keyed=%t", bench.clients, bench.branches, bench.keyed), func(b *testing.B) {
			d := startDeciders(b, eventlogtest.NewMemory(), nil)
			cmds := make([]domain.Command, bench.branches)
			for i := range cmds {
				branch := fmt.Sprintf("b%d", i)
				mustDo(b, d, openBranch(branch), createProduct(branch, 0))
				cmds[i] = commandBy(boss, domain.CommandAdjustStock, branch, domain.AdjustStock{ProductID: "p1", Delta: 1, Reason: "found"})
				cmds[i].Keyed = bench.keyed
			}
			b.ReportAllocs()
			var clients sync.WaitGroup
			b.ResetTimer()
			for c := range bench.clients {
				clients.Go(func() {
					answers := make(chan error, 1)
					cmd := cmds[c%len(cmds)]
					for i := c; i < b.N; i += bench.clients {
						cmd.ID = fmt.Sprintf("bench-%d", i)
						d.Submit(cmd, func(_ *domain.Commit, err error) { answers <- err })
						if err := <-answers; err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			clients.Wait()
		})
	}
}
