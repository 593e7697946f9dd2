package main

import (
	"errors"
	"net"
	"net/http"

	"bms/actors"
)

// inTurn lets those who open a session wait for their turn. After a restart all
// clients are at it at once, and what is live goes on beside them.
func (s *sockets) inTurn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodOptions && r.URL.Query().Get("sid") == "" {
			end, err := s.hub.Turn(r.Context())
			if err != nil { // the client has gone, or the node is about to go
				http.Error(w, "the node is stopping, connect again", http.StatusServiceUnavailable)
				return
			}
			defer end()
		}
		next.ServeHTTP(w, r)
	})
}

// politeListener accepts a few connections and then lets everything else run that
// can: else one that accepts ten thousand at once makes ten thousand goroutines
// that all want to run.
type politeListener struct {
	net.Listener
	others   *actors.Yielder // Accept's own
	accepted int
}

// acceptedAtOnce is how many connections are accepted before others run.
const acceptedAtOnce = 4

func newPoliteListener(l net.Listener) *politeListener {
	return &politeListener{Listener: l, others: actors.NewYielder()}
}

// Accept is called by one goroutine, as http.Server does.
func (l *politeListener) Accept() (net.Conn, error) {
	if l.accepted++; l.accepted%acceptedAtOnce == 0 {
		l.others.Yield()
	}
	c, err := l.Listener.Accept()
	if errors.Is(err, net.ErrClosed) {
		l.others.Close()
	}
	return c, err
}
