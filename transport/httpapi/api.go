package httpapi

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"bms/domain"
)

// handler answers a request or returns why not. Once it has written it returns
// nil.
type handler func(http.ResponseWriter, *http.Request) error

// api is the handler behind all routes.
type api struct {
	cfg    Config
	mux    *http.ServeMux
	tracer trace.Tracer // nil for none
	// operating is held by who does something under an operator's key.
	operating chan struct{}
	underWay  *commandRoom
	// methods are the methods of the routes, for Allow.
	methods []string
	// documents are made when the first is asked for: that takes longer than
	// all else at a node's start.
	documents func() (*documents, error)
}

// New makes the handler of the whole API. The error names the field of Config
// that is wrong.
func New(cfg Config) (http.Handler, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.defaults()
	a := &api{
		cfg: cfg, mux: http.NewServeMux(), operating: make(chan struct{}, 1), underWay: &commandRoom{most: cfg.CommandBytes},
		methods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
	}
	if cfg.Tracing != nil {
		a.tracer = cfg.Tracing.Tracer("bms/transport/httpapi")
	}
	routes := a.routes()
	a.documents = sync.OnceValues(func() (*documents, error) { return newDocuments(cfg.Version, routes) })
	for _, route := range routes {
		a.mux.Handle(route.method+" "+route.path, a.serve(route.handle))
	}
	a.mux.Handle("/", a.serve(a.noRoute))
	return a, nil
}

// ServeHTTP is around every request: the fence for panics, the header that
// every answer has, cross-origin rules and the count.
func (a *api) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	w := &recorder{ResponseWriter: rw, request: r}
	defer a.finish(w, start)
	w.request = a.traced(r)

	h := w.Header()
	h["X-Content-Type-Options"] = nosniff
	h["Referrer-Policy"] = noReferrer
	h["X-Frame-Options"] = deny
	h["Cache-Control"] = noStore
	if CrossOrigin(w, r, a.cfg.AllowOrigin) {
		return
	}
	a.mux.ServeHTTP(w, w.request)
}

// Values of headers that are the same for all answers; net/http doesn't change
// them.
var (
	nosniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	deny       = []string{"DENY"}
	noStore    = []string{"no-store"}
	jsonType   = []string{"application/json"}
)

// finish ends a request: also one that panicked, which costs its connection if
// the answer had begun and nothing else.
func (a *api) finish(w *recorder, start time.Time) {
	r := w.request
	if reason := recover(); reason != nil {
		if reason == http.ErrAbortHandler { //nolint:errorlint // a sentinel that is thrown as it is
			a.endSpan(w, w.status)
			panic(reason)
		}
		a.cfg.Logger.ErrorContext(r.Context(), "request panicked", "method", r.Method, "route", route(r), "reason", reason, "stack", string(debug.Stack()))
		if w.status != 0 {
			a.observe(w, http.StatusInternalServerError, start)
			panic(http.ErrAbortHandler)
		}
		a.refuse(w, r, internalError())
	}
	a.observe(w, w.status, start)
}

func (a *api) observe(w *recorder, status int, start time.Time) {
	a.endSpan(w, status)
	if a.cfg.Observe != nil {
		a.cfg.Observe(route(w.request), status, time.Since(start))
	}
}

// route is the pattern that matched, "other" for none.
func route(r *http.Request) string {
	if r.Pattern == "" || r.Pattern == "/" {
		return "other"
	}
	return r.Pattern
}

// serve makes an http.Handler of a handler: errors become answers, faults are
// logged, both once and here.
func (a *api) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		rejection, unexpected := reject(err)
		if unexpected {
			a.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("method", r.Method),
				slog.String("route", route(r)), slog.Any("error", err), slog.String("client", a.clientAddr(r)))
		}
		a.refuse(w.(*recorder), r, rejection)
	})
}

// noRoute answers what no route takes: 405 with Allow if the path has another
// method, else 404.
func (a *api) noRoute(w http.ResponseWriter, r *http.Request) error {
	var allowed []string
	probe := &http.Request{URL: r.URL, Host: r.Host}
	for _, method := range a.methods {
		probe.Method = method
		if _, pattern := a.mux.Handler(probe); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return domain.Reject(codeNotFound, "there is nothing at this address; see /docs")
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return domain.Reject(codeMethodNotAllowed, "this address takes %s", strings.Join(allowed, ", "))
}

// identify says who asks, as the log has them. A disabled user is nobody.
func (a *api) identify(r *http.Request) (domain.Identity, error) {
	who, ok := r.Context().Value(identifiedKey{}).(*identified)
	if !ok {
		who = &identified{}
		who.id, who.err = a.cfg.Identify(r)
	}
	if who.err != nil {
		return domain.Identity{}, who.err
	}
	id := a.cfg.Read.Identity(who.id)
	if id.Disabled {
		return domain.Identity{}, domain.Reject(domain.CodeUnauthorized, "the user is disabled; ask an admin")
	}
	return id, nil
}

// recorder remembers the status that was written, and the request as the
// handlers have it: the mux says there which route it took.
type recorder struct {
	http.ResponseWriter
	request *http.Request
	status  int
	code    string // of the problem, if it is one
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeBody writes an answer whole. A write that fails has lost its client, and
// there is nobody to tell.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
