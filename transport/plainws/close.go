package plainws

import (
	"context"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

// The close codes of this protocol, in two groups by what a client is to do.
// Those that this package uses itself are marked with their reason.
const (
	// Don't come back unchanged.
	StatusProtocolError websocket.StatusCode = 4400 // ReasonProtocolError
	StatusTokenEnded    websocket.StatusCode = 4401
	StatusRightsEnded   websocket.StatusCode = 4403
	StatusDisconnected  websocket.StatusCode = 4409
	StatusTooLarge                           = websocket.StatusMessageTooBig // ReasonTooLarge

	// Come back, and go on where you were.
	StatusTooSlow    websocket.StatusCode = 4408                            // ReasonTooSlow, ReasonSilent
	StatusTooMany    websocket.StatusCode = 4429                            // ReasonTooMany
	StatusRestart                         = websocket.StatusServiceRestart  // ReasonShuttingDown
	StatusTryAgain                        = websocket.StatusTryAgainLater   // ReasonFault
	statusHungUp                          = websocket.StatusAbnormalClosure // nothing can be told
	statusPeerClosed                      = websocket.StatusNoStatusRcvd    // nothing need be told
)

// The reasons for which this package ends connections.
const (
	ReasonProtocolError  = "protocol error"
	ReasonTooLarge       = "message too large"
	ReasonTooSlow        = "too slow"
	ReasonSilent         = "silent"
	ReasonTooMany        = "too many messages"
	ReasonShuttingDown   = "server shutting down"
	ReasonFault          = "server error"
	ReasonTransportClose = "transport close"
	ReasonTransportError = "transport error"
)

// closeGrace is how long a closing connection has to take what is still to be
// written, and to answer the close frame.
const closeGrace = 5 * time.Second

// end ends the connection; the first call counts. Whatever has been queued is
// written before the close frame. say is added to the reason for the client
// alone.
func (c *Conn) end(code websocket.StatusCode, reason, say string) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed, c.code, c.reason, c.say = true, code, reason, say
	if c.beat != nil {
		c.beat.Stop()
	}
	opened := c.opened
	c.mu.Unlock()
	if !opened { // open goes on from here
		return
	}
	c.hangUp()
}

// hangUp starts the closing of an open connection that has been ended.
func (c *Conn) hangUp() {
	c.mu.Lock()
	code, reason := c.code, c.reason
	c.mu.Unlock()
	if code == statusHungUp || code == statusPeerClosed {
		c.frames.Abort()
		code = 0
	} else {
		c.frames.Hurry(closeGrace)
		c.wake() // the flusher writes the lane and the close frame
	}
	c.server.config.Observer.Closed(code, reason)
	c.tell(reason)
}

// Drain takes no new connections and closes those that are there with
// StatusRestart, in waves over about spread, in random order. It returns when
// all have ended, or ctx has, with its error. Close the server afterwards.
func (s *Server) Drain(ctx context.Context, spread time.Duration) error {
	end := func(c *Conn) { c.end(StatusRestart, ReasonShuttingDown, "") }
	if err := wsframe.Waves(ctx, s.stop(), spread, s.Connections, end); err != nil {
		return err
	}
	return wsframe.Wait(ctx, &s.running)
}

// Close closes all connections at once, tells their clients to come back, and
// waits for their goroutines: at most for the few seconds that a client is
// given to answer, and for Handlers and Receivers that block.
func (s *Server) Close() error {
	conns := s.stop()
	s.cancel()
	for _, c := range conns {
		c.end(StatusRestart, ReasonShuttingDown, "")
	}
	s.running.Wait()
	return nil
}

// stop lets nobody in any more and lists who is.
func (s *Server) stop() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}
