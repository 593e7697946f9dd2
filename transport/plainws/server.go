package plainws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"bms/transport/wsframe"
)

// Server serves plain WebSockets.
type Server struct {
	config   Config
	start    time.Time         // the zero of Conn's times
	deflater *wsframe.Deflater // nil: no compression

	ctx     context.Context // ends with the server; for Handler.Connect
	cancel  context.CancelFunc
	running sync.WaitGroup // connections, from admission to the end of the reader

	mu       sync.Mutex // guards the following
	conns    map[*Conn]struct{}
	stopping bool // no new connections
}

// New makes a server. The error names the field of a bad config.
func New(c Config) (*Server, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{config: c, start: time.Now(), deflater: c.Deflater(), conns: map[*Conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Endpoint is an address at which h decides on who connects.
func (s *Server) Endpoint(h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, h) })
}

// Connections is the number of connections, those being judged included.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, h Handler) {
	if no := judgeHandshake(w, r); no != nil {
		s.refuse(w, r, no)
		return
	}
	if !s.config.OriginAllowed(r) {
		s.refuse(w, r, forbiddenOrigin)
		return
	}
	c := newConn(s)
	if no := s.admit(c); no != nil {
		s.refuse(w, r, no)
		return
	}
	session, err := s.ask(c, r, h)
	if err != nil {
		s.remove(c)
		w.Header().Set("Cache-Control", "no-store")
		s.config.Refuse(w, r, err)
		return
	}
	o := s.config.Options()
	o.Deflater, o.ProtocolErrorCode = s.deflater, StatusProtocolError
	o.OnFrames, o.OnPing, o.OnPong = c.allowFrames, c.ping, c.alive
	if session.Subprotocol != "" {
		o.Subprotocols = []string{session.Subprotocol}
	}
	frames, err := wsframe.Accept(w, r, o)
	if err != nil { // the client has gone: its handshake has been judged
		s.config.Observer.Refused(ReasonBadHandshake)
		s.remove(c)
		c.receiver = session.Receiver
		c.tell(ReasonTransportError)
		return
	}
	c.open(frames, session)
}

// admit takes a client that asks among the connections.
func (s *Server) admit(c *Conn) *Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopping:
		return draining
	case len(s.conns) >= s.config.MaxConnections:
		return overloaded
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	return nil
}

// remove forgets a connection.
func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.running.Done()
}

// ask has the handler decide.
func (s *Server) ask(c *Conn, r *http.Request, h Handler) (_ Session, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), s.config.ConnectTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	defer func() {
		if reason := recover(); reason != nil {
			s.config.Logger.Error("connect panicked", "path", r.URL.Path, "reason", reason, "stack", string(debug.Stack()))
			err = errors.New("handler panicked")
		}
	}()
	session, err := h.Connect(ctx, c, r)
	if err != nil {
		return Session{}, fmt.Errorf("connect: %w", err)
	}
	return session, nil
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, no *Refusal) {
	s.config.Observer.Refused(no.Reason)
	w.Header().Set("Cache-Control", "no-store")
	s.config.Refuse(w, r, no)
}
