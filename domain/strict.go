package domain

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxFieldErrors bounds the answer to a body that is wrong all over.
const maxFieldErrors = 20

// maxShownKey bounds what of a foreign key is repeated in an answer.
const maxShownKey = 64

// shape is a type as JSON has it: an object, a list of elem, a text, true or
// false, or else a number of 64 bits.
type shape struct {
	kind   reflect.Kind
	fields []field
	elem   *shape
}

type field struct {
	name string
	// required is set for numbers without omitempty: a missing one would be
	// taken for 0, and a count of 0 is not the same as no count.
	required bool
	*shape
}

func shapeOf(t reflect.Type) *shape {
	s := &shape{kind: t.Kind()}
	switch s.kind {
	case reflect.Pointer:
		return shapeOf(t.Elem())
	case reflect.Slice:
		s.elem = shapeOf(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			s.fields = append(s.fields, field{name, options == "" && f.Type.Kind() == reflect.Int64, shapeOf(f.Type)})
		}
	}
	return s
}

// checkJSON checks a JSON text against a shape more strictly than
// encoding/json reads it: exact keys, each once, no null, kinds and ranges as
// the fields have them, Unicode that is whole, required fields there.
func checkJSON(raw []byte, s *shape) *Rejection {
	if !utf8.Valid(raw) {
		return Invalid(FieldError{Field: "body", Message: "is not UTF-8"})
	}
	if !json.Valid(raw) { // bounds the depth, too
		return Invalid(FieldError{Field: "body", Message: "is not JSON"})
	}
	c := checker{raw: raw}
	c.value(s, "")
	if len(c.errs) > 0 {
		return Invalid(c.errs...)
	}
	return nil
}

// checker walks a valid JSON text once. Its recursion is bounded by the depth
// of the type; what the type doesn't know is skipped without recursion.
type checker struct {
	raw  []byte
	pos  int
	errs []FieldError
}

func (c *checker) fail(path, message string) {
	if len(c.errs) < maxFieldErrors {
		if path == "" {
			path = "body"
		}
		c.errs = append(c.errs, FieldError{Field: path, Message: message})
	}
}

func (c *checker) value(s *shape, path string) {
	c.space()
	if c.raw[c.pos] == 'n' {
		c.fail(path, "is null; leave it out instead")
		c.skip()
		return
	}
	switch s.kind {
	case reflect.Struct:
		if c.want('{', path, "an object") {
			c.object(s, path)
		}
	case reflect.Slice:
		if c.want('[', path, "a list") {
			c.list(s.elem, path)
		}
	case reflect.String:
		if c.want('"', path, "a text") && !wholeText(c.skip()) {
			c.fail(path, "has half of a surrogate pair")
		}
	case reflect.Bool:
		if token := c.skip(); token[0] != 't' && token[0] != 'f' {
			c.fail(path, "must be true or false")
		}
	default:
		if _, err := strconv.ParseInt(string(c.skip()), 10, 64); err != nil {
			c.fail(path, "must be a whole number of 64 bits")
		}
	}
}

// want checks the first byte of a value and skips a value that has another.
func (c *checker) want(first byte, path, kind string) bool {
	if c.raw[c.pos] == first {
		return true
	}
	c.fail(path, "must be "+kind)
	c.skip()
	return false
}

func (c *checker) object(s *shape, path string) {
	var seen uint64 // bit i: field i
	c.pos++         // {
	for c.space(); c.raw[c.pos] != '}'; c.space() {
		if c.raw[c.pos] == ',' {
			c.pos++
			c.space()
		}
		token := c.skip()
		key := string(token[1 : len(token)-1])
		if strings.Contains(key, `\`) {
			if err := json.Unmarshal(token, &key); err != nil {
				panic(err) // the text is valid
			}
		}
		c.space()
		c.pos++ // :
		i := slices.IndexFunc(s.fields, func(f field) bool { return f.name == key })
		switch {
		case i < 0:
			c.fail(join(path, key), "is not a field of the schema")
			c.space()
			c.skip()
		case seen&(1<<i) != 0:
			c.fail(join(path, key), "is there twice")
			c.space()
			c.skip()
		default:
			seen |= 1 << i
			c.value(s.fields[i].shape, join(path, key))
		}
	}
	c.pos++ // }
	for i, f := range s.fields {
		if f.required && seen&(1<<i) == 0 {
			c.fail(join(path, f.name), "is missing")
		}
	}
}

func (c *checker) list(elem *shape, path string) {
	c.pos++ // [
	i := 0
	for c.space(); c.raw[c.pos] != ']'; c.space() {
		if c.raw[c.pos] == ',' {
			c.pos++
		}
		c.value(elem, path+"["+strconv.Itoa(i)+"]")
		i++
	}
	c.pos++ // ]
}

// skip passes a value and returns its text.
func (c *checker) skip() []byte {
	start, depth := c.pos, 0
	for {
		switch b := c.raw[c.pos]; b {
		case '"':
			c.pos++
			for c.raw[c.pos] != '"' {
				if c.raw[c.pos] == '\\' {
					c.pos++
				}
				c.pos++
			}
			c.pos++
		case '{', '[':
			depth++
			c.pos++
		case '}', ']':
			depth--
			c.pos++
		case ',', ':', ' ', '\t', '\r', '\n':
			c.pos++
			continue // only met inside
		default: // number, true, false, null
			for c.pos < len(c.raw) && strings.IndexByte(",:]} \t\r\n", c.raw[c.pos]) < 0 {
				c.pos++
			}
		}
		if depth == 0 {
			return c.raw[start:c.pos]
		}
	}
}

func (c *checker) space() {
	for c.pos < len(c.raw) && strings.IndexByte(" \t\r\n", c.raw[c.pos]) >= 0 {
		c.pos++
	}
}

func join(path, key string) string {
	if len(key) > maxShownKey {
		key = strings.ToValidUTF8(key[:maxShownKey], "") + "…"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// wholeText reports whether the escapes of a JSON string pair its surrogates.
func wholeText(token []byte) bool {
	for i := 0; i < len(token)-1; i++ {
		if token[i] != '\\' {
			continue
		}
		i++
		if token[i] != 'u' {
			continue
		}
		unit := hex4(token[i+1:])
		i += 4
		switch {
		case unit >= 0xdc00 && unit <= 0xdfff:
			return false
		case unit >= 0xd800 && unit <= 0xdbff:
			rest := token[i+1:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
				return false
			}
			if low := hex4(rest[2:]); low < 0xdc00 || low > 0xdfff {
				return false
			}
			i += 6
		}
	}
	return true
}

func hex4(b []byte) uint64 {
	n, err := strconv.ParseUint(string(b[:4]), 16, 32)
	if err != nil {
		panic(err) // the text is valid
	}
	return n
}
