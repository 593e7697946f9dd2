package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"bms/domain"
)

// maxText bounds a parameter that is free text, in bytes.
const maxText = 256

// params are the query parameters of a request. Its methods read one each and
// note what is wrong; err gathers that.
type params struct {
	values url.Values
	wrong  []domain.FieldError
}

// readParams reads the query. Parameters that are not known, or given twice,
// are refused: a filter that is silently ignored shows too much.
func readParams(r *http.Request, known []param) (*params, error) {
	p := &params{}
	if r.URL.RawQuery == "" {
		return p, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, domain.Invalid(domain.FieldError{Field: "query", Message: "is not well-formed"})
	}
	p.values = values
	for _, name := range sortedKeys(values) {
		switch {
		case !slices.ContainsFunc(known, func(k param) bool { return k.name == name }):
			p.fail(shown(name), "is not a parameter of this address")
		case len(values[name]) > 1:
			p.fail(name, "is there twice")
		}
	}
	return p, p.err()
}

// shown bounds what of a foreign name is repeated in an answer.
func shown(name string) string {
	if len(name) > 64 {
		return name[:64] + "…"
	}
	return name
}

func (p *params) fail(field, message string) {
	p.wrong = append(p.wrong, domain.FieldError{Field: field, Message: message})
}

func (p *params) err() error {
	if len(p.wrong) == 0 {
		return nil
	}
	if len(p.wrong) > 20 {
		p.wrong = p.wrong[:20]
	}
	return domain.Invalid(p.wrong...)
}

func (p *params) has(name string) bool { return p.values.Has(name) }

func (p *params) text(name string) string {
	v := p.values.Get(name)
	if len(v) > maxText {
		p.fail(name, "has more than 256 bytes")
	}
	return v
}

// limit is a number from 1 to most, 0 if absent.
func (p *params) limit(name string, most int) int {
	if !p.has(name) {
		return 0
	}
	n, err := strconv.Atoi(p.values.Get(name))
	if err != nil || n < 1 || n > most {
		p.fail(name, "must be a number from 1 to "+strconv.Itoa(most))
		return 0
	}
	return n
}

func (p *params) boolean(name string) bool {
	switch p.values.Get(name) {
	case "true":
		return true
	case "false":
	default:
		if p.has(name) {
			p.fail(name, "must be true or false")
		}
	}
	return false
}

func (p *params) oneOf(name string, allowed []any) string {
	v := p.values.Get(name)
	if p.has(name) && !slices.Contains(allowed, any(v)) {
		p.fail(name, "is not one of the values it may have, see /docs")
	}
	return v
}

func (p *params) id(name string) string {
	v := p.values.Get(name)
	if p.has(name) && !domain.ValidID(v) {
		p.fail(name, "must be 1 to 64 of A-Z a-z 0-9 _ -")
	}
	return v
}

// position is the zero Position if absent.
func (p *params) position(name string) domain.Position {
	if !p.has(name) {
		return domain.Position{}
	}
	pos, err := domain.ParsePosition(p.values.Get(name))
	if err != nil {
		p.fail(name, "is not a position")
	}
	return pos
}

// time is the zero time if absent: RFC 3339, or a day in UTC.
func (p *params) time(name string) time.Time {
	if !p.has(name) {
		return time.Time{}
	}
	t, ok := parseTime(p.values.Get(name))
	if !ok {
		p.fail(name, "must be a time such as 2026-01-31T12:00:00Z, or a day such as 2026-01-31")
	}
	return t
}

func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
