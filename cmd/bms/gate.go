package main

import (
	"context"
	"net/http"
	"sync/atomic"

	"bms/domain"
	"bms/projections"
	"bms/transport/httpapi"
)

// gate keeps who comes waiting until the node knows what the log said of users
// when it was opened: before that, a token may say more than its user has the
// right to. Whether it lives and is ready it tells at once.
func (a *App) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.admits.Load() && !tellsHealth(r.URL.Path) {
			ctx, cancel := context.WithTimeout(r.Context(), a.waits.start)
			defer cancel()
			if err := a.projections.WaitFor(ctx, projections.Users, a.found); err != nil {
				if httpapi.CrossOrigin(w, r, a.allowOrigin) {
					return
				}
				a.refuse(w, r, domain.Reject(domain.CodeOverloaded, "the node starts, and does not know its users yet; come back later"))
				return
			}
			a.admits.Store(true)
		}
		next.ServeHTTP(w, r)
	})
}

// front is what the server serves, as it stands: what is opened replaces what
// says that it is being opened.
//
// # Concurrency properties
//
// All methods are safe for concurrent use. A request is served by what stood
// when it came.
type front struct {
	handler atomic.Pointer[http.Handler]
	part    atomic.Pointer[string]
}

// ServeHTTP implements http.Handler. Set was called.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*f.handler.Load()).ServeHTTP(w, r)
}

func (f *front) set(h http.Handler) { f.handler.Store(&h) }

// opening notes what is being done, for doing.
func (f *front) opening(what string) { f.part.Store(&what) }

func (f *front) doing() string { return *f.part.Load() }

func tellsHealth(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/metrics"
}
