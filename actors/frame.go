package actors

import (
	"encoding/json"
	"sync/atomic"

	"bms/domain"
)

// Codec encodes for the wire of one protocol and namespace. What it returns is
// shared by every connection of that protocol and namespace and never changed.
// Implementations are safe for concurrent use.
type Codec interface {
	// Event encodes an event of the log, complete with its position: where the
	// client goes on when this is the last it got.
	Event(e *domain.Event) []byte
	// LastUnread encodes the event that is the last of the unread
	// notifications. From it on the client is to go on at s.Pos, and not at
	// the event's position: a protocol whose events can't say so has the
	// session message follow in the same bytes once more, as it is by then.
	LastUnread(e *domain.Event, s *Session) []byte
	// Session encodes the session message, with the position where the client
	// is to go on: s.Pos, or before its unread notifications. A protocol that
	// keeps its clients' cursors must carry it.
	Session(s *Session, cursor domain.Position) []byte
	// Message encodes what else is not in the log (stats), likewise with the
	// position where the client is to go on.
	Message(name string, data json.RawMessage, cursor domain.Position) []byte
}

// Frame is an event on its way to the sockets: the rooms it is for, and its
// bytes on the wire, made once per codec by whoever needs them first. Frames
// are shared; all but the cached bytes is immutable.
type Frame struct {
	event  *domain.Event
	rooms  []string
	origin *origin                  // nil: read again, and not traced
	wire   []atomic.Pointer[[]byte] // by the codec's index in HubConfig.Codecs
}

func (h *Hub) newFrame(e *domain.Event, o *origin) *Frame {
	return &Frame{event: e, rooms: domain.AppendRooms(nil, e), origin: o, wire: make([]atomic.Pointer[[]byte], len(h.cfg.Codecs))}
}

// pos is the frame's place in the log.
func (f *Frame) pos() domain.Position { return f.event.Pos }

// size is about how many bytes it takes once it has been encoded for every codec.
func (f *Frame) size() int { return (1+len(f.wire))*len(f.event.Data) + 512 }

// encoded returns the frame's bytes for the codec of that index.
func (f *Frame) encoded(h *Hub, codec int) []byte {
	if b := f.wire[codec].Load(); b != nil {
		return *b
	}
	b := h.cfg.Codecs[codec].Event(f.event)
	if !f.wire[codec].CompareAndSwap(nil, &b) {
		return *f.wire[codec].Load()
	}
	return b
}

// framesOf makes the frames of a commit.
func (h *Hub) framesOf(dst []*Frame, c *domain.Commit, o *origin) []*Frame {
	for i := range c.Events {
		dst = append(dst, h.newFrame(&c.Events[i], o))
	}
	return dst
}
