package domain

import (
	"bytes"
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

// checkJSON checks a JSON text against a struct type more strictly than
// encoding/json reads it: exact keys, each once, no null, kinds and ranges as
// the fields have them, Unicode that is whole, and every number field that is
// not omitempty present.
func checkJSON(raw []byte, t reflect.Type) *Rejection {
	if !utf8.Valid(raw) {
		return Invalid(FieldError{Field: "body", Message: "is not UTF-8"})
	}
	if !json.Valid(raw) { // bounds the depth, too
		return Invalid(FieldError{Field: "body", Message: "is not JSON"})
	}
	c := checker{raw: raw}
	c.value(t, "")
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

func (c *checker) value(t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	c.space()
	if c.raw[c.pos] == 'n' {
		c.fail(path, "is null; leave it out instead")
		c.skip()
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		if c.want('{', path, "an object") {
			c.object(t, path)
		}
	case reflect.Slice:
		if c.want('[', path, "a list") {
			c.list(t.Elem(), path)
		}
	case reflect.String:
		if c.want('"', path, "a text") && !wholeText(c.skip()) {
			c.fail(path, "has half of a surrogate pair")
		}
	case reflect.Bool:
		if token := c.skip(); token[0] != 't' && token[0] != 'f' {
			c.fail(path, "must be true or false")
		}
	default: // int64
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

func (c *checker) object(t reflect.Type, path string) {
	var seen uint64 // by field index
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
		i := fieldNamed(t, key)
		at := join(path, key)
		switch {
		case i < 0:
			c.fail(at, "is not a field of the schema")
			c.space()
			c.skip()
		case seen&(1<<i) != 0:
			c.fail(at, "is there twice")
			c.space()
			c.skip()
		default:
			seen |= 1 << i
			c.value(t.Field(i).Type, at)
		}
	}
	c.pos++ // }
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type.Kind() == reflect.Int64 && options == "" && seen&(1<<i) == 0 {
			c.fail(join(path, name), "is missing")
		}
	}
}

func (c *checker) list(elem reflect.Type, path string) {
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
			for c.pos < len(c.raw) && !bytes.ContainsRune([]byte(",:]} \t\r\n"), rune(c.raw[c.pos])) {
				c.pos++
			}
		}
		if depth == 0 {
			return c.raw[start:c.pos]
		}
	}
}

func (c *checker) space() {
	for c.pos < len(c.raw) && slices.Contains([]byte(" \t\r\n"), c.raw[c.pos]) {
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

// fieldNamed returns the index of the field with a JSON name, or -1. The
// structs have a handful of fields each: a loop beats a map.
func fieldNamed(t reflect.Type, key string) int {
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name == key {
			return i
		}
	}
	return -1
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
