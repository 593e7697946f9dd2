// Command suiteserver serves what the public Engine.IO and Socket.IO protocol
// test suites expect of a server under test: bare Engine.IO at /engine.io/,
// which sends every message back, and Socket.IO at /socket.io/ with the
// namespaces / and /custom. Both suites look for it on port 3000.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"bms/transport/socketio"
	"bms/transport/wsframe"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "listen address")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, logger); err != nil {
		logger.Error("serve", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, addr string, logger *slog.Logger) error {
	config := socketio.Config{
		Path: "/engine.io/",
		Config: wsframe.Config{
			PingInterval: 300 * time.Millisecond,
			PingTimeout:  200 * time.Millisecond,
			MaxPayload:   1_000_000,
			AllowOrigin:  func(*http.Request, string) bool { return true },
			Logger:       logger,
		},
	}
	echo, err := socketio.NewEngine(config, sendBack)
	if err != nil {
		return err
	}
	config.Path = "/socket.io/"
	sockets, err := socketio.New(config)
	if err != nil {
		return err
	}
	sockets.Of("/", socketio.NamespaceFunc(connect))
	sockets.Of("/custom", socketio.NamespaceFunc(connect))

	mux := http.NewServeMux()
	mux.Handle("/engine.io/", echo)
	mux.Handle("/socket.io/", sockets)
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stopped <- errors.Join(echo.Close(), sockets.Close(), server.Close())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// sendBack is the Engine.IO suite's server.
func sendBack(text bool, data []byte, send func([]byte) error) {
	if text {
		_ = send(wsframe.Text(append([]byte{'4'}, data...)))
		return
	}
	_ = send(wsframe.Binary(data))
}

// connect tells a client what it sent to authenticate.
func connect(_ context.Context, s *socketio.Socket, h socketio.Handshake) (socketio.Session, error) {
	auth := h.Auth
	if auth == nil {
		auth = json.RawMessage("{}")
	}
	return socketio.Session{Receiver: &client{s}}, s.Emit("auth", auth)
}

// client answers one client of the Socket.IO suite.
type client struct{ socket *socketio.Socket }

// Event sends message back as message-back, and acks message-with-ack.
func (c *client) Event(name string, args []json.RawMessage, attachments [][]byte, ack func(...any)) {
	switch {
	case name == "message":
		_ = c.socket.Send(socketio.AppendBinaryEvent(nil, c.socket.Namespace(), "message-back", attachments, args...))
	case name == "message-with-ack" && ack != nil:
		ack(withBinary(args, attachments)...)
	}
}

// Closed does nothing: the client has no state.
func (c *client) Closed(socketio.Reason) {}

// withBinary puts attachments where args have their placeholders.
func withBinary(args []json.RawMessage, attachments [][]byte) []any {
	values := make([]any, len(args))
	for i, a := range args {
		values[i] = a
		var p struct {
			Placeholder bool `json:"_placeholder"`
			Num         int  `json:"num"`
		}
		if json.Unmarshal(a, &p) == nil && p.Placeholder {
			values[i] = socketio.Binary(attachments[p.Num])
		}
	}
	return values
}
