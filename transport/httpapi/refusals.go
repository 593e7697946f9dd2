package httpapi

import (
	"net/http"
	"net/netip"

	"bms/domain"
)

// codeBadHeader is the code of a [Refusal] of a request whose header was
// malformed, too large, or not there in time; net/http has answered it, or
// nobody.
const codeBadHeader = "bad_header"

// Refusal is a request that was answered with a problem, or with nothing.
type Refusal struct {
	// Code is the problem's.
	Code string
	// Expected is true of the answers that are the business's own, such as
	// insufficient_stock or unknown_product.
	Expected bool
	// Method, Route and Client are for people to read. Route is the pattern
	// that matched, "other" for none; it and Method are empty where the header
	// was not read.
	Method, Route, Client string
}

// RefusalOf describes the refusal of a request.
func RefusalOf(r *http.Request, code string, trustedProxies []netip.Prefix) Refusal {
	return Refusal{
		Code: code, Expected: expected(code),
		Method: shown(r.Method), Route: route(r), Client: clientAddr(r, trustedProxies),
	}
}

func expected(code string) bool {
	switch StatusOf(code) {
	case http.StatusConflict, http.StatusUnprocessableEntity:
		return true
	case http.StatusNotFound:
		return code != codeNotFound
	}
	return false
}

// refuse answers with a rejection and tells of it. It is the only way to a
// problem for a request that reached this API.
func (a *api) refuse(w *recorder, r *http.Request, rejection *domain.Rejection) {
	if a.cfg.Refused != nil {
		a.cfg.Refused(RefusalOf(r, rejection.Code, a.cfg.TrustedProxies))
	}
	w.code = rejection.Code
	writeProblem(w, rejection)
}
