package wsframe

import (
	"net/http"
	"net/url"
	"strings"
)

// SameOrigin allows pages of the host and port that the request is to.
func SameOrigin(r *http.Request, origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// OriginAllowed judges the page that a request comes from. A request that names
// none passes, one that names several doesn't.
func (c *Config) OriginAllowed(r *http.Request) bool {
	origins := r.Header["Origin"]
	return len(origins) == 0 || len(origins) == 1 && c.AllowOrigin(r, origins[0])
}
