package socketio

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"time"
)

// servePost takes packets from a polling client.
func (e *engine) servePost(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	switch {
	case e.closed:
		e.mu.Unlock()
		e.server.refuse(w, r, unknownSession)
		return
	case e.posting:
		e.mu.Unlock()
		e.server.config.Observer.Refused("two POSTs at once")
		e.close(TransportError)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	e.posting = true
	e.mu.Unlock()
	status := e.takeBody(w, r)
	e.mu.Lock()
	e.posting = false
	e.mu.Unlock()
	if status != http.StatusOK {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte("ok"))
}

// takeBody reads and handles a body, and gives the status to answer.
func (e *engine) takeBody(w http.ResponseWriter, r *http.Request) int {
	c := &e.server.config
	// A body must come within the time in which a heartbeat would have. When
	// it is refused the deadline stays, as net/http then reads what is left.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(c.PingInterval + c.PingTimeout))
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/octet-stream" {
		e.close(ParseError)
		return http.StatusBadRequest
	}
	e.mu.Lock()
	most := int64(e.payload())
	e.mu.Unlock()
	if r.ContentLength > most {
		c.Observer.Refused("body too large")
		return http.StatusRequestEntityTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			c.Observer.Refused("body too large")
			return http.StatusRequestEntityTooLarge
		}
		e.close(TransportError)
		return http.StatusBadRequest
	}
	_ = control.SetReadDeadline(time.Time{})
	for more := true; more; {
		var text []byte
		text, body = nextPacket(body)
		more = body != nil
		err := errRate
		if e.allow(1) {
			err = e.handle(true, text)
		}
		if err != nil {
			e.fail(err)
			if errors.Is(err, errClientClose) {
				break
			}
			return http.StatusBadRequest
		}
	}
	return http.StatusOK
}
