package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"bms/domain"
)

// subscriberConfig sets up a Subscriber.
type subscriberConfig struct {
	name      string
	identity  domain.Identity
	namespace string
	transport string
	// since makes the client keep its cursor itself (auth.since) rather than
	// leave it to connection state recovery (pid and offset).
	since bool
	slow  bool // its latencies don't count
	token string
	base  *url.URL
	// keep has every event kept, for Check.
	keep  bool
	clock *clock
	seen  *meters
	seed  uint64
}

// Subscriber is one client on a socket, over all its reconnects. It comes back
// whenever the connection is lost, as stock clients do.
type Subscriber struct {
	cfg    subscriberConfig
	tap    *tap
	dialer *dialer
	random *rand.Rand // of the running goroutine

	ready chan struct{}                      // closed with the first session
	last  atomic.Uint64                      // sequence of the last event
	cut   atomic.Pointer[context.CancelFunc] // ends the session

	// The rest is the running goroutine's own, and read when it has ended.
	pid, offset string
	here        bool // with a session
	order       Received
	conn        Connection
}

func newSubscriber(cfg subscriberConfig) *Subscriber {
	s := &Subscriber{cfg: cfg, tap: newTap(), ready: make(chan struct{}), random: rand.New(rand.NewPCG(cfg.seed, 1))}
	s.conn = Connection{Name: cfg.name, Identity: cfg.identity, Namespace: cfg.namespace}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return s.tap.on(c), nil
		},
		DisableCompression: true, ReadBufferSize: 2048, WriteBufferSize: 2048,
	}
	s.dialer = &dialer{base: cfg.base, client: &http.Client{Transport: transport}, timeout: 20 * time.Second}
	return s
}

// Pause has the client read nothing for a while, Trickle a byte a second. Both
// end with Resume and with the connection.
func (s *Subscriber) Pause() { s.tap.set(paused) }

// Trickle is described at Pause.
func (s *Subscriber) Trickle() { s.tap.set(trickling) }

// Resume is described at Pause.
func (s *Subscriber) Resume() { s.tap.set(flowing) }

// Drop cuts the client's connection on its side. It comes back.
func (s *Subscriber) Drop() {
	if cut := s.cut.Load(); cut != nil {
		(*cut)()
	}
}

// refusal is a CONNECT_ERROR.
type refusal struct {
	Message string `json:"message"`
	Data    struct {
		Code       string  `json:"code"`
		RetryAfter float64 `json:"retryAfter"`
	} `json:"data"`
}

func (r *refusal) Error() string { return "refused: " + r.Data.Code + ": " + r.Message }

// final reports whether coming back unchanged is of no use.
func (r *refusal) final() bool {
	switch r.Data.Code {
	case domain.CodeRateLimited, domain.CodeOverloaded, domain.CodeDraining, "":
		return false
	}
	return true
}

// errServerDisconnect is the server's DISCONNECT: a stock client stays away.
var errServerDisconnect = errors.New("the server has disconnected the client")

