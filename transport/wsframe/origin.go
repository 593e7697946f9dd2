package wsframe

import (
	"net/http"
	"strings"
)

// SameOrigin allows pages of the host and port that the request is to. It can't
// tell http from https, as TLS may end before this process, nor whether the name
// is this server's own: a page whose name is made to lead here passes. Who lists
// the origins that may connect doesn't want it.
func SameOrigin(r *http.Request, origin string) bool {
	host, ok := strings.CutPrefix(origin, "https://")
	if !ok {
		host, ok = strings.CutPrefix(origin, "http://")
	}
	return ok && host != "" && strings.EqualFold(host, r.Host)
}

// OriginAllowed judges the page that a request comes from. A request that names
// none passes, one that names several doesn't.
func (c *Config) OriginAllowed(r *http.Request) bool {
	origins := r.Header["Origin"]
	return len(origins) == 0 || len(origins) == 1 && c.AllowOrigin(r, origins[0])
}
