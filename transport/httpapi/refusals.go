package httpapi

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"bms/domain"
)

// refusals logs what is refused: at most one line a minute for each code and
// status, so that a flood of bad requests is seen and floods nothing.
type refusals struct {
	logger *slog.Logger

	mu   sync.Mutex // guards last
	last map[string]refusal
}

type refusal struct {
	at     time.Time
	silent int // refused since, without a line
}

func newRefusals(logger *slog.Logger) *refusals {
	return &refusals{logger: logger, last: map[string]refusal{}}
}

// note counts a refusal and logs it if it is time. The answers that are the
// business's own, such as insufficient_stock or unknown_product, are none.
func (f *refusals) note(r *http.Request, code, client string) {
	switch StatusOf(code) {
	case http.StatusConflict, http.StatusUnprocessableEntity:
		return
	case http.StatusNotFound:
		if code != codeNotFound {
			return
		}
	}
	now := time.Now()
	f.mu.Lock()
	last := f.last[code] // as many as there are codes
	if now.Sub(last.at) < time.Minute {
		last.silent++
		f.last[code] = last
		f.mu.Unlock()
		return
	}
	f.last[code] = refusal{at: now}
	f.mu.Unlock()
	f.logger.LogAttrs(r.Context(), slog.LevelInfo, "request refused", slog.String("code", code),
		slog.String("method", shown(r.Method)), slog.String("route", route(r)), slog.String("client", client), slog.Int("unlogged", last.silent))
}

// refuse answers with a rejection, counted and logged. It is the only way to a
// problem for a request that reached this API.
func (a *api) refuse(w http.ResponseWriter, r *http.Request, rejection *domain.Rejection) {
	if a.cfg.Refused != nil {
		a.cfg.Refused(rejection.Code)
	}
	a.refusals.note(r, rejection.Code, a.clientAddr(r))
	writeProblem(w, rejection)
}
