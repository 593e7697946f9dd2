package wsframe

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// Config is what servers of WebSockets have in common. They embed it in theirs.
type Config struct {
	// PingInterval is the time from a client's sign of life to the next ping,
	// and PingTimeout how long the client has to answer one. Zero means 25 s
	// and 20 s.
	PingInterval, PingTimeout time.Duration

	// WriteTimeout is how long a write to a client may make no progress
	// before the client is given up as too slow. Zero means 30 s.
	WriteTimeout time.Duration

	// MaxPayload is the most bytes of one message from a client. Zero means
	// 1,000,000.
	MaxPayload int

	// CompressFrom is from how many bytes on a message to a WebSocket client
	// that offers permessage-deflate is compressed; such clients may compress
	// what they send, and MaxPayload is then of what comes out. Zero means that
	// nothing is compressed: it costs CPU, once for each message, however many
	// get it.
	CompressFrom int

	// SendBuffer bounds what the kernel buffers for one WebSocket, in bytes
	// (SO_SNDBUF, which Linux doubles). Zero means 128 KB; negative leaves it
	// to the kernel, which was seen to take 3.9 MB from a peer that doesn't
	// read.
	SendBuffer int

	// ControlFrames and ControlBytes bound the lane of one connection, of what
	// goes ahead of events: answers, pings. What comes when as much is waiting
	// closes the connection as too slow; the last before may be of any size.
	// Zero means 512 and 4 MB.
	ControlFrames, ControlBytes int

	// FrameRate and ByteRate bound what one connection sends, per second,
	// averaged over ten seconds; beyond, it is closed. Every frame counts,
	// whatever it is: pings and fragments do. Zero means 200 frames and 2 MB,
	// negative no bound.
	FrameRate, ByteRate int

	// AllowOrigin decides on a request with an Origin header. nil means
	// [SameOrigin]. Requests without an Origin pass.
	AllowOrigin func(r *http.Request, origin string) bool

	// Logger gets warnings and errors, with no payload in them. nil discards.
	Logger *slog.Logger
}

// SetDefaults gives fields that are zero their meaning. The error names a field
// that is negative and must not be.
func (c *Config) SetDefaults() error {
	if c.CompressFrom < 0 {
		return errors.New("negative Config.CompressFrom")
	}
	if c.SendBuffer == 0 {
		c.SendBuffer = 128 << 10
	}
	if c.FrameRate == 0 {
		c.FrameRate = 200
	}
	if c.ByteRate == 0 {
		c.ByteRate = 2_000_000
	}
	if c.AllowOrigin == nil {
		c.AllowOrigin = SameOrigin
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(
		Default("PingInterval", &c.PingInterval, 25*time.Second),
		Default("PingTimeout", &c.PingTimeout, 20*time.Second),
		Default("WriteTimeout", &c.WriteTimeout, 30*time.Second),
		Default("MaxPayload", &c.MaxPayload, 1_000_000),
		Default("ControlFrames", &c.ControlFrames, 512),
		Default("ControlBytes", &c.ControlBytes, 4<<20),
	)
}

// Default gives a field of a Config that is zero its default. The error, for one
// that is negative, names it.
func Default[T int | time.Duration](field string, value *T, zero T) error {
	if *value < 0 {
		return fmt.Errorf("negative Config.%s", field)
	}
	if *value == 0 {
		*value = zero
	}
	return nil
}

// Deflater makes what compresses for the server; nil if nothing is compressed.
func (c *Config) Deflater() *Deflater {
	if c.CompressFrom == 0 {
		return nil
	}
	return newDeflater(c.CompressFrom)
}

// Limiters makes the bounds of what one connection sends: frames, and bytes. nil
// ones are no bound.
func (c *Config) Limiters() (frames, bytes *rate.Limiter) {
	if n := c.FrameRate; n > 0 {
		frames = rate.NewLimiter(rate.Limit(n), 10*n)
	}
	if n := c.ByteRate; n > 0 {
		bytes = rate.NewLimiter(rate.Limit(n), max(10*n, c.MaxPayload))
	}
	return frames, bytes
}

// Options are those of a connection, as far as the Config says.
func (c *Config) Options() Options {
	return Options{ReadLimit: int64(c.MaxPayload), SendBuffer: c.SendBuffer, WriteTimeout: c.WriteTimeout}
}
