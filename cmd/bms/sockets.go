package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"bms/actors"
	"bms/domain"
	"bms/projections"
	"bms/transport/auth"
	"bms/transport/eventlog"
	"bms/transport/socketio"
	"bms/transport/telemetry"
)

// namespaces are those of the socket interface; a namespace's index is that of
// its codec in the hub.
var namespaces = []string{domain.NamespaceAll, domain.NamespaceAdmin, domain.NamespacePOS}

// sockets is the socket edge: it makes connections of the hub out of clients
// of the Socket.IO server.
//
//	client ── CONNECT ──> connect: token, rate, cursor ──> Hub.Connect
//	client <── frames ─── flusher <── pull ── Connection.Next
//	client ── events ───> socketReceiver ──> Connection.Event, or the command bus
type sockets struct {
	hub         *actors.Hub
	server      *socketio.Server
	ids         *sessionIDs
	log         *eventlog.Log
	verifier    *auth.Verifier
	limiter     *auth.ConnectLimiter
	projections *projections.Set
	commands    func(context.Context, domain.Command) (*domain.Commit, error)
	metrics     *telemetry.Metrics
	durability  string
	logger      *slog.Logger
	now         func() time.Time

	mu      sync.Mutex // guards clients
	clients map[uint64]int
}

// newSockets makes the socket edge of a node whose log, write path and read
// models are open.
func newSockets(a *App) (*sockets, error) {
	ids, err := openSessionIDs(a.cfg.dataDir)
	if err != nil {
		return nil, fmt.Errorf("--data %s: %w", a.cfg.dataDir, err)
	}
	s := &sockets{
		ids: ids, log: a.log, verifier: a.verifier, limiter: a.limiter, projections: a.projections,
		commands: a.bus.Do, metrics: a.metrics, durability: a.log.Durability(), logger: a.logger, now: a.now,
		clients: map[uint64]int{},
	}
	codecs := make([]actors.Codec, len(namespaces))
	for i, ns := range namespaces {
		codecs[i] = socketCodec{ns}
	}
	s.hub, err = actors.NewHub(actors.HubConfig{
		System: a.system, Log: a.log, Codecs: codecs, Verify: s.verify, Branches: s.branchIDs,
		RoomIdle: a.cfg.roomIdle, Fed: a.metrics.Fed, Delivered: a.metrics.Delivered, Logger: a.logger, Now: a.now,
	})
	if err != nil {
		return nil, err
	}
	s.server, err = socketio.New(socketio.Config{
		PingInterval: a.cfg.pingInterval, PingTimeout: a.cfg.pingTimeout, MaxPayload: int(a.cfg.maxPayload),
		AllowOrigin: func(r *http.Request, origin string) bool {
			return a.allowOrigin(origin) || sameOrigin(r, origin)
		},
		Logger: a.logger,
		Observer: socketio.Observer{
			Refused: a.metrics.Refused,
			Joined:  a.metrics.Connected,
			Left:    func(ns string, reason socketio.Reason) { a.metrics.Disconnected(ns, string(reason)) },
		},
	})
	if err != nil {
		s.hub.Close()
		return nil, err
	}
	for i, ns := range namespaces {
		s.server.Of(ns, socketio.NamespaceFunc(func(ctx context.Context, sock *socketio.Socket, h socketio.Handshake) (socketio.Session, error) {
			return s.connect(ctx, sock, h, i)
		}))
	}
	return s, nil
}

// sameOrigin reports whether a page is this server's own.
func sameOrigin(r *http.Request, origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// branchIDs lists all branches, for the rooms that an admin is shown.
func (s *sockets) branchIDs() []string {
	var ids []string
	q := projections.BranchesQuery{Limit: projections.MaxLimit}
	for {
		page, err := s.projections.Branches(context.Background(), q)
		if err != nil { // shown, not relied on
			s.logger.Warn("list branches", "error", err)
			return ids
		}
		for _, b := range page.Items {
			ids = append(ids, b.BranchID)
		}
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			return ids
		}
	}
}

