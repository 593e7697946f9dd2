package socketio_test

import (
	"context"
	"encoding/json"
	"log"
	"net/http"

	"bms/transport/socketio"
)

// greeter answers one client.
type greeter struct{ socket *socketio.Socket }

func (g greeter) Event(name string, args []json.RawMessage, _ [][]byte, ack func(...any)) {
	if name == "hello" && ack != nil {
		ack("hello to you in " + g.socket.Namespace())
	}
}

func (g greeter) Closed(reason socketio.Reason) { log.Println("gone:", reason) }

// A server whose clients may say hello at /.
func Example() {
	server, err := socketio.New(socketio.Config{})
	if err != nil {
		log.Fatal(err)
	}
	server.Of("/", socketio.NamespaceFunc(func(_ context.Context, s *socketio.Socket, h socketio.Handshake) (socketio.Session, error) {
		if h.Auth == nil {
			return socketio.Session{}, &socketio.ConnectError{Message: "unauthorized"}
		}
		return socketio.Session{Receiver: greeter{s}}, s.Emit("welcome")
	}))
	http.Handle("/socket.io/", server)
}
