package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe/wsframetest"
)

// rig is a server behind an HTTP server over net.Pipe, and a client of it. It
// is made inside a synctest bubble.
type rig struct {
	t      *testing.T
	server *Server
	client *http.Client
	dial   func() net.Conn // a bare connection to the HTTP server
}

// serving makes a server for a test.
func serving(t *testing.T, c Config, setUp func(*Server), test func(t *testing.T, r *rig)) {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if setUp != nil {
		setUp(s)
	}
	test(t, newRig(t, s))
}

func newRig(t *testing.T, s *Server) *rig { return newRigOn(t, s, &http.Server{}) }

func newRigOn(t *testing.T, s *Server, h *http.Server) *rig {
	l := wsframetest.NewListener()
	h.Handler = s
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	transport := &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return l.Dial() },
		DisableCompression: true,
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := h.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		if n := s.Sessions(); n != 0 {
			t.Errorf("%d sessions left after Close, want 0", n)
		}
	})
	return &rig{t: t, server: s, client: &http.Client{Transport: transport}, dial: func() net.Conn {
		c, err := l.Dial()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}}
}

// do sends a request and gives the answer's status, body and headers.
func (r *rig) do(method, query, body string, header ...string) (int, string, http.Header) {
	r.t.Helper()
	status, text, h, err := r.try(context.Background(), method, query, body, header...)
	if err != nil {
		r.t.Fatal(err)
	}
	return status, text, h
}

func (r *rig) try(ctx context.Context, method, query, body string, header ...string) (int, string, http.Header, error) {
	q, err := http.NewRequestWithContext(ctx, method, "http://server"+r.server.config.Path+"?"+query, strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Add(header[i], header[i+1])
	}
	answer, err := r.client.Do(q)
	if err != nil {
		return 0, "", nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), answer.Header, err
}

// open makes a polling session and gives its sid.
func (r *rig) open() string {
	r.t.Helper()
	status, body, _ := r.do("GET", "EIO=4&transport=polling", "")
	if status != 200 || body[:1] != "0" {
		r.t.Fatalf("handshake: %d %q", status, body)
	}
	return sidOf(r.t, body)
}

func sidOf(t *testing.T, packet string) string {
	t.Helper()
	var open struct{ SID string }
	if err := json.Unmarshal([]byte(packet[1:]), &open); err != nil {
		t.Fatalf("open packet %q: %v", packet, err)
	}
	return open.SID
}

// get polls.
func (r *rig) get(sid string) (int, string) {
	r.t.Helper()
	status, body, _ := r.do("GET", "EIO=4&transport=polling&sid="+sid, "")
	return status, body
}

// post sends packets by polling.
func (r *rig) post(sid, body string) (int, string) {
	r.t.Helper()
	status, answer, _ := r.do("POST", "EIO=4&transport=polling&sid="+sid, body)
	return status, answer
}

// wantGet polls and checks the body.
func (r *rig) wantGet(sid, want string) {
	r.t.Helper()
	if status, body := r.get(sid); status != 200 || body != want {
		r.t.Fatalf("GET: %d %q, want 200 %q", status, body, want)
	}
}

// wantPost sends packets and checks that they are taken.
func (r *rig) wantPost(sid, body string) {
	r.t.Helper()
	if status, answer := r.post(sid, body); status != 200 || answer != "ok" {
		r.t.Fatalf("POST %q: %d %q, want 200 ok", body, status, answer)
	}
}

// wantGone checks that the session is not there any more.
func (r *rig) wantGone(sid string) {
	r.t.Helper()
	if status, body := r.get(sid); status != 400 || !strings.Contains(body, `"code":1`) {
		r.t.Fatalf("GET: %d %q, want 400 with code 1", status, body)
	}
}

// ws is a client's WebSocket.
type ws struct {
	t    *testing.T
	conn *websocket.Conn
}

