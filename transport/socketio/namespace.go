package socketio

import (
	"context"
	"encoding/json"
)

// Namespace decides who may connect to it and with what. It must be safe for
// concurrent use.
type Namespace interface {
	// Connect answers a client's CONNECT. It may take its time: it runs on a
	// goroutine of its own, and ctx ends when the client is gone or after
	// Config.ConnectTimeout. What the socket is made to emit meanwhile is sent
	// after the answer.
	//
	// A *ConnectError refuses the client with what it says. Any other error is
	// logged and refuses it with "Internal error". Either leaves the client's
	// other namespaces alone.
	Connect(ctx context.Context, s *Socket, h Handshake) (Session, error)
}

// NamespaceFunc is a function as a [Namespace].
type NamespaceFunc func(ctx context.Context, s *Socket, h Handshake) (Session, error)

// Connect calls f.
func (f NamespaceFunc) Connect(ctx context.Context, s *Socket, h Handshake) (Session, error) {
	return f(ctx, s, h)
}

// Handshake is what is known of a client that connects. It belongs to the
// caller.
type Handshake struct {
	// Namespace is the one asked for.
	Namespace string
	// Auth is the CONNECT payload, a JSON object; nil when there was none.
	Auth json.RawMessage
	// PID and Offset are the auth members "pid" and "offset" if both are
	// strings: the client asks for connection state recovery. Whether they are
	// true, and may be recovered by whom Auth names, is the namespace's to
	// judge.
	PID, Offset string
	// RemoteAddr is the request's.
	RemoteAddr string
	// Connection is the one value that Config.NewConnection has made for all
	// namespaces of this client connection.
	Connection any
}

// Session is an accepted connection to a namespace.
type Session struct {
	// SID is the public id the client gets; empty means a random one.
	SID string
	// PID is the private id for connection state recovery; empty means that
	// there is no recovery. A client takes itself as recovered if it gets the
	// PID that it sent. It then takes the last argument of any event, if that
	// is a string, as the offset to send.
	PID string
	// Source is where events come from; nil for none.
	Source Source
	// Receiver gets what the client sends; nil drops it.
	Receiver Receiver
}

// Source gives the events of one socket.
type Source interface {
	// Next appends to dst prepared frames (package wsframe; AppendEvent), of
	// about limit bytes in all and at least one if there is any, and returns
	// it. An element may hold several whole frames and must hold an event with
	// all its attachments. The bytes must not be changed afterwards.
	//
	// Next is called by one goroutine at a time, and only when the transport
	// can take more; it may block for a short while. When it appends nothing
	// it is not called again until [Socket.Wake] is.
	Next(dst [][]byte, limit int) [][]byte
}

// Receiver gets the packets of one socket.
type Receiver interface {
	// Event is called for each event, in order and one at a time for all
	// sockets of a connection. As long as it blocks nothing more is read from
	// that client. In args, {"_placeholder":true,"num":i} stands for
	// attachments[i]; it has been checked to be there. ack is nil unless the
	// client asked for an answer; it may be called later and by any goroutine,
	// and only the first call counts. Receiver owns all it is given.
	Event(name string, args []json.RawMessage, attachments [][]byte, ack func(args ...any))

	// Closed is called once, when the socket has ended, possibly while Event
	// still runs. Frames given to the socket afterwards go nowhere.
	Closed(reason Reason)
}

// ConnectError refuses a client's CONNECT. The client sees an Error with the
// message and the data.
type ConnectError struct {
	Message string
	Data    any // encoded as JSON; nil sends none
}

func (e *ConnectError) Error() string { return "connect refused: " + e.Message }
