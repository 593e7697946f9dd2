package bench

import (
	"fmt"
	"strings"
	"time"
)

// Report is what a run has measured. Durations in its JSON are nanoseconds.
type Report struct {
	Run      string        `json:"run"`
	Sockets  int           `json:"sockets"`
	Clients  int           `json:"clients"`
	Branches int           `json:"branches"`
	Duration time.Duration `json:"duration"` // in which commands were given

	Commands          int64   `json:"commands"` // answered
	CommandsPerSecond float64 `json:"commandsPerSecond"`
	Rejected          int64   `json:"rejected"`
	Retried           int64   `json:"retried"`
	Answers           Latency `json:"answers"`

	Events          int64   `json:"events"` // received, all sockets together
	EventsPerSecond float64 `json:"eventsPerSecond"`
	Deliveries      Latency `json:"deliveries"`
	Ages            Latency `json:"ages"`
	// Disorder counts events that were not after the one before on their
	// connection: out of order or doubled.
	Disorder    int64 `json:"disorder"`
	Disconnects int64 `json:"disconnects"`
	Resumes     int64 `json:"resumes"`

	// Verdict is nil unless Config.Check.
	Verdict *Verdict `json:"verdict,omitempty"`
}

// OK reports whether nothing was seen that must not be.
func (r *Report) OK() bool {
	return r.Disorder == 0 && (r.Verdict == nil || r.Verdict.OK())
}

// Progress is how a run stands.
type Progress struct {
	Elapsed   time.Duration // since commands began; 0 before
	Connected int64
	Commands  int64
	Events    int64
	Answers   Latency
}

// Progress says how the run stands.
func (l *Load) Progress() Progress {
	p := Progress{Connected: l.seen.connected.Load(), Commands: l.seen.answered.Load(), Events: l.seen.events.Load(), Answers: l.seen.answers.Latency()}
	if began := l.began.Load(); began > 0 {
		p.Elapsed = l.clock.now() - time.Duration(began)
	}
	return p
}

func (l *Load) report() *Report {
	r := &Report{
		Run: l.cfg.Run, Sockets: l.cfg.Sockets, Clients: l.cfg.Clients, Branches: l.cfg.Branches,
		Duration: time.Duration(l.ended.Load() - l.began.Load()),
		Commands: l.seen.answered.Load(), Rejected: l.seen.rejected.Load(), Retried: l.seen.retried.Load(), Answers: l.seen.answers.Latency(),
		Events: l.seen.events.Load(), Deliveries: l.seen.deliveries.Latency(), Ages: l.seen.ages.Latency(),
		Disorder: l.seen.disorder.Load(), Disconnects: l.seen.disconnects.Load(), Resumes: l.seen.resumes.Load(),
	}
	r.CommandsPerSecond = float64(r.Commands) / r.Duration.Seconds()
	r.EventsPerSecond = float64(r.Events) / r.Duration.Seconds()
	return r
}

// String tells the report in lines for people.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d commands in %v: %.0f/s, %d rejected, %d repeated for want of an answer (%d clients, %d branches)\n",
		r.Commands, r.Duration.Round(time.Millisecond), r.CommandsPerSecond, r.Rejected, r.Retried, r.Clients, r.Branches)
	fmt.Fprintf(&b, "  command to answer   %s\n", r.Answers)
	if r.Sockets > 0 {
		fmt.Fprintf(&b, "%d events on %d sockets: %.0f/s, %d out of order, %d connections lost, %d resumed\n",
			r.Events, r.Sockets, r.EventsPerSecond, r.Disorder, r.Disconnects, r.Resumes)
		fmt.Fprintf(&b, "  command to socket   %s\n", r.Deliveries)
		fmt.Fprintf(&b, "  decision to socket  %s (the server's clock, whole ms)\n", r.Ages)
	}
	if r.Verdict != nil {
		fmt.Fprintf(&b, "checked: %s\n", r.Verdict)
	}
	return b.String()
}

func (l Latency) String() string {
	return fmt.Sprintf("p50 %v  p90 %v  p99 %v  p99.9 %v  max %v", short(l.P50), short(l.P90), short(l.P99), short(l.P999), short(l.Max))
}

// short leaves three digits or so.
func short(d time.Duration) time.Duration {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
}
