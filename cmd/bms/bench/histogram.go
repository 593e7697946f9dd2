package bench

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets whose width is at most 1/64 of their
// value, from a microsecond to 19 hours; what is longer counts as that, what is
// shorter (or negative) as nothing. The zero value is ready for use. Record may
// be called from any goroutine.
//
//	bucket  µs
//	0…127   the value itself
//	128…    64 for each power of two: the six bits after the first
type Histogram struct {
	counts [histogramBuckets]atomic.Uint64
	max    atomic.Int64
}

const (
	subBits          = 6
	histogramBuckets = 31 << subBits
)

func bucketOf(us uint64) int {
	if us < 2<<subBits {
		return int(us)
	}
	shift := bits.Len64(us) - subBits - 1
	return min(shift<<subBits+int(us>>shift), histogramBuckets-1)
}

// valueOf is the greatest value of a bucket.
func valueOf(bucket int) uint64 {
	if bucket < 2<<subBits {
		return uint64(bucket)
	}
	shift := bucket>>subBits - 1
	return (uint64(bucket)-uint64(shift)<<subBits+1)<<shift - 1
}

// Record counts a duration.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucketOf(uint64(max(0, d.Microseconds())))].Add(1)
	for {
		longest := h.max.Load()
		if int64(d) <= longest || h.max.CompareAndSwap(longest, int64(d)) {
			return
		}
	}
}

// Latency sums a histogram up. All are zero for an empty one.
type Latency struct {
	Count uint64        `json:"count"`
	P50   time.Duration `json:"p50"`
	P90   time.Duration `json:"p90"`
	P99   time.Duration `json:"p99"`
	P999  time.Duration `json:"p999"`
	Max   time.Duration `json:"max"`
}

// Latency sums up what was recorded so far.
func (h *Histogram) Latency() Latency {
	var counts [histogramBuckets]uint64
	l := Latency{Max: time.Duration(h.max.Load())}
	for i := range counts {
		counts[i] = h.counts[i].Load()
		l.Count += counts[i]
	}
	quantile := func(q float64) time.Duration {
		rank := uint64(q * float64(l.Count))
		for i, n := range counts {
			if rank < n {
				return min(time.Duration(valueOf(i))*time.Microsecond, l.Max)
			}
			rank -= n
		}
		return l.Max
	}
	l.P50, l.P90, l.P99, l.P999 = quantile(0.5), quantile(0.9), quantile(0.99), quantile(0.999)
	return l
}
