package wsframe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// Options says how a WebSocket is accepted and bounded.
type Options struct {
	// Subprotocols are the ones offered, in order of preference.
	Subprotocols []string

	// ReadLimit is the most bytes of one message; a longer one ends the
	// connection with close code 1009. Zero means 1,000,000.
	ReadLimit int64

	// ReadBuffer is the size of the read buffer in bytes. Longer messages are
	// read past it. Zero means 512.
	ReadBuffer int

	// SendBuffer bounds, in bytes, what the kernel keeps of written and
	// unsent data (SO_SNDBUF; Linux doubles it). Zero leaves it to the kernel,
	// which was seen to take 3.9 MB from a peer that doesn't read.
	SendBuffer int

	// Deflater compresses for clients that offer permessage-deflate, and lets
	// them compress what they send: ReadLimit is then of a message as it comes
	// out. nil, as well as a client that doesn't offer it: no compression.
	//
	// Agreed on, it takes nothing of an idle connection. But coder/websocket
	// keeps a buffer of 4 KB, and its stack doubles to 8 KB, once the client
	// has sent a compressed message.
	Deflater *Deflater

	// WriteTimeout is how long a write may make no progress at all before it
	// fails. Zero means 30 s.
	WriteTimeout time.Duration

	// OnFrames is called on the reading goroutine with the number of frames
	// that have begun to come, of any kind: a message in a thousand fragments
	// is as many. If it returns false the connection is aborted. nil allows any
	// number.
	OnFrames func(frames int) bool

	// OnPing is called on the reading goroutine for each WebSocket ping. If it
	// returns false the connection is aborted. nil allows any number.
	OnPing func() bool

	// OnPong is called on the reading goroutine for each WebSocket pong.
	OnPong func()

	// ProtocolErrorCode is the close code for a peer that breaks RFC 6455.
	// Zero means 1002.
	ProtocolErrorCode websocket.StatusCode
}

// ErrProtocol is wrapped in [Conn.Read]'s error when the peer broke RFC 6455:
// bits, opcodes or a sequence of frames that may not be.
var ErrProtocol = errors.New("peer breaks the WebSocket protocol")

func (o *Options) setDefaults() {
	if o.ReadLimit == 0 {
		o.ReadLimit = 1_000_000
	}
	if o.ReadBuffer == 0 {
		o.ReadBuffer = 512
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 30 * time.Second
	}
}

// Conn is a server's end of a WebSocket.
//
// Its reader must always be running, else pings and the peer's close frame go
// unanswered, and must call [Conn.Close] when Read has returned an error.
type Conn struct {
	ws  *websocket.Conn
	raw *rawConn

	// messages counts messages, twice: odd while one is being read.
	messages atomic.Uint64
}

// Accept answers the WebSocket handshake. It checks no origin: that is the
// caller's part. On an error it has written the HTTP answer. The handler may
// return once Accept has; the connection lives on.
func Accept(w http.ResponseWriter, r *http.Request, o Options) (*Conn, error) {
	o.setDefaults()
	h := &hijacker{ResponseWriter: w, options: &o}
	accept := &websocket.AcceptOptions{
		Subprotocols:       o.Subprotocols,
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	}
	if o.Deflater != nil {
		accept.CompressionMode = websocket.CompressionNoContextTakeover
	}
	pings := &pings{allow: o.OnPing}
	if o.OnPing != nil {
		accept.OnPingReceived = pings.received
	}
	if heard := o.OnPong; heard != nil {
		accept.OnPongReceived = func(context.Context, []byte) { heard() }
	}
	ws, err := websocket.Accept(h, r, accept)
	if err != nil {
		if h.conn != nil {
			_ = h.conn.Close()
		}
		return nil, fmt.Errorf("accept WebSocket: %w", err)
	}
	ws.SetReadLimit(o.ReadLimit)
	if h.Header().Get("Sec-WebSocket-Extensions") != "" {
		h.conn.deflater = o.Deflater
	}
	// coder/websocket has put a reader of what was read ahead in front of the
	// connection. There is nothing (see rawConn.prefix), so it is only a frame
	// more on the stack of a goroutine that waits for most of its life.
	h.reader.Reset(h.conn)
	pings.conn = h.conn
	return &Conn{ws: ws, raw: h.conn}, nil
}

// pings refuses pings. It lives as long as the connection, and so must not
// refer to the request or its ResponseWriter: their buffers are most of the
// memory of an idle connection.
type pings struct {
	allow func() bool
	conn  *rawConn
}

func (p *pings) received(context.Context, []byte) bool {
	if p.allow() {
		return true
	}
	// Not websocket.Conn.CloseNow, which waits for this very reader.
	_ = p.conn.Close()
	return false
}

