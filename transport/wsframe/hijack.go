package wsframe

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
)

// controlBuffer is the size of the write buffer given to coder/websocket: a
// whole control frame (at most 2+125 bytes) must fit, so that it comes down in
// one Write and can't be torn by raw writes.
const controlBuffer = 128

// hijacker is the ResponseWriter shown to websocket.Accept. It takes over the
// connection with small buffers of its own, instead of net/http's two of 4 KB.
type hijacker struct {
	http.ResponseWriter
	options *Options
	conn    *rawConn      // set by Hijack
	reader  *bufio.Reader // of conn, likewise
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("hijack: %w", err)
	}
	h.conn = &rawConn{Conn: conn, timeout: h.options.WriteTimeout, protocolError: h.options.ProtocolErrorCode, onFrames: h.options.OnFrames}
	if n := rw.Reader.Buffered(); n > 0 {
		ahead, err := rw.Reader.Peek(n)
		if err != nil {
			_ = conn.Close()
			return nil, nil, fmt.Errorf("take %d bytes read ahead: %w", n, err)
		}
		h.conn.prefix = append([]byte(nil), ahead...)
	}
	h.bound(conn)
	h.reader = bufio.NewReaderSize(h.conn, h.options.ReadBuffer)
	return h.conn, bufio.NewReadWriter(h.reader, bufio.NewWriterSize(h.conn, controlBuffer)), nil
}

// bound limits the kernel's send buffer, through TLS if need be.
func (h *hijacker) bound(conn net.Conn) {
	if h.options.SendBuffer <= 0 {
		return
	}
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn()
	}
	if b, ok := conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		// A kernel that refuses leaves its own bound in force.
		_ = b.SetWriteBuffer(h.options.SendBuffer)
	}
}
