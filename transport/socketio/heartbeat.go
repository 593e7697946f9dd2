package socketio

import (
	"time"

	"bms/transport/wsframe"
)

var (
	pingFrame = wsframe.Text([]byte{enginePing})
	openFrame = func(data []byte) []byte {
		return wsframe.Text(append([]byte{engineOpen}, data...))
	}
	probeFrame = wsframe.Text([]byte("3probe"))
)

// startHeartbeat arms the timer for the first ping. e.mu must be held.
func (e *engine) startHeartbeat() {
	d := e.server.config.PingInterval
	e.due = time.Now().Add(d)
	e.beat = time.AfterFunc(d, e.pulse)
}

// arm moves the time at which pulse acts. e.mu must be held.
func (e *engine) arm(d time.Duration) {
	e.due = time.Now().Add(d)
	e.beat.Reset(d)
}

// maxTimerDelay is the delay of a timer that is not added to the client's time.
const maxTimerDelay = 20 * time.Millisecond

// pulse sends a ping, or closes the session if the last one went unanswered.
func (e *engine) pulse() {
	e.mu.Lock()
	if e.closed || e.beat == nil {
		e.mu.Unlock()
		return
	}
	if left := time.Until(e.due); left > 0 { // arm came between
		e.beat.Reset(left)
		e.mu.Unlock()
		return
	}
	busy := !e.inbound.TryLock()
	abandoned := false
	if !busy {
		abandoned = e.abandoned()
		e.inbound.Unlock()
	}
	late := e.awaiting && !busy && !e.held
	e.held = busy
	ping := !e.awaiting
	if ping {
		e.awaiting, e.extended = true, false
	}
	// As long as a Receiver holds up the reader, and just after, an answer
	// can't have been read and the client is not to blame; nor is it when this
	// timer was late.
	wait := e.server.config.PingTimeout
	if late := time.Since(e.due); late < min(maxTimerDelay, wait/2) {
		wait -= late
	}
	e.arm(wait)
	e.mu.Unlock()
	switch {
	case late:
		e.close(PingTimeout)
	case abandoned:
		e.close(ParseError)
	case ping:
		_ = e.send(pingFrame)
	}
}

// abandoned says whether announced attachments have been missing since the
// pulse before. inbound must be held.
func (e *engine) abandoned() bool {
	if e.partial == nil {
		return false
	}
	e.partial.pulses++
	return e.partial.pulses > 1
}

// heard counts a packet as a sign of life. A pong starts the next interval; any
// other packet extends the wait for one, once per ping, as a client that is
// busy sending a large packet can't answer before it is through.
func (e *engine) heard(pong bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.beat == nil {
		return
	}
	switch {
	case pong:
		e.awaiting = false
		e.arm(e.server.config.PingInterval)
	case e.awaiting && !e.extended:
		e.extended = true
		e.arm(e.server.config.PingTimeout)
	}
}
