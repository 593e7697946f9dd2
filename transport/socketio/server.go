package socketio

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"bms/transport/wsframe"
)

// Server serves Engine.IO sessions. It is an http.Handler for its path.
type Server struct {
	config     Config
	namespaces map[string]Namespace // read only once serving
	messages   MessageFunc          // in place of Socket.IO if not nil
	deflater   *wsframe.Deflater    // nil: no compression

	ctx    context.Context // ends with the server; for Namespace.Connect
	cancel context.CancelFunc
	wg     sync.WaitGroup // readers and running Connects

	mu       sync.Mutex // guards the following; taken after an engine's
	sessions map[string]*engine
	lobby    lobby // those of them that are in no namespace
	opened   uint64
	draining bool // no new sessions
	closed   bool // no new goroutines
}

// New makes a server. Namespaces are added with Of before it serves.
func New(c Config) (*Server, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{
		config:     c,
		namespaces: map[string]Namespace{},
		deflater:   c.Deflater(),
		ctx:        ctx,
		cancel:     cancel,
		sessions:   map[string]*engine{},
	}, nil
}

// MessageFunc handles one Engine.IO message: text, or else binary. send takes
// prepared frames and fails as [Socket.Send] does.
type MessageFunc func(text bool, data []byte, send func(frames []byte) error)

// NewEngine makes a server of bare Engine.IO, without Socket.IO over it. It
// serves the public protocol suite.
func NewEngine(c Config, f MessageFunc) (*Server, error) {
	s, err := New(c)
	if err == nil {
		s.messages = f
	}
	return s, err
}

// Of makes h decide on a namespace, which begins with a slash. It must not be
// called once the server serves. It panics on a bad or repeated name.
func (s *Server) Of(namespace string, h Namespace) {
	if !strings.HasPrefix(namespace, "/") || strings.Contains(namespace, ",") || len(namespace) > maxNamespace {
		panic(fmt.Sprintf("socketio: bad namespace %q", namespace))
	}
	if s.namespaces[namespace] != nil {
		panic(fmt.Sprintf("socketio: namespace %q added twice", namespace))
	}
	s.namespaces[namespace] = h
}

// ServeHTTP serves handshakes, polling and upgrades.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, s.config.Path) {
		http.NotFound(w, r)
		return
	}
	if !s.cors(w, r) {
		s.refuse(w, r, forbiddenOrigin)
		return
	}
	if r.Method == http.MethodOptions {
		preflight(w, r)
		return
	}
	query := r.URL.Query()
	transport := Transport(query.Get("transport"))
	if transport != Polling && transport != WebSocket {
		s.refuse(w, r, unknownTransport)
		return
	}
	if sid := query.Get("sid"); sid != "" {
		s.serveSession(w, r, query, sid, transport)
		return
	}
	s.serveHandshake(w, r, query, transport)
}

// serveSession serves a request of a session that is there.
func (s *Server) serveSession(w http.ResponseWriter, r *http.Request, query url.Values, sid string, transport Transport) {
	s.mu.Lock()
	e := s.sessions[sid]
	s.mu.Unlock()
	switch {
	case e == nil:
		s.refuse(w, r, unknownSession)
	case query.Get("EIO") != "4":
		s.refuse(w, r, badRequest)
	case isUpgrade(r):
		if transport != WebSocket {
			s.refuse(w, r, badRequest)
			return
		}
		e.serveUpgrade(w, r)
	case transport != Polling || e.conn.Load() != nil:
		s.refuse(w, r, badRequest)
	case r.Method == http.MethodGet:
		e.servePoll(w, r)
	case r.Method == http.MethodPost:
		e.servePost(w, r)
	default:
		s.refuse(w, r, badMethod)
	}
}

// serveHandshake opens a session.
func (s *Server) serveHandshake(w http.ResponseWriter, r *http.Request, query url.Values, transport Transport) {
	switch {
	case r.Method != http.MethodGet:
		s.refuse(w, r, badMethod)
		return
	case isUpgrade(r) != (transport == WebSocket):
		s.refuse(w, r, badRequest)
		return
	case query.Get("EIO") != "4":
		s.refuse(w, r, badVersion)
		return
	}
	e, refused := s.open(r)
	if refused != nil {
		s.refuse(w, r, refused)
		return
	}
	if transport == WebSocket {
		e.serveWebSocket(w, r)
		return
	}
	e.start()
	// Who has not got it doesn't know its session, which ends by its timeouts.
	_ = writeBody(w, r, s.config.WriteTimeout, append([]byte{engineOpen}, e.openData(Polling)...))
}

// open admits a new session, in the place of another if need be.
func (s *Server) open(r *http.Request) (*engine, *refusal) {
	e := newEngine(s, r)
	displaced, refused := s.admit(e)
	if displaced != nil {
		displaced.close(Displaced)
	}
	return e, refused
}

// admit takes a new session among the others, and names one that has to be
// closed for it.
func (s *Server) admit(e *engine) (displaced *engine, _ *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, shuttingDown
	}
	if len(s.sessions) >= s.config.MaxSessions || s.lobby.len() >= s.config.MaxUnauthenticated {
		if displaced = s.lobby.oldest(); displaced == nil {
			return nil, tooManySessions
		}
		s.lobby.leave(displaced)
		delete(s.sessions, displaced.sid)
	}
	s.opened++
	e.number = s.opened
	s.sessions[e.sid] = e
	if s.messages == nil {
		s.lobby.enter(e, false)
	}
	return displaced, nil
}

// enter counts a session among those that are in no namespace, once more.
func (s *Server) enter(e *engine) {
	s.mu.Lock()
	s.lobby.enter(e, true)
	s.mu.Unlock()
}

// leave counts a session out of them.
func (s *Server) leave(e *engine) {
	s.mu.Lock()
	s.lobby.leave(e)
	s.mu.Unlock()
}

// spoke notes a session's first packet.
func (s *Server) spoke(e *engine) {
	s.mu.Lock()
	s.lobby.spoke(e)
	s.mu.Unlock()
}

// remove forgets a session.
func (s *Server) remove(e *engine) {
	s.mu.Lock()
	delete(s.sessions, e.sid)
	s.mu.Unlock()
}

// goTracked runs f on a goroutine that Close waits for; false if the server is
// closed.
func (s *Server) goTracked(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		f()
	}()
	return true
}

// Sessions is the number of Engine.IO sessions.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// openData is the JSON of the open packet.
func (e *engine) openData(transport Transport) []byte {
	upgrades := []string{}
	if transport == Polling {
		upgrades = append(upgrades, string(WebSocket))
	}
	c := &e.server.config
	data, _ := json.Marshal(struct {
		SID          string   `json:"sid"`
		Upgrades     []string `json:"upgrades"`
		PingInterval int64    `json:"pingInterval"`
		PingTimeout  int64    `json:"pingTimeout"`
		MaxPayload   int      `json:"maxPayload"`
	}{e.sid, upgrades, c.PingInterval.Milliseconds(), c.PingTimeout.Milliseconds(), c.MaxPayload})
	return data
}

// isUpgrade says whether the request asks for a WebSocket.
func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// wsOptions are those of the session's WebSocket.
func (e *engine) wsOptions() wsframe.Options {
	o := e.server.config.Options()
	o.OnFrames, o.Deflater = e.allowFrames, e.server.deflater
	e.mu.Lock()
	o.ReadLimit = int64(e.payload())
	e.mu.Unlock()
	return o
}