// close ends what drain left. No client is served any more.
func (s *sockets) close() error {
	err := s.server.Close()
	s.hub.Close()
	return err
}

// ServeHTTP serves Engine.IO.
func (s *sockets) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.server.ServeHTTP(w, r) }

// authPayload is what a client says when it connects. since is for clients that
// keep their cursor themselves; stock ones send pid and offset.
type authPayload struct {
	Token string `json:"token"`
	Since string `json:"since"`
}

// connect answers a client that asks for a namespace.
func (s *sockets) connect(ctx context.Context, sock *socketio.Socket, h socketio.Handshake, codec int) (socketio.Session, error) {
	var said authPayload
	if len(h.Auth) > 0 {
		if err := json.Unmarshal(h.Auth, &said); err != nil {
			return socketio.Session{}, refusal(domain.Reject(domain.CodeUnauthorized, "auth must be {token} with a signed token"))
		}
	}
	token, err := s.verifier.Verify(ctx, said.Token)
	if err != nil {
		return socketio.Session{}, refusal(err)
	}
	user := token.Identity.UserID

	sid, cursor := "", said.Since
	if own, ok := s.ids.open(h.PID, user, h.Namespace); ok {
		sid, cursor = own, h.Offset
	}
	resuming := s.valid(cursor)
	if sid == "" || !resuming {
		sid = s.ids.newSID()
	}
	if no := s.admit(h.Connection, user, resuming); no != nil {
		return socketio.Session{}, refusal(no)
	}
	conn, recovered, err := s.hub.Connect(ctx, actors.ConnectRequest{
		Identity: token.Identity, ExpiresAt: token.ExpiresAt, Namespace: h.Namespace,
		SID: sid, Cursor: cursor, Codec: codec, Transport: socketTransport{sock},
	})
	if err != nil {
		s.release(h.Connection)
		return socketio.Session{}, s.refused(err)
	}
	pid := h.PID
	if own, ok := s.ids.open(pid, user, h.Namespace); !ok || !recovered || own != sid {
		// The client takes itself as recovered exactly when its own pid
		// comes back.
		pid = s.ids.newPID(sid, user, h.Namespace)
	}
	return socketio.Session{SID: sid, PID: pid, Source: conn, Receiver: &socketReceiver{s, conn, h.Connection}}, nil
}

// valid reports whether a cursor can be gone on from.
func (s *sockets) valid(cursor string) bool {
	p, err := domain.ParsePosition(cursor)
	return err == nil && s.log.Check(p) == nil
}

// admit counts a client against its user's connection rate, once for all the
// namespaces that it has at a time.
func (s *sockets) admit(connection uint64, userID string, resuming bool) *domain.Rejection {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[connection] == 0 {
		if wait, ok := s.limiter.Allow(userID, resuming); !ok {
			no := domain.Reject(domain.CodeRateLimited, "too many connections, come back in %v", wait.Round(time.Second))
			no.Details = map[string]any{"retryAfter": max(1, int(math.Ceil(wait.Seconds())))}
			return no
		}
	}
	s.clients[connection]++
	return nil
}

func (s *sockets) release(connection uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[connection]--; s.clients[connection] <= 0 {
		delete(s.clients, connection)
	}
}

// refused makes the answer to a failed Hub.Connect.
func (s *sockets) refused(err error) error {
	if no, ok := errors.AsType[*domain.Rejection](err); ok {
		return refusal(no)
	}
	s.logger.Error("connect", "error", err)
	return refusal(domain.Reject(domain.CodeOverloaded, "the server cannot read its log now, come back"))
}

// refusal is a CONNECT_ERROR: {message, data: {code, …}}.
func refusal(err error) error {
	no, ok := errors.AsType[*domain.Rejection](err)
	if !ok {
		return err
	}
	data := map[string]any{"code": no.Code}
	for k, v := range no.Details {
		data[k] = v
	}
	return &socketio.ConnectError{Message: no.Message, Data: data}
}

