package bench

import (
	"testing"
	"time"
)

func TestHistogram_buckets_are_narrow_and_in_order(t *testing.T) {
	for us := uint64(0); us < 1<<36; us += 1 + us/1000 {
		b := bucketOf(us)
		if v := valueOf(b); v < us || v > us+us/64 {
			t.Fatalf("%d µs is in bucket %d up to %d, want at most 1/64 above", us, b, v)
		}
		if b > 0 && valueOf(b-1) >= us {
			t.Fatalf("%d µs is in bucket %d, and the one before reaches to %d", us, b, valueOf(b-1))
		}
	}
}

func TestHistogram_percentiles(t *testing.T) {
	var h Histogram
	if got := h.Latency(); got != (Latency{}) {
		t.Errorf("an empty one gives %+v", got)
	}
	for i := 1; i <= 1000; i++ {
		h.Record(time.Duration(i) * time.Millisecond)
	}
	h.Record(-time.Second)
	h.Record(100 * time.Hour)
	got := h.Latency()
	if got.Count != 1002 || got.Max != 100*time.Hour {
		t.Errorf("count %d, max %v, want 1002, 100h", got.Count, got.Max)
	}
	for name, c := range map[string]struct{ got, want time.Duration }{
		"p50": {got.P50, 501 * time.Millisecond}, "p90": {got.P90, 901 * time.Millisecond}, "p99": {got.P99, 992 * time.Millisecond},
	} {
		if c.got < c.want-2*time.Millisecond || c.got > c.want+c.want/64 {
			t.Errorf("%s is %v, want about %v", name, c.got, c.want)
		}
	}
}
