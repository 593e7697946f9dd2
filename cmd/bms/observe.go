package main

import (
	"time"

	"bms/actors"
	"bms/domain"
	"bms/projections"
	"bms/transport/telemetry"
)

// observeDeciders wires what the write path tells to metrics, log and traces.
func (a *App) observeDeciders() actors.Observe {
	slow := telemetry.NewSlowCommands(a.cfg.slowCommand, a.logger, a.now)
	o := actors.Observe{
		Appended: a.metrics.Appended, Loaded: a.metrics.Loaded, Durable: a.metrics.Durable,
		Answered: func(cmd *domain.Command, outcome string, took time.Duration) {
			a.metrics.Command(cmd, outcome, took)
			slow.Note(cmd, outcome, took)
		},
	}
	if a.spans != nil {
		o.Decided = a.spans.Decided
	}
	return o
}

// observeProjections does the same for the read models.
func (a *App) observeProjections() projections.Hooks {
	h := projections.Hooks{Folded: a.metrics.Folded, Alerted: a.metrics.Alerted, Failed: a.metrics.FoldFailed, Rebuilt: func(projection string, r projections.Rebuild) {
		a.metrics.Rebuilt(projection, rebuildOutcome(r))
	}}
	if a.spans != nil {
		h.Projected, h.Deriving = a.spans.Projected, a.spans.Deriving
	}
	return h
}

// rebuildOutcome is how a rebuild or a verification ended, for the metrics.
func rebuildOutcome(r projections.Rebuild) string {
	switch {
	case r.State != projections.RebuildDone || r.Verification == nil:
		return r.State
	case r.Verification.Equal:
		return "verified"
	default:
		return "differs"
	}
}

// tracer makes the spans of events on their way to the sockets; nil for none.
func (a *App) tracer() actors.Tracer {
	if a.spans == nil {
		return nil
	}
	return a.spans
}

// sources are asked at each scrape.
func (a *App) sources() telemetry.Sources {
	return telemetry.Sources{
		Head:     func() uint64 { return a.log.Head().Seq },
		LogBytes: a.log.Size,
		FeedHead: func() uint64 { return a.sockets.hub.Head().Seq },
		DiskFree: func() (uint64, bool) { return freeBytes(a.cfg.dataDir) },
		Unready:  a.unready,
		Rooms:    func() int { return a.sockets.hub.Stats().Rooms },
		Panics:   a.system.Panics,
		Waiting:  a.deciders.Queued,
		Projections: func() (lags []telemetry.Lag) {
			for _, s := range a.projections.Status() {
				lags = append(lags, telemetry.Lag{Projection: s.Name, Records: s.LagRecords, Seconds: s.LagSeconds, Parked: s.Parked})
			}
			return lags
		},
	}
}
