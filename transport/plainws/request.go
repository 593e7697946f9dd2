package plainws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"bms/transport/wsframe"
)

const (
	maxOpName = 128
	maxID     = 128 // bytes of JSON
)

// request is what a client sends: {"op":name,"id":id,"args":[…]}. id is a JSON
// number or string, empty for none. Other members are passed over.
type request struct {
	op   string
	id   json.RawMessage
	args []json.RawMessage
}

// parseRequest reads a client's message. What it returns doesn't refer to
// data. The error is for the client to read.
func parseRequest(data []byte) (request, error) {
	if !utf8.Valid(data) {
		return request{}, errors.New("not UTF-8")
	}
	members, err := membersOf(data)
	if err != nil {
		return request{}, err
	}
	var r request
	var op *string
	if err := json.Unmarshal(orNull(members["op"]), &op); err != nil || op == nil || *op == "" || len(*op) > maxOpName {
		return request{}, fmt.Errorf("op must be a string of 1 to %d bytes", maxOpName)
	}
	r.op = *op
	if id := members["id"]; len(id) > 0 && string(id) != "null" {
		if c := id[0]; len(id) > maxID || c != '"' && c != '-' && (c < '0' || c > '9') {
			return request{}, fmt.Errorf("id must be a number or a string, of at most %d bytes", maxID)
		}
		r.id = id
	}
	if err := json.Unmarshal(orNull(members["args"]), &r.args); err != nil {
		return request{}, errors.New("args must be an array")
	}
	return r, nil
}

// membersOf reads an object. Names are taken to the letter, and each may be
// there once: encoding/json would take any case, and the last.
func membersOf(data []byte) (map[string]json.RawMessage, error) {
	bad := errors.New("not a JSON object")
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, bad
	}
	members := make(map[string]json.RawMessage, 3)
	for dec.More() {
		key, err := dec.Token()
		name, ok := key.(string)
		var value json.RawMessage
		if err != nil || !ok || dec.Decode(&value) != nil {
			return nil, bad
		}
		if _, twice := members[name]; twice {
			return nil, errors.New("a member is there twice")
		}
		members[name] = value
	}
	if _, err := dec.Token(); err != nil { // the brace
		return nil, bad
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, bad
	}
	return members, nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

// ackFrame is the frame of {"type":"ack","id":id,"data":data}.
func ackFrame(id json.RawMessage, data any) ([]byte, error) {
	raw, ok := data.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(data); err != nil {
			return nil, fmt.Errorf("encode an answer: %w", err)
		}
	}
	const before, between = `{"type":"ack","id":`, `,"data":`
	size := len(before) + len(id) + len(between) + len(raw) + 1
	frame := wsframe.AppendHeader(make([]byte, 0, wsframe.HeaderSize(size)+size), wsframe.OpText, size)
	frame = append(append(frame, before...), id...)
	frame = append(append(frame, between...), raw...)
	return append(frame, '}'), nil
}
