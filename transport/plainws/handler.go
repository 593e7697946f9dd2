package plainws

import (
	"context"
	"encoding/json"
	"net/http"
)

// Handler decides who may connect and with what. It must be safe for
// concurrent use.
type Handler interface {
	// Connect answers a client that asks for a WebSocket, before the upgrade.
	// ctx ends when the client is gone or after Config.ConnectTimeout. r must
	// not be kept. c is the connection to be; what is done to it meanwhile
	// takes effect after the upgrade.
	//
	// An error refuses the client; Config.Refuse writes the answer.
	Connect(ctx context.Context, c *Conn, r *http.Request) (Session, error)
}

// HandlerFunc is a function as a [Handler].
type HandlerFunc func(ctx context.Context, c *Conn, r *http.Request) (Session, error)

// Connect calls f.
func (f HandlerFunc) Connect(ctx context.Context, c *Conn, r *http.Request) (Session, error) {
	return f(ctx, c, r)
}

// Session is an accepted connection.
type Session struct {
	// Subprotocol is what the client is answered if it has offered it.
	Subprotocol string
	// Source is where events come from; nil for none.
	Source Source
	// Receiver gets what the client sends; nil drops it.
	Receiver Receiver
}

// Source gives the events of one connection.
type Source interface {
	// Next appends to dst prepared frames (package wsframe), of about limit
	// bytes in all and at least one if there is any, and returns it. An element
	// may hold several whole frames. The bytes must not be changed afterwards.
	//
	// Next is called by one goroutine at a time, and only when the transport
	// can take more; it may block for a short while. When it appends nothing
	// it is not called again until [Conn.Wake] is. What it gives at first is the
	// first that the client gets, ahead of any answer.
	Next(dst [][]byte, limit int) [][]byte
}

// Receiver gets what one client sends.
type Receiver interface {
	// Op is called for each operation, in order and one at a time. As long as
	// it blocks nothing more is read from that client. ack is nil unless the
	// client gave an id; it may be called later and by any goroutine, and only
	// the first call counts. Its argument is encoded as JSON; a
	// json.RawMessage is taken as it is. Receiver owns all it is given.
	Op(name string, args []json.RawMessage, ack func(data any))

	// Closed is called once, when the connection has ended, possibly while Op
	// still runs. What is sent afterwards goes nowhere. It is called also when
	// the upgrade fails after Connect has given the Receiver.
	Closed(reason string)
}
