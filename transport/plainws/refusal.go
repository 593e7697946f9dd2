package plainws

import (
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Refusal is why a client is refused before its upgrade.
type Refusal struct {
	Status     int
	Reason     string // one of the constants below
	Message    string
	RetryAfter time.Duration // sent in whole seconds if above zero
}

func (r *Refusal) Error() string { return "connect refused: " + r.Message }

// The reasons for which this package refuses.
const (
	ReasonUpgradeRequired  = "upgrade_required"
	ReasonMethodNotAllowed = "method_not_allowed"
	ReasonBadHandshake     = "bad_handshake"
	ReasonForbiddenOrigin  = "forbidden_origin"
	ReasonOverloaded       = "overloaded"
	ReasonDraining         = "draining"
)

var (
	upgradeRequired = &Refusal{http.StatusUpgradeRequired, ReasonUpgradeRequired, "this is a WebSocket: connect with a WebSocket client to ws:// and this address (or with a Socket.IO client to the server, naming this path as the namespace)", 0}
	badMethod       = &Refusal{http.StatusMethodNotAllowed, ReasonMethodNotAllowed, "a WebSocket begins with GET", 0}
	badVersion      = &Refusal{http.StatusBadRequest, ReasonBadHandshake, "Sec-WebSocket-Version must be 13", 0}
	badKey          = &Refusal{http.StatusBadRequest, ReasonBadHandshake, "there must be one Sec-WebSocket-Key, of 16 bytes in base64", 0}
	forbiddenOrigin = &Refusal{http.StatusForbidden, ReasonForbiddenOrigin, "pages of this origin may not connect", 0}
	overloaded      = &Refusal{http.StatusServiceUnavailable, ReasonOverloaded, "too many connections, come back", 5 * time.Second}
	draining        = &Refusal{http.StatusServiceUnavailable, ReasonDraining, "the server is stopping, connect again", 2 * time.Second}
)

// judgeHandshake says what is wrong with a request for an upgrade. It is as
// strict as coder/websocket, which judges again: nothing is to fail after the
// Handler has accepted.
func judgeHandshake(w http.ResponseWriter, r *http.Request) *Refusal {
	switch {
	case !r.ProtoAtLeast(1, 1) || !hasToken(r.Header["Connection"], "upgrade") || !hasToken(r.Header["Upgrade"], "websocket"):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		return upgradeRequired
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		return badMethod
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		return badVersion
	}
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return badKey
	}
	if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(key) != 16 {
		return badKey
	}
	return nil
}

// hasToken says whether a header of comma lists holds a token.
func hasToken(values []string, token string) bool {
	for _, value := range values {
		for each := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(each), token) {
				return true
			}
		}
	}
	return false
}

// refuse is the default of Config.Refuse.
func refuse(w http.ResponseWriter, _ *http.Request, err error) {
	no, ok := errors.AsType[*Refusal](err)
	if !ok {
		no = &Refusal{Status: http.StatusInternalServerError, Message: "internal error"}
	}
	if no.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(no.RetryAfter.Seconds()))))
	}
	http.Error(w, no.Message, no.Status)
}
