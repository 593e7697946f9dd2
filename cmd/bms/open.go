package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"bms/actors"
	"bms/domain"
	"bms/projections"
	"bms/transport/auth"
	"bms/transport/commandbus"
	"bms/transport/eventlog"
	"bms/transport/httpapi"
	"bms/transport/telemetry"
)

// This file opens the parts of an App, in the order in which open calls.

// listen takes the port, before anything is touched on disk.
func (a *App) listen(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", a.cfg.addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("--addr %s is in use: stop who listens there, or choose another", a.cfg.addr)
	case err != nil:
		return fmt.Errorf("--addr %s: %w", a.cfg.addr, err)
	}
	a.listener = newPoliteListener(failingListener(listener))
	a.closeWith(func() error {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) { // by the server
			return err
		}
		return nil
	})
	return nil
}

func (a *App) openTelemetry(ctx context.Context) (err error) {
	a.metrics = telemetry.NewMetrics()
	a.refusals = newRefusals(a.metrics, a.logger, a.now)
	if a.tracing, err = telemetry.NewTracing(ctx, a.logger, version()); err != nil {
		return err
	}
	a.spans = telemetry.NewSpans(a.tracing.Provider, a.now)
	a.closeWith(func() error {
		// What a collector that is down can't take is lost, and no reason to
		// exit with an error.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.waits.traces)
		defer cancel()
		if err := a.tracing.Shutdown(ctx); err != nil {
			a.logger.Warn("last traces are lost", "error", err)
		}
		return nil
	})
	return nil
}

// openServer serves from here on: until all is open, that it is being opened.
func (a *App) openServer(context.Context) error {
	a.front.set(&httpapi.Opening{
		Reason: a.front.doing, Metrics: a.metrics.Handler(), AllowOrigin: a.allowOrigin, TrustedProxies: a.cfg.proxies, Refused: a.refusals.request,
	})
	a.server = httpapi.NewServer(httpapi.ServerConfig{
		Handler: &a.front, TrustedProxies: a.cfg.proxies, Refused: a.refusals.request, Logger: a.logger,
	})
	a.served = make(chan struct{})
	go func() {
		defer close(a.served)
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			a.serveErr = fmt.Errorf("serve on %s: %w", a.listener.Addr(), err)
		}
	}()
	a.closeWith(a.closeServer)
	return nil
}

// closeServer may be called any number of times.
func (a *App) closeServer() error {
	err := a.server.Close()
	<-a.served
	return err
}

// openLog takes the data folder.
func (a *App) openLog(ctx context.Context) (err error) {
	a.log, err = eventlog.Open(ctx, eventlog.Config{
		Dir: a.cfg.dataDir, Durability: a.cfg.durability, Logger: a.logger, Now: a.now,
		Observe: func(t eventlog.Transaction) { a.metrics.Wrote(t.Commits, t.Took, t.Err) },
	})
	switch {
	case errors.Is(err, eventlog.ErrInUse):
		return fmt.Errorf("--data %s is in use by another node: %w", a.cfg.dataDir, err)
	case err != nil:
		return fmt.Errorf("--data %s: %w", a.cfg.dataDir, err)
	}
	a.closeWith(a.log.Close)
	if a.cfg.durability == eventlog.Relaxed {
		a.logger.Warn("durability is relaxed: a power cut can take back up to a second of answered commands")
	}
	return nil
}

// openAuth makes the judges of tokens and of how often a user connects.
func (a *App) openAuth(context.Context) (err error) {
	secret := []byte(a.cfg.jwtSecret)
	if a.cfg.dev && len(secret) == 0 {
		if secret, err = makeDevKey(a.cfg.dataDir); err != nil {
			return fmt.Errorf("--data %s: %w", a.cfg.dataDir, err)
		}
	}
	a.signingKey = secret
	a.verifier, err = auth.New(auth.Config{
		Secret: secret, JWKSURL: a.cfg.jwksURL, Issuer: a.cfg.jwtIssuer, Audience: a.cfg.jwtAudience,
		Logger: a.logger, Now: a.now,
	})
	if err != nil {
		return fmt.Errorf("--jwks-url: %w", err)
	}
	a.limiter = auth.NewConnectLimiter(auth.LimiterConfig{New: a.cfg.connectRate, Now: a.now})
	return nil
}