// dialWS opens a WebSocket; its open packet has not been read.
func (r *rig) dialWS(query string, header ...string) *ws {
	r.t.Helper()
	c, err := r.tryWS(query, header...)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) tryWS(query string, header ...string) (*ws, error) {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	conn, _, err := websocket.Dial(context.Background(), "ws://server"+r.server.config.Path+"?"+query,
		&websocket.DialOptions{HTTPClient: r.client, HTTPHeader: h, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1)
	r.t.Cleanup(func() { _ = conn.CloseNow() })
	return &ws{r.t, conn}, nil
}

// openWS opens a session over WebSocket.
func (r *rig) openWS() *ws {
	r.t.Helper()
	c := r.dialWS("EIO=4&transport=websocket")
	if open := c.read(); open[:1] != "0" {
		r.t.Fatalf("first message %q, want an open packet", open)
	}
	return c
}

// join opens a session over WebSocket and connects to a namespace.
func (r *rig) join(namespace string) *ws {
	r.t.Helper()
	c := r.openWS()
	connect := "40"
	if namespace != "/" {
		connect += namespace + ","
	}
	c.write(connect)
	if answer := c.read(); !strings.HasPrefix(answer, connect+"{") {
		r.t.Fatalf("answer %q to CONNECT", answer)
	}
	return c
}

// read reads a text message.
func (c *ws) read() string {
	c.t.Helper()
	typ, data, err := c.conn.Read(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	if typ != websocket.MessageText {
		c.t.Fatalf("binary message %x, want text", data)
	}
	return string(data)
}

// readBinary reads a binary message.
func (c *ws) readBinary() string {
	c.t.Helper()
	typ, data, err := c.conn.Read(context.Background())
	if err != nil || typ != websocket.MessageBinary {
		c.t.Fatalf("message %q, %v, want a binary one", data, err)
	}
	return string(data)
}

// want reads text messages and compares them.
func (c *ws) want(texts ...string) {
	c.t.Helper()
	for _, want := range texts {
		if got := c.read(); got != want {
			c.t.Fatalf("message %q, want %q", got, want)
		}
	}
}

// write sends a text message.
func (c *ws) write(text string) {
	c.t.Helper()
	if err := c.conn.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// writeBinary sends a binary message.
func (c *ws) writeBinary(data string) {
	c.t.Helper()
	if err := c.conn.Write(context.Background(), websocket.MessageBinary, []byte(data)); err != nil {
		c.t.Fatal(err)
	}
}

// wantClosed reads until the server has closed.
func (c *ws) wantClosed() {
	c.t.Helper()
	if _, data, err := c.conn.Read(context.Background()); err == nil {
		c.t.Fatalf("message %q, want the connection closed", data)
	}
}

// received is an event as a recorder got it.
type received struct {
	name        string
	args        []json.RawMessage
	attachments [][]byte
	ack         func(...any)
}

// text is the event's arguments as one line.
func (e received) text() string {
	b, _ := json.Marshal(e.args)
	return e.name + string(b)
}

// recorder is a Receiver that passes on what it gets.
type recorder struct {
	events chan received
	closed chan Reason
}

func newRecorder() *recorder {
	return &recorder{events: make(chan received, 100), closed: make(chan Reason, 100)}
}

func (r *recorder) Event(name string, args []json.RawMessage, attachments [][]byte, ack func(...any)) {
	r.events <- received{name, args, attachments, ack}
}

func (r *recorder) Closed(reason Reason) { r.closed <- reason }

// backlog is a Source that gives what was put into it, one frame a call.
type backlog struct {
	mu     sync.Mutex
	frames [][]byte
	asked  int
	given  int
}

func (b *backlog) put(frames ...[]byte) {
	b.mu.Lock()
	b.frames = append(b.frames, frames...)
	b.mu.Unlock()
}

func (b *backlog) Next(dst [][]byte, _ int) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if len(b.frames) == 0 {
		return dst
	}
	dst = append(dst, b.frames[0])
	b.frames = b.frames[1:]
	b.given++
	return dst
}

func (b *backlog) counts() (asked, given int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked, b.given
}

// accept is a Namespace that takes everybody, with one session for all, and
// passes sockets and handshakes on.
type accept struct {
	session    Session
	sockets    chan *Socket
	handshakes chan Handshake
}

func newAccept(session Session) *accept {
	return &accept{session, make(chan *Socket, 100), make(chan Handshake, 100)}
}

func (a *accept) Connect(_ context.Context, s *Socket, h Handshake) (Session, error) {
	a.sockets <- s
	a.handshakes <- h
	return a.session, nil
}

// pass lets fake time pass; outside of a bubble it must not be used.
func pass(d time.Duration) { <-time.After(d) }
