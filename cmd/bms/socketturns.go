package main

import (
	"net"
	"net/http"
	"runtime"
	"strings"
)

// inTurn lets those who open a session wait for their turn. After a restart all
// clients are at it at once, and what is live goes on beside them.
func (s *sockets) inTurn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.RawQuery, "sid=") {
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

// politeListener accepts a connection when everything else that can run has had
// a chance to: else one that accepts ten thousand at once makes ten thousand
// goroutines that all want to run.
type politeListener struct{ net.Listener }

func (l politeListener) Accept() (net.Conn, error) {
	runtime.Gosched()
	return l.Listener.Accept()
}
