package eventlog

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRelaxed_is_on_disk_within_a_second(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var synced atomic.Int32
		config := quiet(t.TempDir())
		config.Durability = Relaxed
		l := hooked(t, config, func(_ *Log, step string) {
			if step == "synced" {
				synced.Add(1)
			}
		})
		for v := range uint64(3) {
			before := synced.Load()
			if err := l.Append(t.Context(), adjustment("branch/b1", v+1, string(rune('a'+v)))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // of the bubble
			if synced.Load() == before {
				t.Fatalf("commit %d is not on disk after a second", v+1)
			}
		}
		before := synced.Load()
		time.Sleep(time.Hour)
		if got := synced.Load(); got != before {
			t.Fatalf("%d flushes without anything new", got-before)
		}
	})
}

// A checkpoint may take longer than the promise; what is answered meanwhile is
// on disk in time all the same.
func TestRelaxed_does_not_wait_for_a_checkpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checkpointing, synced := make(chan struct{}), make(chan struct{}, 16)
		config := quiet(t.TempDir())
		config.Durability, config.CheckpointBytes = Relaxed, 1
		slow := sync.OnceFunc(func() {
			close(checkpointing)
			time.Sleep(5 * time.Second) // of the bubble
		})
		l := hooked(t, config, func(_ *Log, step string) {
			switch step {
			case "checkpointing":
				slow()
			case "synced":
				synced <- struct{}{}
			}
		})
		if err := l.Append(t.Context(), adjustment("branch/b1", 1, "a")); err != nil {
			t.Fatal(err)
		}
		<-checkpointing
		for len(synced) > 0 {
			<-synced
		}
		began := time.Now()
		if err := l.Append(t.Context(), adjustment("branch/b1", 2, "b")); err != nil {
			t.Fatal(err)
		}
		<-synced
		if took := time.Since(began); took > time.Second {
			t.Fatalf("a commit is on disk after %v, want a second at most", took)
		}
	})
}
