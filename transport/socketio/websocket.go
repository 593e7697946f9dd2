package socketio

import (
	"errors"
	"net/http"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

// serveWebSocket opens a session over WebSocket.
func (e *engine) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := wsframe.Accept(w, r, e.wsOptions())
	if err != nil {
		e.server.config.Observer.Refused("bad WebSocket handshake")
		e.end(TransportError, ending{})
		return
	}
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.conn.Store(conn)
		e.lane.Put(openFrame(e.openData(WebSocket)), &e.server.config.Config)
	}
	e.mu.Unlock()
	// It is started before it is read from: what its first packet brings about
	// is told, too.
	if !closed {
		e.start()
	}
	if closed || !e.server.goTracked(func() { e.readWebSocket(conn) }) {
		conn.Abort()
		conn.Close()
		return
	}
	e.wake()
}

// readWebSocket is the reader of a session's WebSocket.
func (e *engine) readWebSocket(conn *wsframe.Conn) {
	err := e.readPackets(conn)
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig):
		e.close(ParseError)
		// coder/websocket has written 1009.
		if conn.Shutdown(websocket.StatusMessageTooBig, "", closeGrace) == nil {
			conn.Discard()
		}
	case wsframe.CloseStatus(err) != -1:
		e.close(TransportClose)
	default:
		e.close(TransportError)
	}
	conn.Abort() // lets a flusher that is blocked go
	e.flusher.Retire()
	conn.Close()
}

// readPackets handles packets until the connection ends. Once the session is
// closed it reads on, for the peer's close frame; Shutdown bounds that.
func (e *engine) readPackets(conn *wsframe.Conn) error {
	for {
		op, data, err := conn.Read()
		if err != nil {
			return err
		}
		if len(data) > 1 { // all but heartbeats
			err = wsframe.Aside(func() error { return e.handle(op == wsframe.OpText, data) })
		} else {
			err = e.handle(op == wsframe.OpText, data)
		}
		if err != nil {
			e.fail(err)
		}
	}
}
