package telemetry

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// Sources are asked at each scrape for what the parts of the node count
// themselves. Nil ones are left out. They must not block.
type Sources struct {
	// Head is the sequence of the log's last commit.
	Head func() uint64
	// LogBytes is the size of the log's files.
	LogBytes func() int64
	// DiskFree is the number of bytes that the data folder's disk has left;
	// ok is false if that can't be told.
	DiskFree func() (bytes uint64, ok bool)
	// FeedHead is the sequence up to which connections are served.
	FeedHead func() uint64
	// Unready gives the reasons for which the node is not ready.
	Unready func() []string
	// Rooms is the number of rooms that live on this node.
	Rooms func() int
	// Panics is the number of panics fenced so far.
	Panics func() uint64
	// Waiting is the number of commands under way.
	Waiting func() int
	// Projections tells how far each projection is behind.
	Projections func() []Lag
}

// Lag is how far a projection is behind the log.
type Lag struct {
	Projection string
	Records    uint64
	Seconds    float64
	// Parked is the number of events set aside.
	Parked int
}

// Watch registers the sources. It is called once.
func (m *Metrics) Watch(s Sources) {
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	if s.Head != nil {
		gauge("bms_log_head", "Sequence of the log's last commit.", func() float64 { return float64(s.Head()) })
	}
	if s.LogBytes != nil {
		gauge("bms_log_bytes", "Size of the log's files.", func() float64 { return float64(s.LogBytes()) })
	}
	if s.DiskFree != nil {
		gauge("bms_data_free_bytes", "Room on the data folder's disk; NaN if that can't be told.", func() float64 {
			if free, ok := s.DiskFree(); ok {
				return float64(free)
			}
			return math.NaN()
		})
	}
	if s.FeedHead != nil {
		gauge("bms_feed_head", "Sequence of the log's commit up to which connections are served.", func() float64 { return float64(s.FeedHead()) })
	}
	if s.Unready != nil {
		gauge("bms_unready_reasons", "Reasons for which the node is not ready, 0 when it is; /readyz has them.", func() float64 { return float64(len(s.Unready())) })
	}
	if s.Rooms != nil {
		gauge("bms_rooms", "Rooms that live on this node.", func() float64 { return float64(s.Rooms()) })
	}
	if s.Waiting != nil {
		gauge("bms_commands_waiting", "Commands under way.", func() float64 { return float64(s.Waiting()) })
	}
	if s.Panics != nil {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "bms_panics_total", Help: "Panics that were fenced.",
		}, func() float64 { return float64(s.Panics()) }))
	}
	if s.Projections != nil {
		m.registry.MustRegister(&lags{
			source:  s.Projections,
			labels:  m.projections,
			records: prometheus.NewDesc("bms_projection_lag_records", "Log records not folded yet.", []string{"projection"}, nil),
			seconds: prometheus.NewDesc("bms_projection_lag_seconds", "Age of the oldest record not folded yet.", []string{"projection"}, nil),
			parked:  prometheus.NewDesc("bms_projection_parked", "Events of commits that could not be folded, and of those that wait behind them.", []string{"projection"}, nil),
		})
	}
}

// lags collects the lag of each projection.
type lags struct {
	source                   func() []Lag
	labels                   *bounded
	records, seconds, parked *prometheus.Desc
}

func (l *lags) Describe(ch chan<- *prometheus.Desc) {
	ch <- l.records
	ch <- l.seconds
	ch <- l.parked
}

func (l *lags) Collect(ch chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, lag := range l.source() {
		label := l.labels.value(lag.Projection)
		if seen[label] {
			continue
		}
		seen[label] = true
		ch <- prometheus.MustNewConstMetric(l.records, prometheus.GaugeValue, float64(lag.Records), label)
		ch <- prometheus.MustNewConstMetric(l.seconds, prometheus.GaugeValue, lag.Seconds, label)
		ch <- prometheus.MustNewConstMetric(l.parked, prometheus.GaugeValue, float64(lag.Parked), label)
	}
}
