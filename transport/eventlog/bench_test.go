package eventlog

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"bms/domain"
)

// BenchmarkAppend appends one commit a call, each writer to its own stream,
// and waits for each. Command ids are random, as clients make them.
func BenchmarkAppend(b *testing.B) {
	for _, durability := range []string{Fsync, Relaxed} {
		for _, writers := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("%s/writers=%d", durability, writers), func(b *testing.B) {
				l := open(b, Config{Dir: b.TempDir(), Durability: durability})
				// A log in service: its write-ahead log has started over
				// and lies where it lay before.
				warm := make([]*domain.Commit, 4096)
				for round := range 16 {
					for i := range warm {
						n := round*len(warm) + i
						warm[i] = adjustment("warm", uint64(n+1), uuid.NewString())
					}
					if err := l.Append(b.Context(), warm...); err != nil {
						b.Fatal(err)
					}
					warm = make([]*domain.Commit, len(warm))
				}
				appendFrom(b, l, writers)
			})
		}
	}
}

func appendFrom(b *testing.B, l *Log, writers int) {
	var left atomic.Int64
	left.Store(int64(b.N))
	times := make([][]time.Duration, writers)
	var done sync.WaitGroup
	cpu := cpuTime(b)
	b.ResetTimer()
	for i := range writers {
		done.Go(func() {
			stream := streamName(i)
			for version := uint64(1); left.Add(-1) >= 0; version++ {
				began := time.Now()
				if err := l.Append(b.Context(), adjustment(stream, version, uuid.NewString())); err != nil {
					b.Error(err)
					return
				}
				times[i] = append(times[i], time.Since(began))
			}
		})
	}
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/commit")
	all := slices.Concat(times...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}

// cpuTime is what the process has used so far: on a busy machine the only
// figure that compares.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fill fills a folder with n commits on 64 streams, as fast as Append takes
// them in large calls.
func fill(b *testing.B, dir string, n int) {
	b.Helper()
	l, err := Open(b.Context(), Config{Dir: dir, Durability: Relaxed})
	if err != nil {
		b.Fatal(err)
	}
	const streams, call = 64, 4096
	commits := make([]*domain.Commit, 0, call)
	for i := range n {
		commits = append(commits, adjustment(streamName(i%streams), uint64(i/streams+1), fmt.Sprintf("c-%08d", i)))
		if len(commits) == call || i == n-1 {
			if err := l.Append(b.Context(), commits...); err != nil {
				b.Fatal(err)
			}
			commits = commits[:0:0]
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

const million = 1_000_000

// BenchmarkMillion measures what must not depend on the length of the log, and
// the replay, on a log of a million commits.
func BenchmarkMillion(b *testing.B) {
	dir := b.TempDir()
	began := time.Now()
	fill(b, dir, million)
	info, err := os.Stat(dir + "/" + fileName)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("filled with %d commits in %v, %d bytes a commit", million, time.Since(began), info.Size()/million)
	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			l, err := Open(b.Context(), Config{Dir: dir})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("OpenWithoutIndex", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			if err := removeDatabase(filepath.Join(dir, indexName)); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			l, err := Open(b.Context(), Config{Dir: dir})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	l := open(b, Config{Dir: dir})
	b.Run("Read", func(b *testing.B) {
		n, after := 0, uint64(0)
		for b.Loop() {
			commits, err := l.Read(b.Context(), after, 1000)
			if err != nil {
				b.Fatal(err)
			}
			n += len(commits)
			after = (after + 1000) % million
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "commits/s")
	})
	b.Run("ReadStreamLast100", func(b *testing.B) {
		for b.Loop() {
			commits, err := l.ReadStream(b.Context(), streamName(7), million/64-100, 100)
			if err != nil || len(commits) != 100 {
				b.Fatal(len(commits), err)
			}
		}
	})
	for name, prefix := range map[string]string{"FindCommand": "c-", "FindCommandThatIsNotThere": "d-"} {
		b.Run(name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				i = (i + 7919) % million
				_, err := l.FindCommand(b.Context(), "u-17", fmt.Sprintf("%s%08d", prefix, i))
				if (err == nil) != (prefix == "c-") {
					b.Fatal(err)
				}
			}
		})
	}
}
