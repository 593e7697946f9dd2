package socketio

// lane holds the frames that one connection gets ahead of events: pings,
// answers to CONNECT, acks and direct emits. It is bounded: see queue.
type lane struct {
	frames [][]byte
	bytes  int
}

func (l *lane) clear() { *l = lane{} }

// take empties the lane onto dst.
func (l *lane) take(dst [][]byte) [][]byte {
	dst = append(dst, l.frames...)
	l.clear()
	return dst
}

// queue puts frames into the lane and says whether they fit. e.mu must be
// held. If they don't the caller closes the engine as too slow: an ack that
// can't be delivered can't be dropped either.
func (e *engine) queue(frames []byte) bool {
	c := &e.server.config
	if len(e.lane.frames) >= c.ControlFrames || e.lane.bytes+len(frames) > c.ControlBytes {
		return false
	}
	e.lane.frames = append(e.lane.frames, frames)
	e.lane.bytes += len(frames)
	return true
}

// send queues frames and wakes the flusher. An engine whose lane is full is
// closed.
func (e *engine) send(frames []byte) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return ErrClosed
	}
	ok := e.queue(frames)
	e.mu.Unlock()
	if !ok {
		e.close(TooSlow)
		return ErrTooSlow
	}
	e.wake()
	return nil
}
