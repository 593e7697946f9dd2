package domain

import (
	"encoding/json"
	"fmt"
)

// upcast makes the payload of one version into that of the next.
type upcast func(json.RawMessage) (json.RawMessage, error)

// upcasts are all there are, by event type: the one at index i makes version
// i+2 of version i+1. Whoever raises a version in schemas adds one here, and
// keeps the sample of the old version in testdata: everybody, also clients that
// get old events, sees the current version only.
var upcasts = map[string][]upcast{}

// current makes a payload of any version into one of the current version. The
// error wraps ErrUnknownEvent for a type or version this program doesn't know.
func current(eventType string, version int, data json.RawMessage) (json.RawMessage, error) {
	s, ok := schemas[eventType]
	if !ok || version > s.version || version < 1 {
		return nil, fmt.Errorf("%w: %s version %d", ErrUnknownEvent, eventType, version)
	}
	for ; version < s.version; version++ {
		var err error
		if data, err = upcasts[eventType][version-1](data); err != nil {
			return nil, fmt.Errorf("make version %d of %s version %d: %w", version+1, eventType, version, err)
		}
	}
	return data, nil
}

// currentData is the event's payload in the current version; as it is stored if
// that can't be had.
func (e *Event) currentData() json.RawMessage {
	if len(upcasts) == 0 || e.Version < 1 {
		return e.Data
	}
	data, err := current(e.Type, e.Version, e.Data)
	if err != nil {
		return e.Data
	}
	return data
}
