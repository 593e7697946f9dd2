package main

import (
	"net/http"
	"testing"
)

// Only who opens a session waits for a turn: a request in a session doesn't, nor
// does a browser that asks whether it may ask.
func TestTurns_are_for_who_opens_a_session(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.stop() // no more turns
	for _, c := range []struct {
		method, query string
		waits         bool
	}{
		{http.MethodGet, "EIO=4&transport=polling", true},
		{http.MethodGet, "EIO=4&transport=polling&sid=", true},
		{http.MethodGet, "EIO=4&transport=polling&x=sid=1", true},
		{http.MethodGet, "EIO=4&transport=polling&xsid=1", true},
		{http.MethodGet, "EIO=4&transport=polling&sid=1", false},
		{http.MethodGet, "EIO=4&transport=polling&%73id=1", false},
		{http.MethodOptions, "EIO=4&transport=polling", false},
	} {
		served := false
		r, err := http.NewRequestWithContext(t.Context(), c.method, "/socket.io/?"+c.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		n.app.sockets.inTurn(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true })).ServeHTTP(&answerWriter{header: http.Header{}}, r)
		if served == c.waits {
			t.Errorf("%s ?%s: waits %t, want %t", c.method, c.query, !served, c.waits)
		}
	}
}
