package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"bms/actors"
	"bms/domain"
	"bms/projections"
	"bms/transport/auth"
	"bms/transport/commandbus"
	"bms/transport/eventlog"
	"bms/transport/telemetry"
)

// App is a node, wired. The log is in the middle: decisions go into it, read
// models and sockets follow it, and nothing passes by it.
//
//	       HTTP                                   Socket.IO
//	         │                                     │     ▲
//	  ┌── httpapi ──────────┐       ┌── sockets ───┘     │ frames
//	  │ queries     commands│       │commands            │
//	  │                     ▼       ▼                    │
//	  │                    commandbus                    │
//	  │                         ▼                        │
//	  │                     Deciders, an actor a stream  │
//	  │                         ▼ append                 │
//	  │      ┌── follow ─── eventlog ─── follow ──────> Hub: feed, rooms, connections
//	  ▼      ▼                  ▲
//	projections ── alerts ──────┘
//	         └──── transfers ──> commandbus
type App struct {
	cfg    *serveConfig
	logger *slog.Logger
	now    func() time.Time
	waits  waits

	log         *eventlog.Log
	verifier    *auth.Verifier
	limiter     *auth.ConnectLimiter
	projections *projections.Set
	system      *actors.System
	deciders    *actors.Deciders
	bus         *commandbus.Bus
	commands    *commandEdge
	sockets     *sockets
	metrics     *telemetry.Metrics
	refusals    *refusals
	tracing     *telemetry.Tracing
	spans       *telemetry.Spans // nil: none
	listener    net.Listener
	server      *http.Server
	front       front           // what the server serves
	served      chan struct{}   // closed when it has ended
	serveErr    error           // of the server, once served is closed
	signingKey  []byte          // HS256; nil without one
	draining    atomic.Bool     // not ready any more
	found       domain.Position // the log's head when it was opened
	admits      atomic.Bool     // users are known up to found

	closers []func() error // in the order of opening
}

// drainTime bounds a stop: 15 s, less what closing files takes.
const drainTime = 13 * time.Second

// serve runs a node until the context ends.
func serve(ctx context.Context, cfg *serveConfig, stdout, stderr io.Writer) error {
	if err := cfg.check(); err != nil {
		return err
	}
	var level slog.LevelVar
	level.Set(cfg.logLevel)
	logger := newLogger(cfg, stderr, &level)
	defer switchLevel(&level, logger)()
	app := newApp(cfg, logger)
	if err := app.open(ctx); err != nil {
		return err
	}
	if err := app.announce(stdout); err != nil {
		return errors.Join(err, app.Close())
	}
	return errors.Join(app.Run(ctx), app.Close())
}

// newApp makes a node that is yet to be opened.
func newApp(cfg *serveConfig, logger *slog.Logger) *App {
	return &App{cfg: cfg, logger: logger, now: time.Now, waits: usualWaits()}
}

// open takes port and data folder and builds the node on them. Meanwhile it
// answers that it lives and isn't ready; nothing else runs before Run. The error
// is one line that names the flag; nothing is open then.
func (a *App) open(ctx context.Context) error {
	for _, part := range []struct {
		what string
		open func(context.Context) error
	}{
		{"the port", a.listen},
		{"telemetry", a.openTelemetry},
		{"the server", a.openServer},
		{"the log", a.openLog},
		{"keys", a.openAuth},
		{"read models", a.openProjections},
		{"the write path", a.openDeciders},
		{"sockets", a.openSockets},
		{"the API", a.openHTTP},
	} {
		a.front.opening("opening " + part.what)
		if err := part.open(ctx); err != nil {
			return errors.Join(err, a.Close())
		}
	}
	return nil
}

// Run serves until the context ends, and then drains: it takes no more
// commands and connections, finishes what it has, and returns nil. It returns
// an error when a part of the node fails. It may be called once.
func (a *App) Run(ctx context.Context) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	g, work := errgroup.WithContext(work)
	g.Go(func() error { return a.verifier.Run(work) })
	g.Go(func() error { return a.projections.Run(work) })
	g.Go(func() error { return a.bus.Run(work) })
	g.Go(func() error { return a.sockets.run(work) })
	g.Go(func() error {
		<-a.served
		return a.serveErr
	})
	if a.cfg.demo {
		demo := demo{do: a.bus.Do, logger: a.logger, now: a.now, run: uuid.NewString()}
		g.Go(func() error {
			if err := demo.Run(ctx); err != nil {
				a.logger.Error("demo ends", "error", err) // the node goes on without it
			}
			return nil
		})
	}
	select {
	case <-ctx.Done():
	case <-work.Done(): // a part has failed
	}
	drained, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	a.drain(drained)
	stopWork()
	return g.Wait()
}

// drain ends what comes from outside: the port is closed, requests under way
// are answered while sockets are asked to come back, and then commands under
// way are decided.
func (a *App) drain(ctx context.Context) {
	a.logger.Info("draining")
	a.draining.Store(true)
	var edges sync.WaitGroup
	edges.Go(func() { a.sockets.drain(ctx) })
	edges.Go(func() { a.finish("requests", a.server.Shutdown(ctx)) })
	edges.Wait()
	a.finish("commands", a.bus.Close(ctx))
	a.finish("decisions", a.deciders.Close(ctx))
}

// finish logs what could not be finished in time.
func (a *App) finish(what string, err error) {
	if err != nil {
		a.logger.Warn("draining took too long", "what", what, "error", err)
	}
}

// Close lets go of everything, in the reverse order of opening. It is called
// after Run has returned, or instead of Run.
func (a *App) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}

func (a *App) closeWith(f func() error) { a.closers = append(a.closers, f) }
