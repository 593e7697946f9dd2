package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
)

// separator stands between the packets of a polling body.
const separator = 0x1e

// polling is a session over HTTP long-polling, which may move to a WebSocket:
//
//	GET ─> packets        reader      prober
//	GET ─> packets          │     ws: 2probe, 3probe
//	GET ─> 6 (noop)         │ <──────────┘ probed
//	                    ws: 5, from now on over the WebSocket
type polling struct {
	dialer  *dialer
	ctx     context.Context
	cancel  context.CancelFunc
	sid     string
	upgrade bool
	rest    []byte // of the last body, not yet given out

	probed chan *webSocket // holds the WebSocket when the server has agreed; closed when it won't be
	probes sync.WaitGroup
	socket *webSocket // after the move; the reader's own
}

func newPolling(ctx context.Context, d *dialer, upgrade bool) *polling {
	p := &polling{dialer: d, upgrade: upgrade, probed: make(chan *webSocket, 1)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// opened is called once the session has its id.
func (p *polling) opened(open openPacket) {
	p.sid = open.SID
	if !p.upgrade {
		return
	}
	p.probes.Go(func() {
		defer close(p.probed)
		if w, err := p.probe(); err == nil { // else the session stays with polling
			p.probed <- w
		}
	})
}

// probe opens the WebSocket and asks whether the server is there.
func (p *polling) probe() (*webSocket, error) {
	opening, cancel := context.WithTimeout(p.ctx, p.dialer.timeout)
	defer cancel()
	w, err := p.dialer.dialWebSocket(p.ctx, opening, p.sid)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(opening, w.close)()
	err = w.send("2probe")
	if err == nil {
		var answer []byte
		if answer, err = w.next(); err == nil && string(answer) != "3probe" {
			err = fmt.Errorf("the probe is answered by %.60q", answer)
		}
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (p *polling) next() ([]byte, error) {
	for len(p.rest) == 0 {
		if p.socket != nil {
			return p.socket.next()
		}
		select {
		case w := <-p.probed: // no GET is under way now
			if w != nil {
				if err := w.send("5"); err != nil {
					return nil, err
				}
				p.socket = w
				continue
			}
		default:
		}
		body, err := p.dialer.request(p.ctx, http.MethodGet, p.sid, "")
		if err != nil {
			return nil, err
		}
		p.rest = body
	}
	packet, rest, _ := bytes.Cut(p.rest, []byte{separator})
	p.rest = rest
	return packet, nil
}

func (p *polling) send(packet string) error {
	if p.socket != nil {
		return p.socket.send(packet)
	}
	ctx, cancel := context.WithTimeout(p.ctx, sendTimeout)
	defer cancel()
	_, err := p.dialer.request(ctx, http.MethodPost, p.sid, packet)
	return err
}

func (p *polling) close() {
	p.cancel()
	p.probes.Wait()
}
