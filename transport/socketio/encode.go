package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"bms/transport/wsframe"
)

// Binary is an argument of an event or an ack that is sent as an attachment
// and arrives as a Buffer or ArrayBuffer. Only an argument itself is, not a
// Binary inside of one, which is sent as JSON's base64. At most ten in a
// packet, as clients take no more.
type Binary []byte

// AppendEvent appends the prepared frame of an event without attachments,
// `42/ns,["name",args…]`. The same bytes serve every socket of the namespace,
// on either transport.
func AppendEvent(dst []byte, namespace, name string, args ...json.RawMessage) []byte {
	o := outgoing{kind: packetEvent, namespace: namespace, name: name, named: true, args: args}
	return o.append(dst)
}

// AppendBinaryEvent appends the prepared frames of an event with attachments.
// {"_placeholder":true,"num":i} in args, at any depth, stands for
// attachments[i].
func AppendBinaryEvent(dst []byte, namespace, name string, attachments [][]byte, args ...json.RawMessage) []byte {
	o := outgoing{kind: packetEvent, namespace: namespace, name: name, named: true, args: args, attachments: attachments}
	return o.append(dst)
}

// outgoing is a packet to be sent. kind is that of the packet without
// attachments.
type outgoing struct {
	kind        packetType
	namespace   string
	id          uint64
	hasID       bool
	name        string // of an event, if named
	named       bool
	args        []json.RawMessage
	attachments [][]byte
	data        json.RawMessage // in place of the array
}

// append appends the packet as whole frames.
func (o *outgoing) append(dst []byte) []byte {
	var scratch [64]byte
	head := o.appendHead(scratch[:0])
	var nameScratch [64]byte
	var name []byte
	if o.named {
		name = appendString(nameScratch[:0], o.name)
	}
	size := len(head) + len(o.data)
	parts := len(o.args)
	if o.named {
		parts++
		size += len(name)
	}
	array := o.named || o.args != nil
	if array {
		size += 2 + max(parts-1, 0) // brackets and commas
	}
	for _, a := range o.args {
		size += len(orNull(a))
	}
	dst = wsframe.AppendHeader(dst, wsframe.OpText, size)
	dst = append(dst, head...)
	dst = append(dst, o.data...)
	if array {
		dst = append(append(dst, '['), name...)
		for i, a := range o.args {
			if i > 0 || o.named {
				dst = append(dst, ',')
			}
			dst = append(dst, orNull(a)...)
		}
		dst = append(dst, ']')
	}
	for _, b := range o.attachments {
		dst = wsframe.AppendBinary(dst, b)
	}
	return dst
}

var null = json.RawMessage("null")

// orNull is what JavaScript makes of an argument that is not there.
func orNull(a json.RawMessage) json.RawMessage {
	if len(a) == 0 {
		return null
	}
	return a
}

// appendHead appends all that comes before the JSON, with the Engine.IO type.
func (o *outgoing) appendHead(dst []byte) []byte {
	kind := o.kind
	if len(o.attachments) > 0 {
		kind += packetBinaryEvent - packetEvent
	}
	dst = append(dst, engineMessage, '0'+byte(kind))
	if len(o.attachments) > 0 {
		dst = append(strconv.AppendInt(dst, int64(len(o.attachments)), 10), '-')
	}
	if o.namespace != "/" {
		dst = append(dst, o.namespace...)
		if o.hasID || o.named || o.args != nil || o.data != nil || o.kind == packetDisconnect {
			dst = append(dst, ',')
		}
	}
	if o.hasID {
		dst = strconv.AppendUint(dst, o.id, 10)
	}
	return dst
}

// encodeArgs turns values into JSON, and Binary ones into attachments.
func encodeArgs(values []any) ([]json.RawMessage, [][]byte, error) {
	args := make([]json.RawMessage, 0, len(values))
	var attachments [][]byte
	for i, v := range values {
		switch v := v.(type) {
		case Binary:
			placeholder := append([]byte(`{"_placeholder":true,"num":`), strconv.Itoa(len(attachments))...)
			args = append(args, append(placeholder, '}'))
			attachments = append(attachments, v)
		case json.RawMessage:
			args = append(args, v)
		default:
			raw, err := encodeJSON(v)
			if err != nil {
				return nil, nil, fmt.Errorf("encode argument %d: %w", i, err)
			}
			args = append(args, raw)
		}
	}
	if len(attachments) > maxAttachments {
		return nil, nil, errors.New("encode arguments: more than 10 attachments")
	}
	return args, attachments, nil
}

// encodeJSON is json.Marshal without the escaping of HTML, which Node doesn't
// do either.
func encodeJSON(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// appendString appends s as JSON.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			raw, err := encodeJSON(s)
			if err != nil { // a string always encodes
				return append(dst, `""`...)
			}
			return append(dst, raw...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}
