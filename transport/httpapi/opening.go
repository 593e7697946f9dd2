package httpapi

import (
	"net/http"
	"net/netip"

	"bms/domain"
)

// Opening answers for a node that is opening its files, which may take long: it
// lives and isn't ready, and whoever wants more is to come back. It is an
// http.Handler.
type Opening struct {
	// Reason says why the node isn't ready yet.
	Reason func() string
	// Metrics answers GET /metrics.
	Metrics http.Handler
	// AllowOrigin says which pages of other origins may read the answers; nil
	// for none.
	AllowOrigin func(origin string) bool
	// TrustedProxies are the only ones whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Refused is told of each request that was refused.
	Refused func(Refusal)
}

// ServeHTTP implements http.Handler.
func (o *Opening) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header()["Cache-Control"] = noStore
	w.Header()["X-Content-Type-Options"] = nosniff
	if CrossOrigin(w, r, o.AllowOrigin) {
		return
	}
	no := domain.Reject(domain.CodeOverloaded, "the node is %s; come back in a moment", o.Reason())
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		switch r.URL.Path {
		case "/healthz":
			_ = writeJSON(w, http.StatusOK, Health{Status: alive}) // it always encodes
			return
		case "/metrics":
			o.Metrics.ServeHTTP(w, r)
			return
		case "/readyz":
			no = notReady(o.Reason())
		}
	}
	o.Refused(RefusalOf(r, no.Code, o.TrustedProxies))
	writeProblem(w, no)
}
