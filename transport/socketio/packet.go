package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// packetType is the type of a Socket.IO packet.
type packetType byte

const (
	packetConnect packetType = iota
	packetDisconnect
	packetEvent
	packetAck
	packetConnectError
	packetBinaryEvent
	packetBinaryAck
)

// Limits of what is accepted in a packet. The first is socket.io-parser's, the
// same on both ends; JavaScript counts no further than the last.
const (
	maxAttachments = 10
	maxNamespace   = 256
	maxEventName   = 1024
	maxAckID       = 1<<53 - 1
)

// packet is a Socket.IO packet as it came, its JSON not yet looked into:
//
//	<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]
//
// A namespace begins with a slash and may end with the packet; none is "/".
type packet struct {
	kind        packetType
	attachments int
	namespace   []byte
	id          uint64
	hasID       bool
	data        []byte // nil when there is none
}

var rootNamespace = []byte("/")

// decodePacket takes a packet's text apart. The result refers to text.
func decodePacket(text []byte) (packet, error) {
	if len(text) == 0 || text[0] < '0' || text[0] > '0'+byte(packetBinaryAck) {
		return packet{}, errors.New("unknown packet type")
	}
	p := packet{kind: packetType(text[0] - '0'), namespace: rootNamespace}
	rest := text[1:]
	if p.kind == packetBinaryEvent || p.kind == packetBinaryAck {
		number, after, ok := bytes.Cut(rest, []byte{'-'})
		if !ok || len(number) > 2 {
			return packet{}, errors.New("number of attachments missing")
		}
		n, err := strconv.ParseUint(string(number), 10, 8)
		if err != nil || n < 1 || n > maxAttachments {
			return packet{}, errors.New("number of attachments out of range")
		}
		p.attachments, rest = int(n), after
	}
	if len(rest) > 0 && rest[0] == '/' {
		p.namespace, rest, _ = bytes.Cut(rest, []byte{','})
		if len(p.namespace) > maxNamespace {
			return packet{}, errors.New("namespace too long")
		}
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	if digits > 0 {
		id, err := strconv.ParseUint(string(rest[:min(digits, 20)]), 10, 64)
		if err != nil || id > maxAckID || digits > 20 {
			return packet{}, errors.New("ack id out of range")
		}
		p.id, p.hasID, rest = id, true, rest[digits:]
	}
	if len(rest) > 0 {
		p.data = rest
	}
	return p, p.check()
}

// check judges what can be judged without the JSON's inside.
func (p *packet) check() error {
	switch p.kind {
	case packetConnect:
		if p.data != nil && p.data[0] != '{' || p.hasID {
			return errors.New("CONNECT payload is not an object")
		}
		if p.data != nil && !json.Valid(p.data) {
			return errors.New("CONNECT payload is not JSON")
		}
	case packetDisconnect:
		if p.data != nil {
			return errors.New("DISCONNECT with a payload")
		}
	case packetEvent, packetBinaryEvent, packetAck, packetBinaryAck:
		if p.data == nil || p.data[0] != '[' {
			return errors.New("payload is not an array")
		}
		if !p.hasID && (p.kind == packetAck || p.kind == packetBinaryAck) {
			return errors.New("ACK without an id")
		}
	case packetConnectError:
		return errors.New("CONNECT_ERROR from a client")
	}
	return nil
}

// args takes the packet's array apart and checks placeholders against the
// number of attachments.
func (p *packet) args() ([]json.RawMessage, error) {
	var args []json.RawMessage
	if err := json.Unmarshal(p.data, &args); err != nil {
		return nil, fmt.Errorf("decode payload: %w", err)
	}
	if p.attachments > 0 {
		var tree []any
		if err := json.Unmarshal(p.data, &tree); err != nil {
			return nil, fmt.Errorf("decode payload: %w", err)
		}
		if err := checkPlaceholders(tree, p.attachments); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// checkPlaceholders walks decoded JSON and refuses a placeholder whose num is
// not the index of an attachment.
func checkPlaceholders(v any, attachments int) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := checkPlaceholders(e, attachments); err != nil {
				return err
			}
		}
	case map[string]any:
		if v["_placeholder"] == true {
			num, ok := v["num"].(float64)
			if !ok || num < 0 || num >= float64(attachments) || num != float64(int(num)) {
				return errors.New("placeholder without an attachment")
			}
			return nil
		}
		for _, e := range v {
			if err := checkPlaceholders(e, attachments); err != nil {
				return err
			}
		}
	}
	return nil
}

// eventName splits the name off an event's array. A number is as good as a
// string and is given as its text.
func eventName(args []json.RawMessage) (string, []json.RawMessage, error) {
	if len(args) == 0 {
		return "", nil, errors.New("event without a name")
	}
	first := args[0]
	if len(first) > maxEventName {
		return "", nil, errors.New("event name too long")
	}
	if first[0] == '-' || first[0] >= '0' && first[0] <= '9' {
		return string(first), args[1:], nil
	}
	if first[0] != '"' {
		return "", nil, errors.New("event name is neither string nor number")
	}
	var name string
	if err := json.Unmarshal(first, &name); err != nil {
		return "", nil, fmt.Errorf("decode event name: %w", err)
	}
	if reservedNames[name] {
		return "", nil, errors.New("reserved event name")
	}
	return name, args[1:], nil
}

// reservedNames are the events a client must not send: both ends emit them
// locally. The last is none in Socket.IO, but no program means well by it.
var reservedNames = map[string]bool{
	"connect":        true,
	"connect_error":  true,
	"disconnect":     true,
	"disconnecting":  true,
	"newListener":    true,
	"removeListener": true,
	"__proto__":      true,
}
