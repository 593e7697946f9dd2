package wsframe

import "encoding/binary"

// frameCounter counts the frames that a client sends, in whatever pieces they
// come. coder/websocket tells of messages, pings and pongs; what costs it time
// is frames, and a message may have any number of them, empty ones too.
//
// A client's frame has a header as a server's (see AppendHeader), with 0x80 set
// in byte 1, and a mask of four bytes between length and payload.
type frameCounter struct {
	rest   uint64 // of the payload under way
	header [maxHeader]byte
	have   int // bytes of the next header
	mask   int // bytes of its mask that are still to come
}

const (
	maskBit  = 0x80
	maskSize = 4
)

// count takes what has come and gives the number of headers that it completes.
func (c *frameCounter) count(p []byte) (frames int) {
	for len(p) > 0 {
		if c.mask > 0 {
			n := min(c.mask, len(p))
			c.mask -= n
			p = p[n:]
			continue
		}
		if c.rest > 0 {
			n := min(c.rest, uint64(len(p)))
			c.rest -= n
			p = p[n:]
			continue
		}
		c.header[c.have] = p[0]
		c.have++
		p = p[1:]
		if c.have < 2 || c.have < headerSize(c.header[1]) {
			continue
		}
		switch c.have {
		case 2:
			c.rest = uint64(c.header[1] &^ maskBit)
		case 4:
			c.rest = uint64(binary.BigEndian.Uint16(c.header[2:]))
		default:
			c.rest = binary.BigEndian.Uint64(c.header[2:])
		}
		if c.header[1]&maskBit != 0 {
			c.mask = maskSize
		}
		c.have = 0
		frames++
	}
	return frames
}

// headerSize is the size of a header by its second byte, without the mask.
func headerSize(second byte) int {
	switch second &^ maskBit {
	case length16:
		return 4
	case length64:
		return maxHeader
	default:
		return 2
	}
}