// verify judges a token that a connection is refreshed with.
func (s *sockets) verify(ctx context.Context, token string) (domain.Identity, time.Time, error) {
	t, err := s.verifier.Verify(ctx, token)
	return t.Identity, t.ExpiresAt, err
}

// socketTransport is a Socket.IO socket as the hub knows it.
type socketTransport struct{ socket *socketio.Socket }

func (t socketTransport) Wake() { t.socket.Wake() }

// Close tells a client that is not to come back unchanged so ("io server
// disconnect": it stays away until the program connects again), and only drops
// the connection of one that is to come back by itself.
func (t socketTransport) Close(reason actors.EndReason) {
	switch reason {
	case actors.EndKicked, actors.EndRights, actors.EndUnauthorized:
		t.socket.Disconnect(false)
	default:
		t.socket.CloseEngine(socketio.Reason(reason))
	}
}

// socketReceiver takes what a client sends.
type socketReceiver struct {
	sockets    *sockets
	conn       *actors.Connection
	connection uint64
}

// Event hands rooms and refreshes to the connection, commands to the bus.
func (r *socketReceiver) Event(name string, args []json.RawMessage, _ [][]byte, ack func(...any)) {
	answer := func(any) {}
	if ack != nil {
		answer = func(v any) { ack(v) }
	}
	switch {
	case r.conn.Event(name, args, answer):
	case name == "command":
		r.sockets.command(r.conn, args, answer)
	default:
		answer(actors.Refusal(domain.Invalid(domain.FieldError{Field: "event", Message: fmt.Sprintf("%.64q is not an event that the server takes", name)})))
	}
}

// Closed ends the connection.
func (r *socketReceiver) Closed(reason socketio.Reason) {
	r.conn.Closed(string(reason))
	r.sockets.release(r.connection)
}

// socketCodec encodes for Socket.IO: an event is the event's name, the envelope
// and the position, which stock clients send back as their offset. Everything
// that is not an ack carries a position, since the client takes whatever string
// comes last for one.
type socketCodec struct{ namespace string }

func (c socketCodec) Event(e *domain.Event, cursor domain.Position) []byte {
	envelope := e.AppendEnvelope(make([]byte, 0, 256+len(e.Data)))
	return socketio.AppendEvent(nil, c.namespace, e.Type, envelope, quoted(cursor))
}

func (c socketCodec) Message(name string, data json.RawMessage, cursor domain.Position) []byte {
	return socketio.AppendEvent(nil, c.namespace, name, data, quoted(cursor))
}

func quoted(p domain.Position) json.RawMessage {
	b := append(make([]byte, 0, domain.PositionLen+2), '"')
	return append(p.AppendTo(b), '"')
}

// drain asks all clients to come back, in jittered waves.
func (s *sockets) drain(ctx context.Context) {
	s.hub.Drain()
	if err := s.server.Drain(ctx, drainSpread); err != nil {
		s.logger.Warn("draining took too long", "what", "sockets", "error", err)
	}
}

// drainSpread is the time over which clients are sent away, so that they don't
// all come back at once.
const drainSpread = 5 * time.Second

// run posts the statistics to admins once a second.
func (s *sockets) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before uint64
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		stats := s.hub.Stats()
		events := stats.Events - before
		before = stats.Events
		if stats.Namespaces[domain.NamespaceAdmin] == 0 {
			continue
		}
		data, err := json.Marshal(map[string]any{
			"connections": stats.Connections, "rooms": stats.Rooms, "namespaces": stats.Namespaces,
			"eventsPerSecond": events, "lag": stats.Lag,
		})
		if err != nil {
			return fmt.Errorf("encode stats: %w", err)
		}
		s.hub.Broadcast(domain.NamespaceAdmin, "stats", data)
	}
}

// unready says why clients are served badly now.
func (s *sockets) unready() []string {
	if err := s.hub.Frozen(); err != nil {
		return []string{"the feed stands still: " + err.Error()}
	}
	return nil
}
