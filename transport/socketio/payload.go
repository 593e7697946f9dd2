package socketio

import (
	"bytes"
	"encoding/base64"
	"errors"
	"unicode/utf8"

	"bms/transport/wsframe"
)

// Engine.IO packet types. On a WebSocket a packet is a message: text with the
// type first, or binary without a type. A polling body is any number of
// packets separated by 0x1e, in which a binary packet is 'b' and base64.
const (
	engineOpen    = '0'
	engineClose   = '1'
	enginePing    = '2'
	enginePong    = '3'
	engineMessage = '4'
	engineUpgrade = '5'
	engineNoop    = '6'
	engineBinary  = 'b'

	separator = 0x1e
)

// engineIn is an Engine.IO packet from a client.
type engineIn struct {
	kind byte // never engineBinary: binary says so
	// data is what follows the type, or the bytes of a binary message.
	data   []byte
	binary bool
}

var (
	errEmptyPacket = errors.New("empty packet")
	errPacketType  = errors.New("unknown Engine.IO packet type")
	errBase64      = errors.New("binary packet is not base64")
	errUTF8        = errors.New("text is not UTF-8")
)

// decodeText decodes a packet from a text message or a part of a polling body.
func decodeText(text []byte) (engineIn, error) {
	if len(text) == 0 {
		return engineIn{}, errEmptyPacket
	}
	kind, rest := text[0], text[1:]
	switch {
	case kind == engineBinary:
		data, err := decodeBase64(rest)
		if err != nil {
			return engineIn{}, err
		}
		return engineIn{kind: engineMessage, data: data, binary: true}, nil
	case kind < engineOpen || kind > engineNoop:
		return engineIn{}, errPacketType
	case !utf8.Valid(rest):
		return engineIn{}, errUTF8
	}
	return engineIn{kind: kind, data: rest}, nil
}

// decodeBase64 takes the standard alphabet with or without padding, as Node
// does.
func decodeBase64(text []byte) ([]byte, error) {
	text = bytes.TrimRight(text, "=")
	data := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, err := base64.RawStdEncoding.Decode(data, text)
	if err != nil {
		return nil, errBase64
	}
	return data[:n], nil
}

// nextPacket takes the first packet off a polling body.
func nextPacket(body []byte) (text, rest []byte) {
	text, rest, _ = bytes.Cut(body, []byte{separator})
	return text, rest
}

// appendPayload appends prepared frames to a polling body.
func appendPayload(body, frames []byte) []byte {
	for {
		op, payload, rest, ok := wsframe.Next(frames)
		if !ok {
			return body
		}
		if len(body) > 0 {
			body = append(body, separator)
		}
		if op == wsframe.OpBinary {
			body = append(body, engineBinary)
			body = base64.StdEncoding.AppendEncode(body, payload)
		} else {
			body = append(body, payload...)
		}
		frames = rest
	}
}
