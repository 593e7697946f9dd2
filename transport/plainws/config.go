package plainws

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// Config says how a [Server] behaves. The zero value is usable.
type Config struct {
	// PingInterval is how long a client may be silent before it is sent a
	// WebSocket ping, and PingTimeout how long it then has to show a sign of
	// life: a pong, a ping or a message. Zero means 25 s and 20 s.
	PingInterval, PingTimeout time.Duration

	// ConnectTimeout is the deadline given to Handler.Connect. Zero means 10 s.
	ConnectTimeout time.Duration

	// WriteTimeout is how long a write may make no progress before the client
	// is given up as too slow. Zero means 30 s.
	WriteTimeout time.Duration

	// MaxPayload is the most bytes of one message from a client. Zero means
	// 1,000,000.
	MaxPayload int

	// CompressFrom is from how many bytes on a message to a client that offers
	// permessage-deflate is compressed; such clients may compress what they
	// send, and MaxPayload is then of what comes out. Zero means that nothing
	// is compressed.
	CompressFrom int

	// SendBuffer bounds what the kernel buffers for one connection, in bytes
	// (SO_SNDBUF). Zero leaves it to the kernel.
	SendBuffer int

	// MaxConnections bounds the connections, those being judged included.
	// Beyond, a client is answered 503. Zero means 100,000.
	MaxConnections int

	// ControlFrames and ControlBytes bound the lane of answers and pings of
	// one connection; one that overflows it is closed as too slow. Zero means
	// 512 and 4 MB.
	ControlFrames, ControlBytes int

	// MessageRate and ByteRate bound what one connection sends, per second,
	// averaged over ten seconds; beyond, it is closed. Every frame counts as a
	// message: pings and fragments do. Zero means 200 messages and 2 MB,
	// negative no bound.
	MessageRate, ByteRate int

	// AllowOrigin decides on a request with an Origin header. nil allows the
	// request's own host only. Requests without an Origin pass.
	AllowOrigin func(r *http.Request, origin string) bool

	// Refuse writes the HTTP answer to a client that is refused: err is what
	// Handler.Connect returned, or a *Refusal of this package. nil answers a
	// *Refusal with its status and message, and anything else with 500.
	Refuse func(w http.ResponseWriter, r *http.Request, err error)

	// Logger gets warnings and errors, with no payload in them. nil discards.
	Logger *slog.Logger

	// Observer is told what happens. Its zero value observes nothing.
	Observer Observer
}

// Observer is told what happens in a server, for metrics. Its functions are
// called on hot paths and by many goroutines at once: they must be quick and
// must not call back into the server. nil ones are not called.
type Observer struct {
	// Opened tells of an upgraded connection, Closed of its end: the code that
	// the client was told, 0 if it couldn't be told or has closed itself, and
	// the reason, one of this package's or the one given to Conn.Close.
	Opened func()
	Closed func(code websocket.StatusCode, reason string)

	// Refused tells of a client that was refused by this package (not by its
	// Handler). reason is Refusal.Reason.
	Refused func(reason string)

	// Received tells of one message of so many bytes, Sent of one write of so
	// many frames and bytes.
	Received func(bytes int)
	Sent     func(frames, bytes int)
}

func (c *Config) setDefaults() error {
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"PingInterval", &c.PingInterval, 25 * time.Second},
		{"PingTimeout", &c.PingTimeout, 20 * time.Second},
		{"ConnectTimeout", &c.ConnectTimeout, 10 * time.Second},
		{"WriteTimeout", &c.WriteTimeout, 30 * time.Second},
	} {
		if *d.value < 0 {
			return errors.New("plainws: Config." + d.name + " is negative")
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
		{"MaxConnections", &c.MaxConnections, 100_000},
		{"ControlFrames", &c.ControlFrames, 512},
		{"ControlBytes", &c.ControlBytes, 4 << 20},
	} {
		if *n.value < 0 {
			return errors.New("plainws: Config." + n.name + " is negative")
		}
		if *n.value == 0 {
			*n.value = n.zero
		}
	}
	if c.CompressFrom < 0 {
		return errors.New("plainws: Config.CompressFrom is negative")
	}
	if c.MessageRate == 0 {
		c.MessageRate = 200
	}
	if c.ByteRate == 0 {
		c.ByteRate = 2_000_000
	}
	if c.AllowOrigin == nil {
		c.AllowOrigin = sameOrigin
	}
	if c.Refuse == nil {
		c.Refuse = refuse
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Observer.setDefaults()
	return nil
}

func (o *Observer) setDefaults() {
	if o.Opened == nil {
		o.Opened = func() {}
	}
	if o.Closed == nil {
		o.Closed = func(websocket.StatusCode, string) {}
	}
	if o.Refused == nil {
		o.Refused = func(string) {}
	}
	if o.Received == nil {
		o.Received = func(int) {}
	}
	if o.Sent == nil {
		o.Sent = func(int, int) {}
	}
}
