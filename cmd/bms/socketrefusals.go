package main

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"bms/domain"
	"bms/transport/telemetry"
)

// socketRefusals counts clients that are not let in, and logs them: at most a
// line a minute for each reason, so that a flood is seen and floods nothing.
//
// # Concurrency properties
//
// All methods are safe for concurrent use.
type socketRefusals struct {
	metrics *telemetry.Metrics
	logger  *slog.Logger
	now     func() time.Time

	mu   sync.Mutex // guards last
	last map[refusalKind]noted
}

// refusalKind is a protocol and one of a few dozen reasons.
type refusalKind struct{ protocol, reason string }

// noted is when a kind was logged last, and how many were not since.
type noted struct {
	at       time.Time
	unlogged int
}

func newSocketRefusals(a *App) *socketRefusals {
	return &socketRefusals{metrics: a.metrics, logger: a.logger, now: a.now, last: map[refusalKind]noted{}}
}

// note counts a refusal.
func (f *socketRefusals) note(protocol, reason string) {
	f.metrics.Refused(protocol, reason)
	kind, now := refusalKind{protocol, reason}, f.now()
	f.mu.Lock()
	last := f.last[kind]
	if now.Sub(last.at) < time.Minute {
		last.unlogged++
		f.last[kind] = last
		f.mu.Unlock()
		return
	}
	f.last[kind] = noted{at: now}
	f.mu.Unlock()
	f.logger.Info("connection refused", "protocol", protocol, "reason", reason, "unlogged", last.unlogged)
}

// noteError counts a refusal by its code.
func (f *socketRefusals) noteError(protocol string, err error) {
	reason := "internal"
	if no, ok := errors.AsType[*domain.Rejection](err); ok {
		reason = no.Code
	}
	f.note(protocol, reason)
}
