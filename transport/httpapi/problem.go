package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"bms/domain"
	"bms/projections"
)

// Codes of refusals that no command gives.
const (
	codeNotFound          = "not_found"
	codeMethodNotAllowed  = "method_not_allowed"
	codeBodyTooLarge      = "body_too_large"
	codeHeaderTooLarge    = "header_too_large"
	codeUnknownConnection = "unknown_connection"
	codeBadHandshake      = "bad_handshake"
	codeForbiddenOrigin   = "forbidden_origin"
	codeUpgradeRequired   = "upgrade_required"
	codeReadModelBehind   = "read_model_behind"
	codeNotReady          = "not_ready"
	codeInternal          = "internal"
)

// problems is the one table of codes: status and title of each.
var problems = map[string]struct {
	status int
	title  string
}{
	domain.CodeValidation:          {http.StatusBadRequest, "The request is not valid"},
	domain.CodeInvalidQuantity:     {http.StatusBadRequest, "A quantity is not valid"},
	domain.CodeOverflow:            {http.StatusBadRequest, "A number grows beyond 64 bits"},
	domain.CodeOccurredAtInvalid:   {http.StatusBadRequest, "The time it occurred at is not valid"},
	domain.CodeUnauthorized:        {http.StatusUnauthorized, "A good token is needed"},
	domain.CodeTokenExpired:        {http.StatusUnauthorized, "The token has expired"},
	domain.CodeRoleForbidden:       {http.StatusForbidden, "Not for this role"},
	domain.CodeBranchForbidden:     {http.StatusForbidden, "Not one of your branches"},
	domain.CodeForbiddenNamespace:  {http.StatusForbidden, "Not a namespace for you"},
	domain.CodeUnknownBranch:       {http.StatusNotFound, "No such branch"},
	domain.CodeUnknownProduct:      {http.StatusNotFound, "No such product"},
	domain.CodeUnknownTransaction:  {http.StatusNotFound, "No such transaction"},
	domain.CodeUnknownUser:         {http.StatusNotFound, "No such user"},
	domain.CodeUnknownTransfer:     {http.StatusNotFound, "No such transfer"},
	domain.CodeInsufficientStock:   {http.StatusConflict, "Not enough stock"},
	domain.CodeVersionConflict:     {http.StatusConflict, "Changed by someone else meanwhile"},
	domain.CodeDuplicateSKU:        {http.StatusConflict, "The SKU is taken"},
	domain.CodeProductDeleted:      {http.StatusConflict, "The product was deleted"},
	domain.CodeBranchClosed:        {http.StatusConflict, "The branch is closed"},
	domain.CodeInvalidTransition:   {http.StatusConflict, "Not possible in this status"},
	domain.CodeOverRefund:          {http.StatusConflict, "More than was sold"},
	domain.CodeTransferState:       {http.StatusConflict, "Not possible in the transfer's state"},
	domain.CodeBatchTooLarge:       {http.StatusRequestEntityTooLarge, "Too much at once"},
	domain.CodeIdempotencyMismatch: {http.StatusUnprocessableEntity, "The idempotency key belongs to another request"},
	domain.CodeBusy:                {http.StatusTooManyRequests, "Busy, try again"},
	domain.CodeRateLimited:         {http.StatusTooManyRequests, "Too often, try again later"},
	domain.CodeLogUnavailable:      {http.StatusServiceUnavailable, "The log can't take this now"},
	domain.CodeOverloaded:          {http.StatusServiceUnavailable, "Overloaded, try again later"},
	domain.CodeDraining:            {http.StatusServiceUnavailable, "Shutting down, try another node"},

	codeNotFound:          {http.StatusNotFound, "No such resource"},
	codeMethodNotAllowed:  {http.StatusMethodNotAllowed, "No such method here"},
	codeBodyTooLarge:      {http.StatusRequestEntityTooLarge, "The body is too large"},
	codeHeaderTooLarge:    {http.StatusRequestHeaderFieldsTooLarge, "The header is too large"},
	codeUnknownConnection: {http.StatusNotFound, "No such connection"},
	codeBadHandshake:      {http.StatusBadRequest, "Not a WebSocket handshake"},
	codeForbiddenOrigin:   {http.StatusForbidden, "Not for pages of this origin"},
	codeUpgradeRequired:   {http.StatusUpgradeRequired, "This is a WebSocket"},
	codeReadModelBehind:   {http.StatusServiceUnavailable, "The read model isn't there yet"},
	codeNotReady:          {http.StatusServiceUnavailable, "Not ready"},
	codeUnknownProjection: {http.StatusNotFound, "No such projection"},
	codeRebuildRunning:    {http.StatusConflict, "A rebuild is under way"},
	codeNoRebuild:         {http.StatusNotFound, "No rebuild is under way"},
	codeUnknownParked:     {http.StatusNotFound, "Nothing is parked there"},
	codeParkedBehind:      {http.StatusConflict, "An earlier one is in the way"},
	codeStillFailing:      {http.StatusConflict, "It still can't be folded"},
	codeInternal:          {http.StatusInternalServerError, "Internal error"},
}

