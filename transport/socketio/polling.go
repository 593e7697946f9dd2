package socketio

import (
	"fmt"
	"net/http"
	"time"
)

// poll is a GET that waits for something to answer. While there is none, a
// polling session can't be written to and its sources are not asked.
type poll struct {
	woken chan struct{} // holds a token when there may be something
}

// signal wakes the GET; it never blocks.
func (p *poll) signal() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// pollBytes is about how much one GET gets at most.
const pollBytes = 256 << 10

// servePoll answers a GET: with all there is, or when there is something.
func (e *engine) servePoll(w http.ResponseWriter, r *http.Request) {
	p := &poll{woken: make(chan struct{}, 1)}
	e.mu.Lock()
	switch {
	case e.closed && e.farewell == nil:
		e.mu.Unlock()
		e.server.refuse(w, r, unknownSession)
		return
	case e.conn.Load() != nil:
		e.mu.Unlock()
		e.server.refuse(w, r, badRequest)
		return
	case e.poll != nil:
		e.mu.Unlock()
		e.server.config.Observer.Refused("two GETs at once")
		e.end(TransportError, ending{farewell: engineClose, alone: true})
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	e.poll = p
	e.mu.Unlock()

	body, err := e.await(r, p)
	e.mu.Lock()
	e.poll = nil
	e.mu.Unlock()
	if err != nil {
		e.end(TransportClose, ending{})
		return
	}
	if err := writeBody(w, r, e.server.config.WriteTimeout, body); err != nil {
		e.end(TransportError, ending{})
	}
}

// await waits until there is a body.
func (e *engine) await(r *http.Request, p *poll) ([]byte, error) {
	for {
		body, err := e.pollTurn()
		if err != nil || len(body) > 0 {
			return body, err
		}
		select {
		case <-p.woken:
		case <-r.Context().Done():
			return nil, fmt.Errorf("wait for packets: %w", r.Context().Err())
		}
	}
}

// pollTurn takes what there is for a GET: the lane, then as many rounds over
// the sockets that are awake as fit.
func (e *engine) pollTurn() ([]byte, error) {
	if !e.flusher.CompareAndSwap(flusherIdle, flusherRunning) {
		return []byte{engineNoop}, nil // the WebSocket's flusher has it
	}
	t := turns.Get().(*turn)
	defer func() {
		t.reset()
		turns.Put(t)
		if !e.release() { // upgraded meanwhile
			go e.flush()
		}
	}()
	limit := min(pollBytes, e.server.config.MaxPayload)
	var body []byte
	for {
		t.reset()
		e.mu.Lock()
		if e.conn.Load() != nil {
			e.mu.Unlock()
			break
		}
		closed, farewell := e.closed, e.farewell
		probed := e.probed
		e.farewell = nil
		e.collect(t)
		e.mu.Unlock()
		if !closed {
			if err := e.pull(t, limit-len(body)); err != nil {
				e.fault(err)
				return body, err
			}
		}
		frames := 0
		for _, f := range t.frames {
			frames++
			body = appendPayload(body, f)
		}
		if frames > 0 {
			e.server.config.Observer.Sent(frames, len(body))
		}
		switch {
		case closed:
			if len(body) > 0 && farewell != nil {
				body = append(body, separator)
			}
			if farewell == nil {
				farewell = noop
			}
			body = append(body, farewell...)
			e.server.remove(e)
			return body, nil
		case len(body) > 0 && (frames == 0 || len(body) >= limit):
			return body, nil
		case frames == 0 && probed:
			return noop, nil
		case frames == 0:
			return nil, nil
		}
	}
	if len(body) == 0 {
		body = noop
	}
	return body, nil
}

var noop = []byte{engineNoop}

// writeBody answers a GET. The deadline moves as the client takes the body.
func writeBody(w http.ResponseWriter, r *http.Request, timeout time.Duration, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("Cache-Control", "no-store")
	body, err := compress(h, r, body)
	if err != nil {
		return err
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	control := http.NewResponseController(w)
	// A connection that knows no deadline is bounded by whoever made it.
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	for {
		_ = control.SetWriteDeadline(time.Now().Add(timeout))
		n := min(len(body), 16<<10)
		if _, err := w.Write(body[:n]); err != nil {
			return fmt.Errorf("answer a GET: %w", err)
		}
		body = body[n:]
		if len(body) == 0 {
			break
		}
	}
	if err := control.Flush(); err != nil {
		return fmt.Errorf("answer a GET: %w", err)
	}
	return nil
}