// openProjections opens the read models, a folder beside the log.
func (a *App) openProjections(ctx context.Context) (err error) {
	a.found = a.log.Head()
	a.projections, err = projections.Open(ctx, failingProjections(projections.Config{
		Dir: projectionsDir(a.cfg.dataDir), Log: a.log, Append: a.spans.Log(a.log), Commands: a.courier,
		AlertsRepeat: a.cfg.alertsRepeat, Logger: a.logger, Now: a.now,
		Observe: a.observeProjections(),
	}))
	if err != nil {
		return fmt.Errorf("--data %s: %w", a.cfg.dataDir, err)
	}
	a.closeWith(a.projections.Close)
	return nil
}

// openDeciders makes the write path: the bus, and the actors behind it.
func (a *App) openDeciders(context.Context) (err error) {
	if a.system, err = actors.NewSystem(a.logger); err != nil {
		return err
	}
	a.deciders, err = actors.NewDeciders(failingDeciders(actors.DecidersConfig{
		System: a.system, Log: a.spans.Log(a.log), Load: a.loadStream, LoadRows: a.projections.LoadRows, Logger: a.logger, Now: a.now,
		Observe: a.observeDeciders(),
	}))
	if err != nil {
		return err
	}
	a.closeWith(func() error { return a.deciders.Close(context.Background()) })
	a.bus, err = commandbus.New(failingBus(commandbus.Config{
		Submit: a.deciders.Submit, TracerProvider: a.tracing.Provider, Logger: a.logger,
	}))
	if err != nil {
		return err
	}
	a.closeWith(func() error { return a.bus.Close(context.Background()) })
	a.commands = &commandEdge{
		bus: a.bus, log: a.log, projections: a.projections, waits: a.waits, logger: a.logger,
		followUps: &followUps{do: a.bus.Do, wait: a.waits.followUps, now: a.now, logger: a.logger},
	}
	return nil
}

// courier gives the commands that transfers entail. The bus is opened after
// the projections, and runs with them.
func (a *App) courier(ctx context.Context, cmd domain.Command) (*domain.Commit, error) {
	return a.bus.Do(ctx, cmd)
}

// loadStream gives the actor of a branch the state that the branches
// projection keeps; other streams are short and read from the log.
func (a *App) loadStream(ctx context.Context, stream string) (domain.State, uint64, error) {
	if !strings.HasPrefix(stream, domain.StreamOfBranch("")) {
		return nil, 0, nil
	}
	return a.projections.LoadBranch(ctx, stream)
}

// openSockets makes the read path: feed, rooms and connections.
func (a *App) openSockets(context.Context) (err error) {
	if a.sockets, err = newSockets(a); err != nil {
		return err
	}
	a.closeWith(a.sockets.close)
	return nil
}

// openHTTP puts everything that is served behind the server.
func (a *App) openHTTP(context.Context) error {
	api, err := httpapi.New(httpapi.Config{
		Commands: a.commands.do, Identify: a.identify, Read: a.projections, Log: a.log, Sockets: a.sockets.hub,
		Ready: a.unready, Metrics: a.metrics.Handler(), Observe: a.metrics.Request, Refused: a.refusals.request,
		Tracing:     a.tracing.Provider,
		AllowOrigin: a.allowOrigin, TrustedProxies: a.cfg.proxies, MaxBody: a.cfg.maxPayload,
		FreshWait: a.waits.fresh, Version: version(), Logger: a.logger, Now: a.now,
	})
	if err != nil {
		return err
	}
	a.metrics.Watch(a.sources())
	mux := http.NewServeMux()
	a.sockets.mount(mux)
	mux.Handle("/", api)
	a.front.set(failingHandler(a.gate(mux)))
	a.closeWith(a.closeServer) // first of all, though it was opened early
	return nil
}

// identify judges the token of a request.
func (a *App) identify(r *http.Request) (domain.Identity, error) {
	token, err := a.verifier.Verify(r.Context(), auth.FromHeader(r))
	return token.Identity, err
}

// unready says why this node should get no traffic now.
func (a *App) unready() (reasons []string) {
	if a.draining.Load() {
		reasons = append(reasons, "draining")
	}
	if err := a.verifier.Ready(); err != nil {
		reasons = append(reasons, err.Error())
	}
	if err := a.log.Failing(); err != nil {
		reasons = append(reasons, err.Error())
	}
	if reason := nearlyFull(a.cfg.dataDir); reason != "" {
		reasons = append(reasons, reason)
	}
	reasons = append(reasons, a.projections.Unready()...)
	return append(reasons, a.sockets.unready()...)
}
