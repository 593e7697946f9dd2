package socketio

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"bms/transport/wsframe"
)

// Config says how a [Server] behaves. The zero value is usable.
type Config struct {
	// Path is the URL path served, beginning and ending with a slash. Zero
	// means "/socket.io/".
	Path string

	// Config bounds each connection. On polling, MaxPayload is also of a POST
	// body, and a packet counts as a frame; a packet with its attachments may
	// have four times MaxPayload. Before it has joined a namespace a client may
	// send 64 frames in all, and messages and bodies of 16 KB. AllowOrigin is
	// for polling and WebSocket alike: one that is refused is answered 403.
	// Polling compresses large bodies (gzip) whatever CompressFrom is.
	wsframe.Config

	// ConnectTimeout is the time a client has to join a namespace, at first and
	// once it has left the last one, and the deadline given to
	// Namespace.Connect. Zero means 45 s.
	ConnectTimeout time.Duration

	// UpgradeTimeout is the time a client has from opening a WebSocket for a
	// polling session to finishing the upgrade. Zero means 10 s.
	UpgradeTimeout time.Duration

	// MaxSessions bounds the Engine.IO sessions, MaxUnauthenticated those of
	// them that are in no namespace. Beyond, a new one takes the place of the
	// oldest that is in no namespace, and of one that has sent nothing if there
	// is any. If all are in namespaces a handshake is answered 503 with
	// Retry-After. Zero means 100,000 and 20,000.
	MaxSessions, MaxUnauthenticated int

	// NewConnection makes Handshake.Connection. nil makes none.
	NewConnection func() any

	// UnknownNamespace refuses a CONNECT to a namespace that is not there. nil
	// says "Invalid namespace", without data.
	UnknownNamespace *ConnectError

	// Observer is told what happens. Its zero value observes nothing.
	Observer Observer
}

func (c *Config) setDefaults() error {
	if c.Path == "" {
		c.Path = "/socket.io/"
	}
	if !strings.HasPrefix(c.Path, "/") || !strings.HasSuffix(c.Path, "/") {
		return errors.New("socketio: Config.Path must begin and end with a slash")
	}
	err := errors.Join(
		c.SetDefaults(),
		wsframe.Default("ConnectTimeout", &c.ConnectTimeout, 45*time.Second),
		wsframe.Default("UpgradeTimeout", &c.UpgradeTimeout, 10*time.Second),
		wsframe.Default("MaxSessions", &c.MaxSessions, 100_000),
		wsframe.Default("MaxUnauthenticated", &c.MaxUnauthenticated, 20_000),
	)
	if err != nil {
		return fmt.Errorf("socketio: %w", err)
	}
	if c.NewConnection == nil {
		c.NewConnection = func() any { return nil }
	}
	if c.UnknownNamespace == nil {
		c.UnknownNamespace = &ConnectError{Message: "Invalid namespace"}
	}
	if c.Observer.Refused == nil {
		c.Observer.Refused = func(string) {}
	}
	if c.Observer.Closed == nil {
		c.Observer.Closed = func(Transport, Reason) {}
	}
	return nil
}
