package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"go.opentelemetry.io/otel/trace"

	"bms/actors"
	"bms/domain"
	"bms/projections"
)

// Config is what the API needs. Commands, Identify, Read and Log must be
// given.
type Config struct {
	// Commands has a command decided and returns its commit once it is
	// durable, and known to Read if it changes a user; a *domain.Rejection for
	// a "no". A command that is repeated under its key gives the commit it gave
	// before.
	Commands func(context.Context, domain.Command) (*domain.Commit, error)
	// Identify reads who asks off a request's token. The error is a
	// *domain.Rejection.
	Identify func(*http.Request) (domain.Identity, error)
	// Read is the read models, and what the log says of users.
	Read *projections.Set
	// Log is read by GET /api/events, and keeps what operators have done under
	// an Idempotency-Key.
	Log domain.Log
	// Sockets is who is connected. Nil means that this node takes nobody.
	Sockets Sockets
	// Started is when the node started. Zero value means now.
	Started time.Time
	// Ready says why this node should get no traffic now; empty for ready.
	// Nil means always ready.
	Ready func() []string
	// Metrics answers GET /metrics. Nil means there is no such route.
	Metrics http.Handler
	// Observe is told of each request: the route's pattern ("other" for
	// none), the status, and how long it took. Nil means nobody.
	Observe func(route string, status int, took time.Duration)
	// Refused is told of each problem that was answered. Nil means nobody.
	Refused func(Refusal)
	// Tracing makes a span per request of a sampled trace. Nil means none;
	// trace context goes on to the log all the same.
	Tracing trace.TracerProvider
	// AllowOrigin says of an origin, exactly as the browser sends it, whether
	// its pages may read answers. Nil means none may.
	AllowOrigin func(origin string) bool
	// TrustedProxies are the only ones whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// MaxBody bounds a request's body, in bytes. Zero value means 1 MB.
	MaxBody int64
	// CommandBytes bounds the bodies of commands that are decoded and not yet
	// answered, in bytes of them all as they came; one alone may be larger. One
	// more is answered "busy". Zero value means 64 MB.
	CommandBytes int64
	// CommandTimeout bounds the wait for a command's answer, whose outcome is
	// unknown then. Zero value means 10 seconds.
	CommandTimeout time.Duration
	// ReadTimeout bounds the wait for a read model to reach minPos. Zero value
	// means 5 seconds.
	ReadTimeout time.Duration
	// FreshWait bounds the wait of a read for what was in the log when it came.
	// A read model is some milliseconds behind a write: this is for clients that
	// write and then read, and know nothing of positions. Zero value means
	// 100 milliseconds.
	FreshWait time.Duration
	// Version is the API's version in the OpenAPI document. Default: "1.0.0".
	Version string
	// Logger gets a line per fault. Nil means none.
	Logger *slog.Logger
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Sockets is what the API shows of the socket side: an *actors.Hub.
type Sockets interface {
	Stats() actors.HubStats
	Connections() []actors.ConnectionInfo
	RoomInfos() []actors.RoomInfo
	// Kick ends a connection, which is not to come back by itself. It reports
	// whether there was one.
	Kick(sid string) bool
}

func (c *Config) check() error {
	switch {
	case c.Commands == nil:
		return errors.New("httpapi: Commands is not set")
	case c.Identify == nil:
		return errors.New("httpapi: Identify is not set")
	case c.Read == nil:
		return errors.New("httpapi: Read is not set")
	case c.Log == nil:
		return errors.New("httpapi: Log is not set")
	}
	if c.MaxBody < 0 {
		return fmt.Errorf("httpapi: MaxBody is %d", c.MaxBody)
	}
	if c.CommandBytes < 0 {
		return fmt.Errorf("httpapi: CommandBytes is %d", c.CommandBytes)
	}
	return nil
}

func (c *Config) defaults() {
	if c.Sockets == nil {
		c.Sockets = noSockets{}
	}
	if c.Ready == nil {
		c.Ready = func() []string { return nil }
	}
	if c.MaxBody == 0 {
		c.MaxBody = 1_000_000
	}
	if c.CommandBytes == 0 {
		c.CommandBytes = 64 << 20
	}
	if c.CommandTimeout == 0 {
		c.CommandTimeout = 10 * time.Second
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 5 * time.Second
	}
	if c.FreshWait == 0 {
		c.FreshWait = 100 * time.Millisecond
	}
	if c.Version == "" {
		c.Version = "1.0.0"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Started.IsZero() {
		c.Started = c.Now()
	}
}

// noSockets stands for a node that takes none.
type noSockets struct{}

func (noSockets) Stats() actors.HubStats               { return actors.HubStats{} }
func (noSockets) Connections() []actors.ConnectionInfo { return nil }
func (noSockets) RoomInfos() []actors.RoomInfo         { return nil }
func (noSockets) Kick(string) bool                     { return false }
