package plainws

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

// Config says how a [Server] behaves. The zero value is usable.
type Config struct {
	// Config bounds each connection. A pong, a ping and a message are signs of
	// life.
	wsframe.Config

	// ConnectTimeout is the deadline given to Handler.Connect. Zero means 10 s.
	ConnectTimeout time.Duration

	// MaxConnections bounds the connections, those being judged included.
	// Beyond, a client is answered 503. Zero means 100,000.
	MaxConnections int

	// Refuse writes the HTTP answer to a client that is refused: err is what
	// Handler.Connect returned, or a *Refusal of this package. nil answers a
	// *Refusal with its status and message, and anything else with 500.
	Refuse func(w http.ResponseWriter, r *http.Request, err error)

	// Observer is told what happens. Its zero value observes nothing.
	Observer Observer
}

// Observer is told what happens in a server, for metrics. Its functions are
// called on hot paths and by many goroutines at once: they must be quick and
// must not call back into the server. nil ones are not called.
type Observer struct {
	// Closed tells of the end of an upgraded connection: the code that the
	// client was told, 0 if it couldn't be told or has closed itself, and the
	// reason, one of this package's or the one given to Conn.Close.
	Closed func(code websocket.StatusCode, reason string)

	// Refused tells of a client that was refused by this package (not by its
	// Handler). reason is Refusal.Reason.
	Refused func(reason string)
}

func (c *Config) setDefaults() error {
	err := errors.Join(
		c.SetDefaults(),
		wsframe.Default("ConnectTimeout", &c.ConnectTimeout, 10*time.Second),
		wsframe.Default("MaxConnections", &c.MaxConnections, 100_000),
	)
	if err != nil {
		return fmt.Errorf("plainws: %w", err)
	}
	if c.Refuse == nil {
		c.Refuse = refuse
	}
	if c.Observer.Closed == nil {
		c.Observer.Closed = func(websocket.StatusCode, string) {}
	}
	if c.Observer.Refused == nil {
		c.Observer.Refused = func(string) {}
	}
	return nil
}
