package eventlog

import (
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
