package httpapi

import "net/http"

// CrossOrigin lets pages of the allowed origins read the answer that is to come,
// and answers the questions browsers ask beforehand. It reports whether it has
// answered. Requests of other origins are not refused: without the header a page
// can't read the answer, and tokens are not sent by browsers on their own. A nil
// allow allows none.
func CrossOrigin(w http.ResponseWriter, r *http.Request, allow func(origin string) bool) (answered bool) {
	if allow == nil {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header["Origin"]
	if len(origin) != 1 || !allow(origin[0]) {
		return false
	}
	h["Access-Control-Allow-Origin"] = origin
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		h.Set("Access-Control-Expose-Headers", "Allow, Bms-Pos, Retry-After, WWW-Authenticate")
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, Traceparent, Tracestate")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