// StatusOf is the HTTP status of a rejection's code; 500 for an unknown one.
func StatusOf(code string) int {
	if p, ok := problems[code]; ok {
		return p.status
	}
	return http.StatusInternalServerError
}

const contentProblem = "application/problem+json"

// appendProblem appends a rejection as RFC 9457 has it: type, title, status,
// detail, code, and the details as further members, sorted by name.
func appendProblem(dst []byte, r *domain.Rejection) []byte {
	p, ok := problems[r.Code]
	if !ok {
		p = problems[codeInternal]
	}
	dst = append(dst, `{"type":"urn:bms:problem:`...)
	dst = append(dst, r.Code...)
	dst = append(dst, `","title":`...)
	dst = appendJSON(dst, p.title)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(p.status), 10)
	dst = append(dst, `,"detail":`...)
	dst = appendJSON(dst, r.Message)
	dst = append(dst, `,"code":"`...)
	dst = append(dst, r.Code...)
	dst = append(dst, '"')
	for _, name := range slices.Sorted(maps.Keys(r.Details)) {
		switch name {
		case "type", "title", "status", "detail", "code":
			continue // these are ours
		}
		dst = append(dst, ',')
		dst = appendJSON(dst, name)
		dst = append(dst, ':')
		dst = appendJSON(dst, r.Details[name])
	}
	return append(dst, '}')
}

func appendJSON(dst []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // what we put into details always marshals
		return append(dst, "null"...)
	}
	return append(dst, b...)
}

// reject turns an error into the rejection that answers it. unexpected is true
// for a fault, which is for the log and not for the client.
func reject(err error) (r *domain.Rejection, unexpected bool) {
	if r, ok := errors.AsType[*domain.Rejection](err); ok {
		_, known := problems[r.Code]
		if known {
			return r, false
		}
		return internalError(), true
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return domain.Reject(domain.CodeLogUnavailable, "no answer in time; ask again, with the same Idempotency-Key if it was to change something: that may have taken effect"), false
	case errors.Is(err, domain.ErrLogUnavailable):
		return domain.Reject(domain.CodeLogUnavailable, "the log is not available; ask again, with the same Idempotency-Key if it was to change something: that may have taken effect"), true
	case errors.Is(err, projections.ErrUnavailable):
		return domain.Reject(codeReadModelBehind, "the read model is not available now"), false
	case errors.Is(err, projections.ErrBadCursor):
		return domain.Invalid(domain.FieldError{Field: "cursor", Message: "is not one that this list gave"}), false
	}
	return internalError(), true
}

func internalError() *domain.Rejection {
	return domain.Reject(codeInternal, "something went wrong here; it is in the server's log")
}

// writeProblem answers with a rejection.
func writeProblem(w http.ResponseWriter, r *domain.Rejection) {
	h := w.Header()
	status := StatusOf(r.Code)
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", retryAfter(r))
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="bms"`)
	}
	h.Set("Content-Type", contentProblem)
	writeBody(w, status, appendProblem(nil, r))
}

// WriteProblem answers a request beside the API, such as one for a WebSocket,
// with an error as the API would: a rejection with its status, all else as an
// internal error.
func WriteProblem(w http.ResponseWriter, err error) {
	r, _ := reject(err)
	writeProblem(w, r)
}

// retryAfter is the detail of that name in whole seconds, at least 1.
func retryAfter(r *domain.Rejection) string {
	switch v := r.Details["retryAfter"].(type) {
	case int:
		return strconv.Itoa(max(v, 1))
	case int64:
		return strconv.FormatInt(max(v, 1), 10)
	case float64:
		return strconv.Itoa(max(int(v+0.999), 1))
	}
	return "1"
}
