package socketio

import (
	"errors"
	"fmt"
	"time"
)

// Errors of receive that are no parse errors.
var (
	errClosed      = errors.New("session closed")
	errClientClose = errors.New("closed by the client")
	errRate        = errors.New("client exceeds its rate")
)

// partial is a packet whose attachments are still to come.
type partial struct {
	packet      packet
	attachments [][]byte
	bytes       int
	pulses      int // heartbeat's: how many have seen it
}

// receive handles one Engine.IO packet. The caller holds inbound and closes
// the session, with fail, on an error.
func (e *engine) receive(in engineIn) error {
	if !e.spoken {
		e.spoken = true
		e.server.spoke(e)
	}
	if e.bytes != nil && !e.bytes.AllowN(time.Now(), len(in.data)+1) {
		return errRate
	}
	e.heard(in.kind == enginePong)
	switch in.kind {
	case engineMessage:
		return e.message(in)
	case engineClose:
		return errClientClose
	case enginePing:
		return errors.New("ping from a client")
	case engineOpen:
		return errors.New("open from a client")
	default: // pong, noop, a late upgrade
		return nil
	}
}

// maxEarly is how many packets a client may send before it has joined a
// namespace, and earlyPayload how many bytes a message or a POST body may have:
// some CONNECTs, with a token each, and pongs. Who wants to flood a server has
// to be known to it.
const (
	maxEarly     = 64
	earlyPayload = 16 << 10
)

// payload is how many bytes a message or a POST body may have now. e.mu must be
// held.
func (e *engine) payload() int {
	most := e.server.config.MaxPayload
	if e.joined || e.server.messages != nil {
		return most
	}
	return min(most, earlyPayload)
}

// allow takes packets from the connection's allowance. On a WebSocket every
// frame is one, whatever it is: a fragment, a ping.
func (e *engine) allow(packets int) bool {
	if e.packets == nil {
		return true
	}
	if e.server.messages == nil {
		e.mu.Lock()
		early := !e.joined
		if early {
			e.early += packets
		}
		tooMany := early && e.early > maxEarly
		e.mu.Unlock()
		if tooMany {
			return false
		}
	}
	return e.packets.AllowN(time.Now(), packets)
}

// allowFrames is allow for a WebSocket, which is aborted if it is false.
func (e *engine) allowFrames(frames int) bool {
	if e.allow(frames) {
		return true
	}
	e.close(RateExceeded)
	return false
}

// message handles a message: Socket.IO's, or of bare Engine.IO.
func (e *engine) message(in engineIn) error {
	if f := e.server.messages; f != nil {
		f(!in.binary, in.data, e.send)
		return nil
	}
	if in.binary {
		return e.attachment(in.data)
	}
	if e.partial != nil {
		return errors.New("text while attachments are missing")
	}
	p, err := decodePacket(in.data)
	if err != nil {
		return err
	}
	if p.kind == packetConnect {
		return e.connect(p.namespace, p.data)
	}
	s := e.joinedSocket(p.namespace, p.kind == packetDisconnect)
	if s == nil {
		return errors.New("packet for a namespace not joined")
	}
	if p.kind == packetDisconnect {
		e.mu.Lock()
		e.detach(s)
		e.mu.Unlock()
		s.ended(ClientNamespaceDisconnect)
		return nil
	}
	if p.attachments > 0 {
		e.partial = &partial{packet: p, bytes: len(in.data)}
		return nil
	}
	return e.dispatch(s, &p, nil)
}

// joinedSocket is the socket of a namespace; one that is connecting only if
// asked for. nil if there is none.
func (e *engine) joinedSocket(namespace []byte, connecting bool) *Socket {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.find(namespace)
	if s == nil || s.state == socketConnecting && !connecting {
		return nil
	}
	return s
}

// attachment adds to the packet that waits for it.
func (e *engine) attachment(data []byte) error {
	p := e.partial
	if p == nil {
		return errors.New("binary message without a packet")
	}
	p.attachments = append(p.attachments, data)
	p.bytes += len(data)
	if p.bytes > 4*e.server.config.MaxPayload {
		return errors.New("packet and attachments too large")
	}
	if len(p.attachments) < p.packet.attachments {
		return nil
	}
	e.partial = nil
	s := e.joinedSocket(p.packet.namespace, false)
	if s == nil { // it ended while the attachments came
		return nil
	}
	return e.dispatch(s, &p.packet, p.attachments)
}

// dispatch hands a complete EVENT or ACK on.
func (e *engine) dispatch(s *Socket, p *packet, attachments [][]byte) error {
	args, err := p.args()
	if err != nil {
		return err
	}
	if p.kind == packetAck || p.kind == packetBinaryAck {
		s.acked(p.id, Reply{Args: args, Attachments: attachments})
		return nil
	}
	name, args, err := eventName(args)
	if err != nil {
		return err
	}
	var ack func(args ...any)
	if p.hasID {
		ack = s.answer(p.id)
	}
	return s.event(name, args, attachments, ack)
}

// handle decodes and handles a packet, one at a time.
func (e *engine) handle(text bool, data []byte) error {
	in := engineIn{kind: engineMessage, data: data, binary: true}
	if text {
		var err error
		if in, err = decodeText(data); err != nil {
			return err
		}
	}
	e.inbound.Lock()
	defer e.inbound.Unlock()
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return errClosed
	}
	return e.receive(in)
}

// fail closes the session for an error of handle.
func (e *engine) fail(err error) {
	var panicked *panicError
	switch {
	case errors.Is(err, errClosed), errors.Is(err, ErrClosed), errors.Is(err, ErrTooSlow):
		// It is closed already.
	case errors.Is(err, errClientClose):
		e.end(TransportClose, ending{farewell: engineNoop, linger: true})
	case errors.Is(err, errRate):
		e.close(RateExceeded)
	case errors.As(err, &panicked):
		e.fault(fmt.Errorf("handle a packet: %w", err))
	default:
		e.server.config.Logger.Debug("bad packet", "connection", e.number, "error", err)
		e.close(ParseError)
	}
}
