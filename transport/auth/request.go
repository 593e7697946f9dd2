package auth

import (
	"net/http"
	"strings"
)

const (
	// Subprotocol is what a plain WebSocket names beside its token, and what
	// the server answers with.
	Subprotocol    = "bms.v1.json"
	bearerProtocol = "bearer."
	maxProtocols   = 16
)

// FromHeader returns the token of "Authorization: Bearer …", or "" if there is
// none, or more than one such header.
func FromHeader(r *http.Request) string {
	token, _ := bearer(r)
	return token
}

// bearer is the token of the Authorization header, and whether the header is
// about one: a header of another scheme is of somebody on the way, such as a
// proxy that asks for a password.
func bearer(r *http.Request) (token string, given bool) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return "", len(values) > 1
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// FromUpgrade returns the token of a WebSocket upgrade, "" if there is none:
// from an Authorization header with Bearer, else the query parameter token, else
// the subprotocol "bearer.<token>". protocol is what to answer with: Subprotocol
// if the client offered it, else "".
func FromUpgrade(r *http.Request) (token, protocol string) {
	token, given := bearer(r)
	if !given {
		token = r.URL.Query().Get("token")
	}
	for _, p := range subprotocols(r) {
		switch {
		case p == Subprotocol:
			protocol = Subprotocol
		case token == "" && !given && strings.HasPrefix(p, bearerProtocol):
			token = p[len(bearerProtocol):]
		}
	}
	return token, protocol
}

// subprotocols returns the first few offered protocols; a list that goes on
// beyond what a token takes is not looked at.
func subprotocols(r *http.Request) []string {
	var all []string
	for _, line := range r.Header["Sec-Websocket-Protocol"] {
		if len(line) > MaxTokenBytes+256 {
			return nil
		}
		for p := range strings.SplitSeq(line, ",") {
			if len(all) == maxProtocols {
				return nil
			}
			all = append(all, strings.TrimSpace(p))
		}
	}
	return all
}