// SetReadLimit sets Options.ReadLimit anew, from the next message on. It doesn't
// block.
func (c *Conn) SetReadLimit(n int64) { c.ws.SetReadLimit(n) }

// Read waits for the next message. The caller may keep what it returns and
// must not write to it. It is not checked to be UTF-8. Read must not be called
// concurrently.
//
// Errors: websocket.ErrMessageTooBig, a close frame (see [CloseStatus]),
// [ErrProtocol], and those of the network.
func (c *Conn) Read() (Opcode, []byte, error) {
	// The reader waits in here for most of its life: this frame is small.
	typ, r, err := c.ws.Reader(context.Background())
	if err != nil {
		return 0, nil, c.readError(err)
	}
	data, err := c.gather(r)
	if err != nil {
		return 0, nil, c.readError(err)
	}
	if typ == websocket.MessageBinary {
		return OpBinary, data, nil
	}
	return OpText, data, nil
}

// readError marks the error of a peer that breaks the protocol.
func (c *Conn) readError(err error) error {
	if !c.raw.failed && !errors.Is(err, net.ErrClosed) && !errors.Is(err, websocket.ErrMessageTooBig) && CloseStatus(err) == -1 {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return err
}

// gather reads a message to its end.
func (c *Conn) gather(r io.Reader) ([]byte, error) {
	c.messages.Add(1)
	defer c.messages.Add(1)
	// A message is gathered in a buffer that all connections share and is then
	// copied at its true size, so that an idle connection holds none and a
	// retained message has no slack.
	scratch := scratches.Get().(*[]byte)
	defer func() {
		if cap(*scratch) <= maxScratch {
			scratches.Put(scratch)
		}
	}()
	data := (*scratch)[:0]
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
			*scratch = data
		}
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if len(data) == 1 {
		return single[data[0]], nil
	}
	return append(make([]byte, 0, len(data)), data...), nil
}

// Aside calls f on another goroutine and waits for it. A reader handles what it
// has read like this: a stack that f has made grow would stay large for as long
// as the reader waits, which is the life of the connection.
func Aside(f func() error) error {
	done := make(chan error)
	go func() { done <- f() }()
	return <-done
}

// Receiving is a number that stands for the message that has begun to come and
// has not ended, 0 if there is none. A peer that answers pings between the
// fragments of a message, and never ends it, is told by it.
func (c *Conn) Receiving() uint64 {
	if n := c.messages.Load(); n%2 == 1 {
		return n
	}
	return 0
}

const maxScratch = 64 << 10

var scratches = sync.Pool{New: func() any {
	b := make([]byte, 0, 2<<10)
	return &b
}}

// single holds the one-byte messages, such as heartbeats, which are so common
// that they shouldn't be allocated.
var single = func() (all [256][]byte) {
	for i := range all {
		all[i] = []byte{byte(i)} // length and capacity 1: append copies
	}
	return all
}()

// Write writes prepared frames, each element one or more whole ones, in one
// system call if they are few or small. It returns when the kernel has taken
// them all; [ErrNoProgress] when it took not one byte for the write timeout;
// net.ErrClosed when a close frame was sent before. After an error the
// connection is of no more use: Abort it.
func (c *Conn) Write(frames ...[]byte) error { return c.raw.writeFrames(frames) }

// Shutdown sends a close frame and gives the peer grace to answer it, after
// which Read fails. Code 1005 (websocket.StatusNoStatusRcvd) sends an empty
// one. It waits for a Write under way, whose deadline becomes grace, and then
// at most grace. Reason may have up to 123 bytes.
func (c *Conn) Shutdown(code websocket.StatusCode, reason string, grace time.Duration) error {
	return c.raw.shutdown(closeFrame(code, reason), grace)
}

// Discard reads and drops what the peer still sends, until it closes or the
// grace of a Shutdown before is over, and at most 1 MB. To close a connection with bytes unread
// resets it, and the peer may not see the close frame. Only the reader may
// call it, when Read has returned an error.
func (c *Conn) Discard() { _, _ = io.CopyN(io.Discard, c.raw.Conn, 1<<20) }

// Hurry shortens the deadline of a Write under way, and of all later ones, to
// grace from now. It doesn't block.
func (c *Conn) Hurry(grace time.Duration) { c.raw.hurry(grace) }

// Abort closes the connection at once and without a close frame. Read and
// Write return. It doesn't block.
func (c *Conn) Abort() { _ = c.raw.Close() }

// Close ends the connection and frees what coder/websocket holds. Only the
// reader may call it, when Read has returned an error.
func (c *Conn) Close() { _ = c.ws.CloseNow() }

// CloseStatus is the code in the peer's close frame if err, returned by Read,
// comes from one, or else -1.
func CloseStatus(err error) websocket.StatusCode { return websocket.CloseStatus(err) }
