package wsframe

import (
	"encoding/binary"
	"math"
)

// Opcode is a WebSocket frame's opcode (RFC 6455, section 5.2).
type Opcode byte

// The opcodes of frames that are written here.
const (
	OpText   Opcode = 0x1
	OpBinary Opcode = 0x2
	opClose  Opcode = 0x8
)

// The layout of a server's frame:
//
//	byte 0     FIN (0x80) and opcode
//	byte 1     length below 126, or 126: 16 bits follow, or 127: 64 bits follow
//	then       the length, big endian, if byte 1 says so
//	then       the payload, not masked
const (
	fin       = 0x80
	length16  = 126
	length64  = 127
	maxHeader = 10
)

// AppendHeader appends the header of an unfragmented frame with size bytes of
// payload.
func AppendHeader(dst []byte, op Opcode, size int) []byte {
	dst = append(dst, fin|byte(op))
	switch {
	case size < length16:
		return append(dst, byte(size))
	case size <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, length16), uint16(size))
	default:
		return binary.BigEndian.AppendUint64(append(dst, length64), uint64(size))
	}
}

// HeaderSize is the number of bytes [AppendHeader] appends for a payload of
// size bytes.
func HeaderSize(size int) int {
	switch {
	case size < length16:
		return 2
	case size <= math.MaxUint16:
		return 4
	default:
		return maxHeader
	}
}

// appendText appends a text frame. The payload must be valid UTF-8.
func appendText(dst, payload []byte) []byte {
	return append(AppendHeader(dst, OpText, len(payload)), payload...)
}

// AppendBinary appends a binary frame.
func AppendBinary(dst, payload []byte) []byte {
	return append(AppendHeader(dst, OpBinary, len(payload)), payload...)
}

// Text is a text frame of its own. The payload must be valid UTF-8.
func Text(payload []byte) []byte {
	return appendText(make([]byte, 0, HeaderSize(len(payload))+len(payload)), payload)
}

// Binary is a binary frame of its own.
func Binary(payload []byte) []byte {
	return AppendBinary(make([]byte, 0, HeaderSize(len(payload))+len(payload)), payload)
}

// Next takes the first frame off frames, which must hold whole frames as the
// functions above build them. The payload is a part of frames. ok is false
// when frames is empty or not whole.
func Next(frames []byte) (op Opcode, payload, rest []byte, ok bool) {
	if len(frames) < 2 {
		return 0, nil, nil, false
	}
	op = Opcode(frames[0] &^ fin)
	size, at := uint64(frames[1]), 2
	switch size {
	case length16:
		if len(frames) < 4 {
			return 0, nil, nil, false
		}
		size, at = uint64(binary.BigEndian.Uint16(frames[2:])), 4
	case length64:
		if len(frames) < maxHeader {
			return 0, nil, nil, false
		}
		size, at = binary.BigEndian.Uint64(frames[2:]), maxHeader
	}
	if size > uint64(len(frames)-at) {
		return 0, nil, nil, false
	}
	end := at + int(size)
	return op, frames[at:end:end], frames[end:], true
}
