package socketio

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Config says how a [Server] behaves. The zero value is usable.
type Config struct {
	// Path is the URL path served, beginning and ending with a slash. Zero
	// means "/socket.io/".
	Path string

	// PingInterval is the time from a pong to the next ping, and PingTimeout
	// how long the client has to answer one. Zero means 25 s and 20 s.
	PingInterval, PingTimeout time.Duration

	// ConnectTimeout is the time a client has to join a namespace, and the
	// deadline given to Namespace.Connect. Zero means 45 s.
	ConnectTimeout time.Duration

	// UpgradeTimeout is the time a client has from opening a WebSocket for a
	// polling session to finishing the upgrade. Zero means 10 s.
	UpgradeTimeout time.Duration

	// WriteTimeout is how long a write to a client may make no progress
	// before the client is closed as too slow. Zero means 30 s.
	WriteTimeout time.Duration

	// MaxPayload is the most bytes of one inbound message or POST body; a
	// packet with its attachments may have four times as many. Zero means
	// 1,000,000.
	MaxPayload int

	// CompressFrom is from how many bytes on a message to a WebSocket client
	// that offers permessage-deflate is compressed; such clients may compress
	// what they send, and MaxPayload is then of what comes out. Zero means that
	// nothing is compressed: it costs CPU, once for each message, however many
	// get it. Polling has gzip for large bodies in any case.
	CompressFrom int

	// SendBuffer bounds what the kernel buffers for one WebSocket, in bytes
	// (SO_SNDBUF, which Linux doubles). Zero means 128 KB; negative leaves it
	// to the kernel, which was seen to take 3.9 MB.
	SendBuffer int

	// MaxSessions bounds the Engine.IO sessions, MaxUnauthenticated those of
	// them that have joined no namespace yet. Beyond, a handshake is answered
	// 503 with Retry-After. Zero means 100,000 and 20,000.
	MaxSessions, MaxUnauthenticated int

	// ControlFrames and ControlBytes bound the lane of acks and direct emits
	// of one connection; one that overflows it is closed as too slow. Zero
	// means 512 and 4 MB.
	ControlFrames, ControlBytes int

	// PacketRate and ByteRate bound what one connection sends, per second,
	// averaged over ten seconds; beyond, it is closed. On a WebSocket every
	// frame counts as a packet. Before it has joined a namespace it may send 64
	// in all. Zero means 200 packets and 2 MB, negative no bound.
	PacketRate, ByteRate int

	// AllowOrigin decides on a request with an Origin header, polling and
	// WebSocket alike; one that is refused is answered 403. nil allows the
	// request's own host only. Requests without an Origin pass.
	AllowOrigin func(r *http.Request, origin string) bool

	// AllowRequest decides on a handshake, before anything is allocated for
	// it. A *Refusal is answered as it says, any other error as 403
	// "Forbidden". nil allows all.
	AllowRequest func(r *http.Request) error

	// KeepHeaders names the request headers that Handshake.Header shall have;
	// others are forgotten, since they are kept as long as the connection. nil
	// keeps none.
	KeepHeaders []string

	// Logger gets warnings and errors, with no payload in them. nil discards.
	Logger *slog.Logger

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
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"PingInterval", &c.PingInterval, 25 * time.Second},
		{"PingTimeout", &c.PingTimeout, 20 * time.Second},
		{"ConnectTimeout", &c.ConnectTimeout, 45 * time.Second},
		{"UpgradeTimeout", &c.UpgradeTimeout, 10 * time.Second},
		{"WriteTimeout", &c.WriteTimeout, 30 * time.Second},
	} {
		if *d.value < 0 {
			return errors.New("socketio: Config." + d.name + " is negative")
		}
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	for _, n := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"MaxPayload", &c.MaxPayload, 1_000_000},
		{"MaxSessions", &c.MaxSessions, 100_000},
		{"MaxUnauthenticated", &c.MaxUnauthenticated, 20_000},
		{"ControlFrames", &c.ControlFrames, 512},
		{"ControlBytes", &c.ControlBytes, 4 << 20},
	} {
		if *n.value < 0 {
			return errors.New("socketio: Config." + n.name + " is negative")
		}
		if *n.value == 0 {
			*n.value = n.zero
		}
	}
	if c.CompressFrom < 0 {
		return errors.New("socketio: Config.CompressFrom is negative")
	}
	if c.SendBuffer == 0 {
		c.SendBuffer = 128 << 10
	}
	if c.PacketRate == 0 {
		c.PacketRate = 200
	}
	if c.ByteRate == 0 {
		c.ByteRate = 2_000_000
	}
	if c.AllowOrigin == nil {
		c.AllowOrigin = sameOrigin
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Observer.setDefaults()
	return nil
}
