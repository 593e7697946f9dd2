package main

import (
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"bms/domain"
	"bms/transport/httpapi"
	"bms/transport/telemetry"
)

// refusals counts requests that are refused and clients that are not let in,
// and logs them: at most a line a minute for each kind, so that a flood is seen
// and floods nothing.
//
// # Concurrency properties
//
// All methods are safe for concurrent use.
type refusals struct {
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

func newRefusals(metrics *telemetry.Metrics, logger *slog.Logger, now func() time.Time) *refusals {
	return &refusals{metrics: metrics, logger: logger, now: now, last: map[refusalKind]noted{}}
}

// connection counts a client that is not let in.
func (f *refusals) connection(protocol, reason string) {
	if unlogged, due := f.due(protocol, reason); due {
		f.logger.Info("connection refused", "protocol", protocol, "reason", reason, "unlogged", unlogged)
	}
	f.metrics.Refused(protocol, reason) // what is counted is in the log
}

// connectionError counts one by the code of why not. Who has left by himself is
// none.
func (f *refusals) connectionError(protocol string, err error) {
	if errors.Is(err, errLeft) {
		return
	}
	reason := "internal"
	if no, ok := errors.AsType[*domain.Rejection](err); ok {
		reason = no.Code
	}
	f.connection(protocol, reason)
}

// request counts a request that was refused. What the business itself refuses is
// not logged.
func (f *refusals) request(r httpapi.Refusal) {
	defer f.metrics.RequestRefused(r.Code)
	if r.Expected {
		return
	}
	if unlogged, due := f.due("http", r.Code); due {
		f.logger.Info("request refused", "code", r.Code, "method", r.Method, "route", r.Route, "client", r.Client, "unlogged", unlogged)
	}
}

// due reports whether it is time for a line, and how many there were without.
func (f *refusals) due(protocol, reason string) (unlogged int, due bool) {
	kind, now := refusalKind{protocol, reason}, f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.last[kind]
	if now.Sub(last.at) < time.Minute {
		last.unlogged++
		f.last[kind] = last
		return 0, false
	}
	f.last[kind] = noted{at: now}
	return last.unlogged, true
}

// refuse answers a request that does not get as far as the API.
func (a *App) refuse(w http.ResponseWriter, r *http.Request, no *domain.Rejection) {
	a.refusals.request(httpapi.RefusalOf(r, no.Code, a.cfg.proxies))
	httpapi.WriteProblem(w, no)
}
