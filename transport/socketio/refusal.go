package socketio

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// refusal is an error answer to a request: Engine.IO's code and message, and
// the name the Observer gets.
type refusal struct {
	status     int
	code       int
	message    string
	reason     string
	retryAfter time.Duration
}

// The answers, as the reference server gives them.
var (
	unknownTransport = &refusal{http.StatusBadRequest, 0, "Transport unknown", "unknown transport", 0}
	unknownSession   = &refusal{http.StatusBadRequest, 1, "Session ID unknown", "unknown session", 0}
	badMethod        = &refusal{http.StatusBadRequest, 2, "Bad handshake method", "bad method", 0}
	badRequest       = &refusal{http.StatusBadRequest, 3, "Bad request", "bad request", 0}
	repeatedPoll     = &refusal{http.StatusBadRequest, 3, "Bad request", "repeated GET", 0}
	forbiddenOrigin  = &refusal{http.StatusForbidden, 4, "Forbidden", "forbidden origin", 0}
	badVersion       = &refusal{http.StatusBadRequest, 5, "Unsupported protocol version", "unsupported version", 0}

	tooManySessions = &refusal{http.StatusServiceUnavailable, 4, "Too many sessions", "too many sessions", 5 * time.Second}
	shuttingDown    = &refusal{http.StatusServiceUnavailable, 4, "Server shutting down", "shutting down", 2 * time.Second}
)

// refuse answers with a refusal: JSON, or the bare message to an upgrade.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, f *refusal) {
	s.config.Observer.Refused(f.reason)
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
	}
	w.Header().Set("Cache-Control", "no-store")
	if isUpgrade(r) {
		w.Header().Set("Connection", "close")
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(f.status)
		_, _ = w.Write([]byte(f.message))
		return
	}
	body, _ := json.Marshal(struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{f.code, f.message})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(body)
}
