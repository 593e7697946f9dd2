package httpapi

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"bms/domain"
)

const (
	maxHeaders     = 100
	maxHeaderBytes = 24 << 10 // a token of 8 KB, and room
)

// ServerConfig is what a server needs. Handler must be given.
type ServerConfig struct {
	// Handler serves what this package serves, and what stands beside it. One
	// that reads a body clears the request's read deadline when it has it, or
	// moves it; one that waits before it answers sets its own write deadline.
	Handler http.Handler
	// BodyTimeout bounds how long a body may take to arrive, also one that
	// nobody reads: net/http waits for some of it before it lets an answer go.
	// Zero value means 10 seconds.
	BodyTimeout time.Duration
	// AnswerTimeout bounds how long the client may take to take an answer,
	// from its request on. Zero value means 1 minute.
	AnswerTimeout time.Duration
	// TrustedProxies are the only ones whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Refused is told of each request that does not get as far as the handler.
	// Nil means nobody.
	Refused func(Refusal)
	// Logger gets what net/http has to say, at debug level. Nil means none.
	Logger *slog.Logger
}

// NewServer returns a server for a handler that is open to the world: a header
// must arrive within 5 seconds, with at most 100 fields of 24 KB together, the
// body and the reading of the answer are bounded as the config says, and a
// connection may rest for 2 minutes between requests. A connection that was
// hijacked is its handler's own.
func NewServer(cfg ServerConfig) *http.Server {
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = 10 * time.Second
	}
	if cfg.AnswerTimeout == 0 {
		cfg.AnswerTimeout = time.Minute
	}
	if cfg.Refused == nil {
		cfg.Refused = func(Refusal) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &edge{cfg: cfg}
	return &http.Server{
		Handler:           s,
		ConnContext:       s.opened,
		ConnState:         s.changed,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
}

// edge is around every handler.
type edge struct {
	cfg   ServerConfig
	conns sync.Map // net.Conn to *connection
}

// connection is what is known of a client's.
type connection struct {
	// began is true from a request's first byte until it is handled.
	began    atomic.Bool
	hijacked atomic.Bool
}

type connectionKey struct{}

// opened begins a connection.
func (s *edge) opened(ctx context.Context, c net.Conn) context.Context {
	known := &connection{}
	s.conns.Store(c, known)
	return context.WithValue(ctx, connectionKey{}, known)
}

// changed follows a connection's state: net/http tells nobody of a request
// whose header it refuses or gives up.
func (s *edge) changed(c net.Conn, state http.ConnState) {
	v, ok := s.conns.Load(c)
	if !ok {
		return
	}
	known := v.(*connection)
	switch state {
	case http.StateActive:
		known.began.Store(true)
	case http.StateIdle:
		known.began.Store(false)
	case http.StateHijacked:
		known.hijacked.Store(true)
		s.conns.Delete(c)
	case http.StateClosed:
		s.conns.Delete(c)
		if known.began.Load() {
			client := clientAddr(&http.Request{RemoteAddr: c.RemoteAddr().String()}, nil)
			s.cfg.Refused(Refusal{Code: codeBadHeader, Client: client})
		}
	}
}

// ServeHTTP implements http.Handler.
func (s *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control, now := http.NewResponseController(w), time.Now()
	if r.ContentLength != 0 {
		_ = control.SetReadDeadline(now.Add(s.cfg.BodyTimeout))
	}
	_ = control.SetWriteDeadline(now.Add(s.cfg.AnswerTimeout))
	known, ok := r.Context().Value(connectionKey{}).(*connection)
	if ok {
		known.began.Store(false)
		defer func() {
			// What the handler has written may be on its way only now, and the
			// handler may have waited for longer than the deadline.
			if !known.hijacked.Load() {
				_ = control.SetWriteDeadline(time.Now().Add(s.cfg.AnswerTimeout))
			}
		}()
	}
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > maxHeaders {
		s.cfg.Refused(RefusalOf(r, codeHeaderTooLarge, s.cfg.TrustedProxies))
		w.Header().Set("Connection", "close")
		writeProblem(w, domain.Reject(codeHeaderTooLarge, "%d header fields, at most %d are taken", fields, maxHeaders))
		return
	}
	s.cfg.Handler.ServeHTTP(w, r)
}
