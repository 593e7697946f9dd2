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
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return ""
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// FromUpgrade returns the token of a WebSocket upgrade, "" if there is none:
// from the Authorization header, else the query parameter token, else the
// subprotocol "bearer.<token>". protocol is what to answer with: Subprotocol
// if the client offered it, else "".
func FromUpgrade(r *http.Request) (token, protocol string) {
	token = FromHeader(r)
	if token == "" && len(r.Header["Authorization"]) == 0 {
		token = r.URL.Query().Get("token")
	}
	for _, p := range subprotocols(r) {
		switch {
		case p == Subprotocol:
			protocol = Subprotocol
		case token == "" && len(r.Header["Authorization"]) == 0 && strings.HasPrefix(p, bearerProtocol):
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
