package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"

	"bms/domain"
)

// DecodeCommand reads a command's body strictly (see domain.DecodeBody) and by
// value, as Command.Body wants it; the ids of the HTTP form's path are part of
// it. A body that doesn't fit is told every field at once: what the schema
// refuses and what the fields' own rules do.
func DecodeCommand(commandType string, body []byte) (any, *domain.Rejection) {
	return decodeBody(commandType, body, func(body any) (any, *domain.FieldError) { return body, nil })
}

// decodeBody is DecodeCommand with the ids of the path bound in between.
func decodeBody(commandType string, raw []byte, bind binder) (any, *domain.Rejection) {
	body, err := domain.DecodeBody(commandType, raw)
	if err == nil {
		body, wrong := bind(body)
		if wrong != nil {
			return nil, domain.Invalid(*wrong)
		}
		return body, nil
	}
	r, ok := errors.AsType[*domain.Rejection](err)
	if !ok {
		r = domain.Invalid(domain.FieldError{Field: "body", Message: "does not fit the schema"})
	}
	return nil, withRules(r, commandType, raw, bind)
}

// withRules adds to a schema's refusal what the fields' own rules say of the
// same body, as far as it can be read.
func withRules(r *domain.Rejection, commandType string, raw []byte, bind binder) *domain.Rejection {
	fields, ok := r.Details["errors"].([]domain.FieldError)
	zero := domain.NewBody(commandType)
	if !ok || zero == nil || !json.Valid(raw) {
		return r
	}
	lenient := reflect.New(reflect.TypeOf(zero))
	// An error leaves out the fields that don't fit, and those are named.
	_ = json.Unmarshal(raw, lenient.Interface())
	body, wrong := bind(lenient.Elem().Interface())
	var more []domain.FieldError
	if wrong != nil {
		more = append(more, *wrong)
	}
	ruled := domain.Validate(domain.Command{ID: "x", Type: commandType, BranchID: "x", Body: body})
	if ruled != nil {
		if errs, ok := ruled.Details["errors"].([]domain.FieldError); ok {
			more = append(more, errs...)
		}
	}
	all := slices.Clone(fields)
	for _, m := range more {
		if !slices.ContainsFunc(fields, func(f domain.FieldError) bool { return covers(f.Field, m.Field) }) {
			all = append(all, m)
		}
	}
	return domain.Invalid(all...)
}

// covers reports whether the path of a field is another's or leads to it.
func covers(path, other string) bool {
	rest, ok := strings.CutPrefix(other, path)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[') || other == "body"
}

// Fingerprint tells apart what is sent under one idempotency key: a hash over
// the command's type, its branch, and its body as decoded, so that white space
// and the order of keys don't matter, nor whether it came by HTTP or socket.
func Fingerprint(commandType, branchID string, body any) string {
	h := make([]byte, 0, 512)
	h = append(h, commandType...)
	h = append(h, 0)
	h = append(h, branchID...)
	h = append(h, 0)
	h = appendJSON(h, body)
	sum := sha256.Sum256(h)
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}
