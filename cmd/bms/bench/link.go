package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// Transports of a subscriber.
const (
	WebSocket = "websocket" // WebSocket from the start
	Polling   = "polling"   // HTTP long-polling
	Upgrade   = "upgrade"   // polling first, WebSocket as soon as it is there: what stock clients do
	Plain     = "plain"     // a WebSocket without Socket.IO: an envelope a message
	Mixed     = "mixed"     // all of them by turns
)

// Transports are all that Config.Transport may be.
var Transports = []string{WebSocket, Polling, Upgrade, Plain, Mixed}

// link is an Engine.IO session as its client has it. next is called by one
// goroutine, which also sends; close may be called from any.
type link interface {
	// next returns the next packet. Its bytes are good until the following
	// call.
	next() ([]byte, error)
	send(packet string) error
	// close cuts the connection, without a word to the server.
	close()
}

// open is the packet that an Engine.IO session begins with.
type openPacket struct {
	SID          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"`
	PingInterval int      `json:"pingInterval"` // ms
	PingTimeout  int      `json:"pingTimeout"`  // ms
}

// heartbeat is how long a server may be silent.
func (p openPacket) heartbeat() time.Duration {
	return time.Duration(p.PingInterval+p.PingTimeout) * time.Millisecond
}

// dialer opens Engine.IO sessions at one server.
type dialer struct {
	base   *url.URL
	client *http.Client
	// timeout bounds the opening of a session.
	timeout time.Duration
}

const enginePath = "/socket.io/"

func (d *dialer) url(transport, sid string) string {
	u := *d.base
	u.Path = strings.TrimSuffix(u.Path, "/") + enginePath
	q := url.Values{"EIO": {"4"}, "transport": {transport}}
	if transport == Polling { // as stock clients do: a repetition has the same
		q.Set("t", strconv.FormatUint(rand.Uint64(), 36))
	}
	if sid != "" {
		q.Set("sid", sid)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// dial opens a session. The context bounds the session's whole life.
func (d *dialer) dial(ctx context.Context, transport string) (link, openPacket, error) {
	opening, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	var l link
	var err error
	if transport == WebSocket {
		l, err = d.dialWebSocket(ctx, opening, "")
	} else {
		l = newPolling(ctx, d, transport == Upgrade)
	}
	if err != nil {
		return nil, openPacket{}, err
	}
	// next knows no context; close ends it.
	overdue := context.AfterFunc(opening, l.close)
	packet, err := l.next()
	if !overdue() && err == nil {
		err = errors.New("the server is too slow")
	}
	var open openPacket
	if err == nil && (len(packet) == 0 || packet[0] != '0') {
		err = fmt.Errorf("the session begins with %.60q", packet)
	}
	if err == nil {
		err = json.Unmarshal(packet[1:], &open)
	}
	if err != nil {
		l.close()
		return nil, openPacket{}, fmt.Errorf("open a session over %s: %w", transport, err)
	}
	if p, ok := l.(*polling); ok {
		p.opened(open)
	}
	return l, open, nil
}

// webSocket is a session over WebSocket: a packet a message.
type webSocket struct {
	conn *websocket.Conn
	buf  bytes.Buffer
}

// dialWebSocket opens a WebSocket: a session of its own, or for a sid what is
// to become the transport of that one.
func (d *dialer) dialWebSocket(ctx, opening context.Context, sid string) (*webSocket, error) {
	conn, res, err := websocket.Dial(opening, d.url("websocket", sid), &websocket.DialOptions{
		HTTPClient: d.client, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, err
	}
	if res.Body != nil {
		defer res.Body.Close()
	}
	conn.SetReadLimit(-1)
	w := &webSocket{conn: conn}
	context.AfterFunc(ctx, w.close)
	return w, nil
}

func (w *webSocket) next() ([]byte, error) {
	// A context that can end costs allocations per message; close ends the
	// read as well.
	_, r, err := w.conn.Reader(context.Background())
	if err != nil {
		return nil, err
	}
	w.buf.Reset()
	if _, err := w.buf.ReadFrom(r); err != nil {
		return nil, err
	}
	return w.buf.Bytes(), nil
}

func (w *webSocket) send(packet string) error {
	ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
	defer cancel()
	return w.conn.Write(ctx, websocket.MessageText, []byte(packet))
}

// sendTimeout bounds the sending of a packet.
const sendTimeout = 10 * time.Second

func (w *webSocket) close() { _ = w.conn.CloseNow() }

// request makes a polling request and returns the body. The client library
// repeats a GET by itself when a connection is lost, as browsers do; the server
// knows it by its t.
func (d *dialer) request(ctx context.Context, method, sid, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, d.url("polling", sid), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	}
	res, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s %.200s", method, res.Status, answer)
	}
	return answer, nil
}
