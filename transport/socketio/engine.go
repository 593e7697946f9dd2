package socketio

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"bms/transport/wsframe"
)

// engine is one Engine.IO session.
type engine struct {
	server *Server
	sid    string // secret: who knows it owns the session
	number uint64 // of the session in this process

	remote string

	place place // in the lobby; guarded by server.mu

	packets, bytes *rate.Limiter // of what comes in; nil: no bound

	conn    atomic.Pointer[wsframe.Conn] // nil while polling
	flusher wsframe.Flusher              // or a GET's goroutine has the right

	// inbound is held while a packet is handled, also while a Receiver blocks.
	// It guards the following.
	inbound sync.Mutex
	partial *partial
	spoken  bool // a packet has come
	shared  any  // Handshake.Connection; nil before the first CONNECT

	mu      sync.Mutex // guards the following; held for moments only
	lane    wsframe.Lane
	sockets []*Socket // connecting and connected ones
	started bool      // and told to the Observer
	inside  bool      // one of them is connected
	joined  bool      // a namespace, ever
	early   int       // packets that came before that
	closed  bool
	reason  Reason // once closed

	// Polling.
	poll     *poll  // the GET that waits
	lastPoll string // the stamp of the last GET
	pace     pace   // of its answers
	posting  bool
	probe    *wsframe.Conn // a WebSocket that may become conn
	probed   bool          // it has sent its probe: GETs shall end
	farewell []byte        // last packet for a GET once closed; nil when taken

	// Timers. beat is the heartbeat's, see heartbeat.go, and after closing the
	// one that ends the wait for a last GET.
	beat      *time.Timer
	due       time.Time // when beat shall act
	awaiting  bool      // a ping is unanswered
	extended  bool      // its deadline was, once
	held      bool      // a packet was being handled at the last pulse
	admission *time.Timer
}

// closeGrace is how long a closing WebSocket has to take what is still to be
// written, and to answer the close frame; lingering how long a closed polling
// session waits for one more GET to tell the client.
const (
	closeGrace = 5 * time.Second
	lingering  = 10 * time.Second
)

func newEngine(s *Server, r *http.Request) *engine {
	e := &engine{server: s, sid: randomID(), remote: r.RemoteAddr}
	e.packets, e.bytes = s.config.Limiters()
	e.flusher.Open()
	return e
}

// randomID is 120 random bits in 20 characters.
func randomID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// start begins the heartbeat and the wait for a namespace.
func (e *engine) start() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	e.started = true
	e.startHeartbeat()
	if e.server.messages == nil {
		e.admission = time.AfterFunc(e.server.config.ConnectTimeout, e.admit)
	}
}

// outside makes the session, if its last socket has gone, one that has a
// namespace to join in time. e.mu must be held.
func (e *engine) outside() {
	if e.closed || !e.inside {
		return
	}
	for _, s := range e.sockets {
		if s.state == socketConnected {
			return
		}
	}
	e.inside = false
	e.admission = time.AfterFunc(e.server.config.ConnectTimeout, e.admit)
	e.server.enter(e)
}

// admit closes a session that is in no namespace in time.
func (e *engine) admit() {
	e.mu.Lock()
	inside := e.inside
	e.mu.Unlock()
	if !inside {
		e.close(ConnectTimeout)
	}
}

// close ends the session in the way that fits the reason. If it is the
// client's fault, or its end, nobody waits for it; if it is the server's wish,
// a polling client that is between two GETs is told by the next.
func (e *engine) close(reason Reason) {
	switch reason {
	case TransportError, TooSlow, Displaced:
		e.end(reason, ending{abort: true})
	case RateExceeded:
		// To wait for the answer to a close frame is to read on.
		e.end(reason, ending{abort: true, farewell: engineClose})
	case TransportClose, PingTimeout, ParseError, ServerError:
		e.end(reason, ending{farewell: engineClose})
	default:
		e.end(reason, ending{farewell: engineClose, linger: true})
	}
}

// ending says what a client is told at the end.
type ending struct {
	abort    bool // WebSocket: no close frame, no waiting
	farewell byte // polling: the last packet
	alone    bool // polling: nothing goes before the farewell
	linger   bool // polling: wait for a GET if none is pending
}

func (e *engine) end(reason Reason, how ending) {
	s := e.server
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	e.closed, e.reason = true, reason
	sockets := e.sockets
	e.sockets = nil
	joined, started := e.joined, e.started
	conn, probe := e.conn.Load(), e.probe
	if e.admission != nil {
		e.admission.Stop()
	}
	if e.beat != nil {
		e.beat.Stop()
	}
	keep := false
	if conn == nil {
		if how.alone {
			e.lane.Clear()
		}
		e.farewell = []byte{how.farewell}
		switch {
		case e.poll != nil:
			e.poll.signal()
		case how.linger:
			keep = true
			e.beat = time.AfterFunc(lingering, func() { s.remove(e) })
		default:
			e.farewell = nil
		}
	}
	e.mu.Unlock()

	s.leave(e)
	if !joined {
		s.config.Logger.Debug("session closed without a namespace", "connection", e.number, "remote", e.remote, "reason", reason)
	}
	if !keep {
		s.remove(e)
	}
	if probe != nil {
		probe.Abort()
	}
	switch {
	case conn == nil:
	case how.abort:
		conn.Abort()
	default:
		conn.Hurry(closeGrace)
		e.wake() // the flusher writes the lane and the close frame
	}
	for _, socket := range sockets {
		socket.ended(reason)
	}
	if !started {
		return
	}
	transport := Polling
	if conn != nil {
		transport = WebSocket
	}
	s.config.Observer.Closed(transport, reason)
}