// run connects, again and again, until the context ends or the server says for
// good that it won't.
func (s *Subscriber) run(ctx context.Context) error {
	defer s.dialer.client.CloseIdleConnections()
	for {
		err := s.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// Stock clients wait 0.5 to 1.5 s at first; this one is in a hurry.
		wait := time.Duration(50+s.random.IntN(450)) * time.Millisecond
		no, refused := errors.AsType[*refusal](err)
		switch {
		case refused && no.final(), errors.Is(err, errServerDisconnect), errors.Is(err, errProtocol), plainFinal(err):
			return fmt.Errorf("subscriber %s: %w", s.cfg.name, err)
		case refused && no.Data.RetryAfter > 0:
			wait += time.Duration(no.Data.RetryAfter * float64(time.Second))
		}
		s.cfg.seen.disconnects.Add(1)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// session is one connection from its beginning to its end.
func (s *Subscriber) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.cut.Store(&cancel)
	s.tap.set(flowing)
	if s.cfg.transport == Plain {
		return s.plainSession(ctx)
	}
	l, open, err := s.dialer.dial(ctx, s.cfg.transport)
	if err != nil {
		return err
	}
	defer l.close()
	stop := context.AfterFunc(ctx, l.close)
	defer stop()
	// A server that falls silent is gone: that is how a client notices a
	// connection that only looks open.
	silence := time.AfterFunc(open.heartbeat(), cancel)
	defer silence.Stop()

	auth, resumed := s.auth()
	if err := l.send("40" + s.cfg.namespace + "," + auth); err != nil {
		return err
	}
	defer s.left()
	for {
		packet, err := l.next()
		if err != nil {
			return err
		}
		if len(packet) == 0 {
			continue
		}
		switch packet[0] {
		case '2':
			silence.Reset(open.heartbeat())
			err = l.send("3")
		case '1':
			return errors.New("the server has closed the session")
		case '4':
			err = s.message(packet, resumed)
		}
		if err != nil {
			return err
		}
	}
}

// auth is what the client says when it connects, and whether it says where it
// was.
func (s *Subscriber) auth() (payload string, resumes bool) {
	say := map[string]string{"token": s.cfg.token}
	switch {
	case s.offset == "":
	case s.cfg.since:
		say["since"], resumes = s.offset, true
	case s.pid != "":
		say["pid"], say["offset"], resumes = s.pid, s.offset, true
	}
	b, err := json.Marshal(say)
	if err != nil { // strings always marshal
		panic(err)
	}
	return string(b), resumes
}

// errProtocol is what a server must not send.
var errProtocol = errors.New("not the protocol")

// message handles an Engine.IO message, a Socket.IO packet.
func (s *Subscriber) message(packet []byte, resumed bool) error {
	if f, ok := parseFrame(packet, s.cfg.namespace); ok {
		return s.frame(f, resumed)
	}
	switch {
	case len(packet) < 2:
		return fmt.Errorf("%w: %q", errProtocol, packet)
	case packet[1] == '0':
		_, payload, _ := strings.Cut(string(packet), ",")
		var id struct {
			PID string `json:"pid"`
		}
		if err := json.Unmarshal([]byte(payload), &id); err != nil {
			return fmt.Errorf("%w: %.200q", errProtocol, packet)
		}
		s.pid = id.PID
		return nil
	case packet[1] == '4':
		_, payload, _ := strings.Cut(string(packet), ",")
		no := &refusal{}
		if err := json.Unmarshal([]byte(payload), no); err != nil {
			return fmt.Errorf("%w: %.200q", errProtocol, packet)
		}
		return no
	case packet[1] == '1':
		return errServerDisconnect
	default:
		return fmt.Errorf("%w: %.200q", errProtocol, packet)
	}
}

// frame handles what comes in line with the events.
func (s *Subscriber) frame(f frame, resumed bool) error {
	var err error
	switch {
	case f.isEvent():
		err = s.event(f)
	case string(f.name) == "session":
		err = s.begin(f, resumed)
	}
	if err == nil {
		s.offset = string(f.offset)
	}
	return err
}

// left counts the end of a session that had begun.
func (s *Subscriber) left() {
	if s.here {
		s.here = false
		s.cfg.seen.connected.Add(-1)
	}
}

func (s *Subscriber) begin(f frame, resumed bool) error {
	info, err := f.session()
	if err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	if len(s.conn.Opens) == 0 {
		close(s.ready)
	} else {
		s.cfg.seen.resumes.Add(1)
	}
	if !resumed || !info.Recovered {
		s.order = Received{Seq: info.Pos.Seq, Index: info.Pos.Index}
	}
	if !s.here {
		s.here = true
		s.cfg.seen.connected.Add(1)
	}
	s.conn.Opens = append(s.conn.Opens, Open{At: len(s.conn.Received), Cursor: resumed, Pos: info.Pos, Recovered: info.Recovered})
	return nil
}

func (s *Subscriber) event(f frame) error {
	r, err := f.received()
	if err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	s.cfg.seen.events.Add(1)
	if !s.cfg.slow {
		s.cfg.seen.delivered(f, s.cfg.clock)
	}
	if !r.pos().After(s.order.pos()) {
		s.cfg.seen.disorder.Add(1)
	}
	s.order = r
	if s.cfg.keep {
		s.conn.Received = append(s.conn.Received, r)
	}
	s.last.Store(r.Seq)
	return nil
}
