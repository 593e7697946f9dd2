package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"bms/actors"
	"bms/domain"
	"bms/projections"
	"bms/transport/auth"
	"bms/transport/commandbus"
	"bms/transport/eventlog"
	"bms/transport/httpapi"
	"bms/transport/plainws"
	"bms/transport/sessions"
	"bms/transport/socketio"
	"bms/transport/telemetry"
	"bms/transport/wsframe"
)

// namespaces are those of the socket interface; a namespace's index is that of
// its codec in the hub.
var namespaces = []string{domain.NamespaceAll, domain.NamespaceAdmin, domain.NamespacePOS}

// sockets is the socket edge: it makes connections of the hub out of clients
// of the Socket.IO server and of plain WebSockets.
//
//	client ── CONNECT, upgrade ──> token, admission, cursor ──> Hub.Connect
//	client <── frames ──────────── flusher <── pull ── Connection.Next
//	client ── events, ops ───────> socketClient.op ──> Connection.Event, or the command bus
type sockets struct {
	hub         *actors.Hub
	server      *socketio.Server
	plainServer *plainws.Server
	ids         *sessionIDs
	sessions    *sessions.Store
	admission   *admission
	system      *actors.System
	refusals    *refusals
	watch       *feedWatch
	log         *eventlog.Log
	verifier    *auth.Verifier
	projections *projections.Set
	bus         *commandbus.Bus
	commands    *commandEdge
	metrics     *telemetry.Metrics
	spans       *telemetry.Spans // nil: none
	waits       waits
	logger      *slog.Logger
	now         func() time.Time
}

// newSockets makes the socket edge of a node whose log, write path and read
// models are open.
func newSockets(a *App) (*sockets, error) {
	ids, err := openSessionIDs(a.cfg.dataDir)
	if err != nil {
		return nil, fmt.Errorf("--data %s: %w", a.cfg.dataDir, err)
	}
	var hub *actors.Hub // who the sessions are of
	store, err := sessions.Open(context.Background(), sessions.Config{
		Dir: a.cfg.dataDir, Logger: a.logger, Now: a.now,
		InUse: func() []actors.SessionInUse {
			if hub == nil { // it is being made
				return nil
			}
			return hub.SessionsInUse()
		},
	})
	if err != nil {
		return nil, fmt.Errorf("--data %s: %w", a.cfg.dataDir, err)
	}
	s := &sockets{
		ids: ids, sessions: store, admission: newAdmission(a.limiter, a.cfg.userClients), refusals: a.refusals, system: a.system, log: a.log, verifier: a.verifier, projections: a.projections,
		bus: a.bus, commands: a.commands, metrics: a.metrics, spans: a.spans, waits: a.waits, logger: a.logger, now: a.now,
	}
	var codecs []actors.Codec
	for _, ns := range namespaces {
		codecs = append(codecs, socketioCodec{ns})
	}
	codecs = append(codecs, plainEncoder{})
	s.hub, err = actors.NewHub(failingHub(actors.HubConfig{
		System: a.system, Log: a.log, Codecs: codecs, Verify: s.verify, Branches: s.branchIDs, Unread: s.unread, Sessions: store,
		RoomIdle: a.cfg.roomIdle, Fed: a.metrics.Fed, Delivered: a.metrics.Delivered, Tracer: a.tracer(), Logger: a.logger, Now: a.now,
	}))
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	hub = s.hub
	s.watch = &feedWatch{
		log: func() uint64 { return s.log.Head().Seq }, feed: func() uint64 { return s.hub.Head().Seq }, now: s.now,
	}
	if s.server, err = s.newSocketIO(a); err == nil {
		s.plainServer, err = s.newPlain(a)
	}
	if err != nil {
		s.hub.Close()
		return nil, errors.Join(err, store.Close())
	}
	return s, nil
}

// wsConfig is what both protocols are bounded by.
func (a *App) wsConfig() wsframe.Config {
	return wsframe.Config{
		PingInterval: a.cfg.pingInterval, PingTimeout: a.cfg.pingTimeout, MaxPayload: int(a.cfg.maxPayload),
		CompressFrom: int(a.cfg.compressFrom), AllowOrigin: a.mayConnect, Logger: a.logger,
	}
}

// mayConnect judges the page that asks for a socket: an allowed origin and, as
// long as none are listed, a page of the host that it connects to. With a list
// there is nothing but the list: a name that was made to lead here (DNS
// rebinding) is not on it.
func (a *App) mayConnect(r *http.Request, origin string) bool {
	return a.allowOrigin(origin) || len(a.cfg.corsOrigins) == 0 && wsframe.SameOrigin(r, origin)
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

// verify judges a token that a connection is refreshed with.
func (s *sockets) verify(ctx context.Context, token string) (domain.Identity, time.Time, error) {
	t, err := s.verifier.Verify(ctx, token)
	return t.Identity, t.ExpiresAt, err
}

// mount adds what is served to a mux.
func (s *sockets) mount(mux *http.ServeMux) {
	mux.Handle("/socket.io/", s.inTurn(s.server))
	mux.Handle("/socket.io", s.server) // not found; the mux would redirect
	for _, ns := range namespaces {
		mux.Handle(ns, s.plain(ns))
	}
}

// drain asks all clients to come back, in jittered waves.
func (s *sockets) drain(ctx context.Context) {
	s.hub.Drain()
	var both sync.WaitGroup
	for what, drain := range map[string]func(context.Context, time.Duration) error{
		"Socket.IO": s.server.Drain, "WebSockets": s.plainServer.Drain,
	} {
		both.Go(func() {
			if err := drain(ctx, drainSpread); err != nil {
				s.logger.Warn("draining took too long", "what", what, "error", err)
			}
		})
	}
	both.Wait()
}

// close ends what drain left. No client is served any more.
func (s *sockets) close() error {
	var both sync.WaitGroup
	errs := make([]error, 2)
	both.Go(func() { errs[0] = s.server.Close() })
	both.Go(func() { errs[1] = s.plainServer.Close() })
	both.Wait()
	s.hub.Close()
	return errors.Join(append(errs, s.sessions.Close())...)
}

// drainSpread is the time over which clients are sent away, so that they don't
// all come back at once.
const drainSpread = 5 * time.Second

// run feeds the sockets, and says how they are, until the context ends.
func (s *sockets) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.hub.Run(ctx) })
	g.Go(func() error { return s.tell(ctx) })
	g.Go(func() error { return s.sessions.Run(ctx) })
	return g.Wait()
}

// tell posts the statistics to admins once a second, and notes how far behind
// each connection and the feed are.
func (s *sockets) tell(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before uint64
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		s.watch.look()
		var lag uint64
		s.hub.Lags(func(records uint64) {
			s.metrics.Lag(records)
			lag = max(lag, records)
		})
		stats := s.hub.Stats()
		events := stats.Events - before
		before = stats.Events
		if stats.Namespaces[domain.NamespaceAdmin] == 0 {
			continue
		}
		data, err := json.Marshal(httpapi.SocketStats{
			Connections: stats.Connections, Rooms: stats.Rooms, Namespaces: stats.Namespaces,
			EventsPerSecond: events, Lag: lag,
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
	return s.watch.unready()
}
