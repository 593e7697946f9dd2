package plainws

import (
	"time"

	"bms/transport/wsframe"
)

// pingFrame is an empty WebSocket ping, which every client's library answers.
var pingFrame = wsframe.AppendHeader(nil, 0x9, 0)

// maxLate is by how much the heartbeat's timer may be late: beyond, this
// process has stood still, and clients are given time to be heard.
const maxLate = time.Second

// now is the time since the server's start.
func (s *Server) now() time.Duration { return time.Since(s.start) }

// alive notes a sign of life.
func (c *Conn) alive() { c.heard.Store(int64(c.server.now())) }

// startHeartbeat arms the timer for the first ping. c.mu must be held.
func (c *Conn) startHeartbeat() {
	c.alive()
	c.asked = -1
	d := c.server.config.PingInterval
	c.due = c.server.now() + d
	c.beat = time.AfterFunc(d, c.pulse)
}

// pulse looks whether the client has been silent, pings it if so, and ends the
// connection if it has been for too long.
func (c *Conn) pulse() {
	config := &c.server.config
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	now := c.server.now()
	heard := time.Duration(c.heard.Load())
	if c.held.Load() { // what the client has sent can't have been read
		heard = now
	}
	last := heard + config.PingInterval + config.PingTimeout
	late := now-c.due > maxLate
	if late {
		last = max(last, now+config.PingTimeout)
	}
	stuck := c.stuck(now)
	silent := now >= last
	ping := false
	c.due = heard + config.PingInterval
	if now >= c.due {
		// Silent since the last ping: it is still to be answered.
		ping = c.asked != heard || late
		c.asked = heard
		c.due = min(last, now+config.PingInterval)
	}
	if !stuck && !silent {
		c.beat.Reset(c.due - now)
	}
	c.mu.Unlock()
	switch {
	case silent:
		c.end(StatusTooSlow, ReasonSilent, "")
	case stuck:
		c.end(StatusTooSlow, ReasonTooSlow, "a message does not end")
	case ping:
		_ = c.Send(pingFrame)
	}
}

// stuck says whether the same message has been half read for as long as a
// client may be silent: one that comes in fragments, with pongs in between.
// c.mu must be held.
func (c *Conn) stuck(now time.Duration) bool {
	message := c.frames.Receiving()
	if message == 0 || message != c.partial {
		c.partial, c.since = message, now
		return false
	}
	return now-c.since >= c.server.config.PingInterval+c.server.config.PingTimeout
}
