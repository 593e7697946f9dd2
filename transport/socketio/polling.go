package socketio

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// poll is a GET that waits for something to answer. While there is none, a
// polling session can't be written to and its sources are not asked.
type poll struct {
	woken chan struct{} // holds a token when there may be something
	// late is set when the GET came after the probe of an upgrade. The upgrade
	// may be about to finish, or may have overtaken it; it is given probeGrace.
	late  bool
	limit int // about how many bytes it gets at most
}

// probeGrace is how long a GET that came after an upgrade's probe is kept in
// case the upgrade finishes, after which it is one too many.
const probeGrace = 25 * time.Millisecond

// errUpgraded says that a GET came when the session had a WebSocket.
var errUpgraded = errors.New("session upgraded")

// signal wakes the GET; it never blocks.
func (p *poll) signal() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// servePoll answers a GET: with all there is, or when there is something.
func (e *engine) servePoll(w http.ResponseWriter, r *http.Request) {
	e.pulse() // a GET must not find a session that is due to end
	p := &poll{woken: make(chan struct{}, 1)}
	stamp := stampOf(r)
	e.mu.Lock()
	switch {
	case stamp != "" && stamp == e.lastPoll:
		// Clients put another stamp on every GET. This one was repeated by
		// the HTTP library under the client, because the answer was lost on a
		// connection that broke: the packets in it are gone, and to go on
		// would be a gap. A client that connects anew has its cursor.
		e.mu.Unlock()
		e.end(TransportError, ending{})
		e.server.refuse(w, r, repeatedPoll)
		return
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
	e.poll, e.lastPoll = p, stamp
	p.late = e.probed
	p.limit = min(e.pace.limit(time.Now()), e.server.config.MaxPayload)
	e.mu.Unlock()

	body, err := e.await(r, p)
	e.mu.Lock()
	e.poll = nil
	e.pace.answered(time.Now(), len(body) >= p.limit)
	e.mu.Unlock()
	if errors.Is(err, errUpgraded) {
		e.server.refuse(w, r, badRequest)
		return
	}
	if err != nil {
		e.end(TransportClose, ending{})
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if err := writeBody(w, r, e.server.config.WriteTimeout, body); err != nil {
		e.end(TransportError, ending{})
	}
}

// maxStamp is how much of a stamp is kept, for the life of the session.
const maxStamp = 64

// stampOf is what a client has put on its GET to tell it from the one before.
func stampOf(r *http.Request) string {
	stamp := r.URL.Query().Get("t")
	return strings.Clone(stamp[max(0, len(stamp)-maxStamp):]) // the rest would be held with it
}

// await waits until there is a body.
func (e *engine) await(r *http.Request, p *poll) ([]byte, error) {
	var grace <-chan time.Time
	if p.late {
		timer := time.NewTimer(probeGrace)
		defer timer.Stop()
		grace = timer.C
	}
	for {
		body, err := e.pollTurn(p)
		if err != nil || len(body) > 0 {
			return body, err
		}
		select {
		case <-p.woken:
		case <-grace:
			p.late = false
		case <-r.Context().Done():
			return nil, fmt.Errorf("wait for packets: %w", r.Context().Err())
		}
	}
}

// pollTurn takes what there is for a GET: the lane, then as many rounds over
// the sockets that are awake as fit.
func (e *engine) pollTurn(p *poll) ([]byte, error) {
	if !e.flusher.Take() {
		return p.overtaken() // the WebSocket's flusher has it
	}
	defer e.flusher.Give(e) // which has turns if it was upgraded meanwhile
	var body []byte
	var frames [][]byte
	var few [fewSockets]*Socket
	for {
		e.mu.Lock()
		if e.conn.Load() != nil {
			e.mu.Unlock()
			break
		}
		closed, farewell := e.closed, e.farewell
		probed := e.probed
		e.farewell = nil
		var sockets []*Socket
		frames, sockets = e.collect(frames[:0], few[:0])
		e.mu.Unlock()
		if !closed {
			var err error
			if frames, err = e.pull(frames, sockets, p.limit-len(body)); err != nil {
				e.fault(err)
				return body, err
			}
		}
		for _, f := range frames {
			body = appendPayload(body, f)
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
		case len(body) > 0 && (len(frames) == 0 || len(body) >= p.limit):
			return body, nil
		case len(frames) == 0 && probed && !p.late:
			return noop, nil
		case len(frames) == 0:
			return nil, nil
		}
	}
	if len(body) == 0 {
		return p.overtaken()
	}
	return body, nil
}

// overtaken is the answer to a GET without data that met an upgrade's end.
func (p *poll) overtaken() ([]byte, error) {
	if p.late {
		return nil, errUpgraded
	}
	return noop, nil
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
