package main

import (
	"context"
	"net/http"
	"time"

	"bms/domain"
	"bms/projections"
)

// gateTime bounds how long a request waits for a node that starts.
const gateTime = 5 * time.Second

// gate keeps who comes waiting until the node knows what the log said of users
// when it was opened: before that, a token may say more than its user has the
// right to. Whether it lives and is ready it tells at once.
func (a *App) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.admits.Load() && !tellsHealth(r.URL.Path) {
			ctx, cancel := context.WithTimeout(r.Context(), gateTime)
			defer cancel()
			if err := a.projections.WaitFor(ctx, projections.Users, a.found); err != nil {
				a.refuse(w, r, domain.Reject(domain.CodeOverloaded, "the node starts, and does not know its users yet; come back later"))
				return
			}
			a.admits.Store(true)
		}
		next.ServeHTTP(w, r)
	})
}

func tellsHealth(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/metrics"
}
