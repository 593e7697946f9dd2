package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// ErrNotAnObject is returned by Members for what is not one JSON object.
var ErrNotAnObject = errors.New("not a JSON object")

// TwiceError is returned by Members for a name that is there twice.
type TwiceError struct{ Name string }

// Error doesn't show the name, which may be anything.
func (e *TwiceError) Error() string { return "a member is there twice" }

// Members reads one JSON object and nothing after it: the values by their names,
// which are taken to the letter and may be there once. (encoding/json would take
// them in any case, and the last of two.) The values are copies. The error is
// ErrNotAnObject or a TwiceError.
func Members(raw []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, ErrNotAnObject
	}
	members := make(map[string]json.RawMessage, 3)
	for dec.More() {
		key, err := dec.Token()
		name, ok := key.(string)
		var value json.RawMessage
		if err != nil || !ok || dec.Decode(&value) != nil {
			return nil, ErrNotAnObject
		}
		if _, twice := members[name]; twice {
			return nil, &TwiceError{name}
		}
		members[name] = value
	}
	if _, err := dec.Token(); err != nil { // the brace
		return nil, ErrNotAnObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrNotAnObject
	}
	return members, nil
}
