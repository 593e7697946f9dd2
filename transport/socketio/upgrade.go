package socketio

import (
	"net/http"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

// serveUpgrade takes a WebSocket for a session that is polling:
//
//	client                        server
//	WebSocket: 2probe          →
//	                           ←  WebSocket: 3probe; GETs end with 6 from now
//	(stops polling)
//	WebSocket: 5               →
//	                              all goes over the WebSocket
//
// Anything else on the WebSocket, or nothing for Config.UpgradeTimeout, closes
// it and leaves the session polling.
func (e *engine) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	conn, err := wsframe.Accept(w, r, e.wsOptions())
	if err != nil {
		e.server.config.Observer.Refused("bad WebSocket handshake")
		return
	}
	e.mu.Lock()
	taken := e.closed || e.conn.Load() != nil || e.probe != nil
	if !taken {
		e.probe = conn
	}
	e.mu.Unlock()
	// A second WebSocket is closed only after the handshake: clients take a
	// refused one for a fault of the whole session.
	if taken {
		e.server.config.Observer.Refused("session has a WebSocket")
	}
	if !e.server.goTracked(func() { e.readProbe(conn, taken) }) {
		conn.Abort()
		conn.Close()
	}
}

// readProbe sees the upgrade through and then is the WebSocket's reader.
func (e *engine) readProbe(conn *wsframe.Conn, taken bool) {
	if taken {
		dismiss(conn)
		return
	}
	timeout := time.AfterFunc(e.server.config.UpgradeTimeout, conn.Abort)
	ok := e.expectProbe(conn) && e.expectUpgrade(conn) && timeout.Stop()
	if !ok || !e.upgrade(conn) {
		timeout.Stop()
		e.mu.Lock()
		if e.probe == conn {
			e.probe, e.probed = nil, false
		}
		e.mu.Unlock()
		dismiss(conn)
		return
	}
	e.wake()
	e.readWebSocket(conn)
}

// dismiss closes a WebSocket that didn't become a session's.
func dismiss(conn *wsframe.Conn) {
	if conn.Shutdown(websocket.StatusNoStatusRcvd, "", closeGrace) == nil {
		for {
			if _, _, err := conn.Read(); err != nil {
				break
			}
		}
	}
	conn.Abort()
	conn.Close()
}

// expectProbe answers the probe and lets the pending GET end, so that the
// client can stop polling.
func (e *engine) expectProbe(conn *wsframe.Conn) bool {
	op, data, err := conn.Read()
	if err != nil || op != wsframe.OpText || string(data) != "2probe" {
		return false
	}
	if conn.Write(probeFrame) != nil {
		return false
	}
	e.mu.Lock()
	e.probed = true
	if e.poll != nil {
		e.poll.signal()
	}
	e.mu.Unlock()
	return true
}

func (e *engine) expectUpgrade(conn *wsframe.Conn) bool {
	op, data, err := conn.Read()
	return err == nil && op == wsframe.OpText && len(data) == 1 && data[0] == engineUpgrade
}

// upgrade makes conn the session's transport. A ping that went out by polling
// and is unanswered is forgiven: its pong may have been lost between the two.
func (e *engine) upgrade(conn *wsframe.Conn) bool {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return false
	}
	e.conn.Store(conn)
	conn.SetReadLimit(int64(e.payload())) // it may have joined since the handshake
	e.probe, e.probed = nil, false
	if e.poll != nil {
		e.poll.signal()
	}
	if e.awaiting {
		e.awaiting = false
		e.arm(e.server.config.PingInterval)
	}
	e.mu.Unlock()
	return true
}
