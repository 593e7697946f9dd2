package plainws

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
	"bms/transport/wsframe/wsframetest"
)

// rig is a server behind an HTTP server over net.Pipe. It is made inside a
// synctest bubble.
type rig struct {
	t      *testing.T
	server *Server
	client *http.Client
	dial   func() net.Conn // a bare connection to the HTTP server
	seen   *seen
}

// seen is what the Observer was told.
type seen struct {
	mu      sync.Mutex
	closed  []closing
	refused []string
}

type closing struct {
	code   websocket.StatusCode
	reason string
}

func (s *seen) observer() Observer {
	return Observer{
		Closed: func(code websocket.StatusCode, reason string) {
			s.mu.Lock()
			s.closed = append(s.closed, closing{code, reason})
			s.mu.Unlock()
		},
		Refused: func(reason string) { s.mu.Lock(); s.refused = append(s.refused, reason); s.mu.Unlock() },
	}
}

// wantClosed checks how the connections so far were closed.
func (r *rig) wantClosed(want ...closing) {
	r.t.Helper()
	synctest.Wait()
	r.seen.mu.Lock()
	defer r.seen.mu.Unlock()
	if len(r.seen.closed) != len(want) {
		r.t.Fatalf("closed %v, want %v", r.seen.closed, want)
	}
	for i := range want {
		if r.seen.closed[i] != want[i] {
			r.t.Errorf("closed %v, want %v", r.seen.closed, want)
		}
	}
}

// serving runs a test against a server in a bubble.
//
// Channels must be made in the bubble, that is in test: see bubble.
func serving(t *testing.T, c Config, h Handler, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, seen: &seen{}}
		c := c
		c.Observer = r.seen.observer()
		var err error
		if r.server, err = New(c); err != nil {
			t.Fatal(err)
		}
		l := wsframetest.NewListener()
		web := &http.Server{Handler: r.server.Endpoint(h)}
		served := make(chan error, 1)
		go func() { served <- web.Serve(l) }()
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return l.Dial() }}
		r.client = &http.Client{Transport: transport}
		r.dial = func() net.Conn {
			c, err := l.Dial()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		t.Cleanup(func() {
			transport.CloseIdleConnections()
			if err := r.server.Close(); err != nil {
				t.Error(err)
			}
			if err := web.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
			if n := r.server.Connections(); n != 0 {
				t.Errorf("%d connections left after Close, want 0", n)
			}
		})
		test(r)
	})
}

// bubble runs a test whose session has channels.
func bubble(t *testing.T, c Config, session func() Session, test func(r *rig, conns <-chan *Conn)) {
	t.Helper()
	var all *everybody
	h := HandlerFunc(func(ctx context.Context, c *Conn, r *http.Request) (Session, error) { return all.Connect(ctx, c, r) })
	serving(t, c, h, func(r *rig) {
		all = newEverybody(session())
		test(r, all.conns)
	})
}

// ws is a client's WebSocket.
type ws struct {
	t    *testing.T
	conn *websocket.Conn
}

func (r *rig) connect() *ws {
	r.t.Helper()
	conn, _, err := websocket.Dial(context.Background(), "ws://server/", &websocket.DialOptions{HTTPClient: r.client})
	if err != nil {
		r.t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	r.t.Cleanup(func() { _ = conn.CloseNow() })
	return &ws{r.t, conn}
}

func (c *ws) write(text string) {
	c.t.Helper()
	if err := c.conn.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// want reads text messages and compares them.
func (c *ws) want(texts ...string) {
	c.t.Helper()
	for _, want := range texts {
		typ, got, err := c.conn.Read(context.Background())
		if err != nil || typ != websocket.MessageText || string(got) != want {
			c.t.Fatalf("message %.80q of %d bytes, %v, want %.80q of %d", got, len(got), err, want, len(want))
		}
	}
}

// wantClose reads until the connection is closed.
func (c *ws) wantClose(code websocket.StatusCode, reason string) {
	c.t.Helper()
	for {
		_, _, err := c.conn.Read(context.Background())
		if err == nil {
			continue
		}
		ce, ok := errors.AsType[websocket.CloseError](err)
		if !ok || ce.Code != code || ce.Reason != reason {
			c.t.Fatalf("ended with %v, want close %d %q", err, code, reason)
		}
		return
	}
}

// bare is a client that writes its own bytes.
type bare struct {
	t      *testing.T
	conn   net.Conn
	reader *bufio.Reader
}

// upgrade runs the handshake over a bare connection.
func (r *rig) upgrade() *bare { return r.upgradeWith("") }

// upgradeWith does so with bytes that follow the request at once.
func (r *rig) upgradeWith(bytes string) *bare {
	r.t.Helper()
	conn := r.dial()
	go func() {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"+bytes)
	}()
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatalf("handshake: %v, %v", answer, err)
	}
	return &bare{r.t, conn, reader}
}

// masked is a client's frame: the bits of the first byte, and a payload below
// 126 bytes under a mask of zeros.
func masked(first byte, payload string) string {
	return string([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}) + payload
}

// send writes in the background, as the server may not read to the end.
func (b *bare) send(bytes string) {
	go func() { _, _ = io.WriteString(b.conn, bytes) }()
}

// next reads a frame of less than 126 bytes.
func (b *bare) next() string {
	b.t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(b.reader, head[:]); err != nil {
		b.t.Fatal(err)
	}
	payload := make([]byte, head[1])
	if _, err := io.ReadFull(b.reader, payload); err != nil {
		b.t.Fatal(err)
	}
	return string(payload)
}

// wantClose reads frames until a close frame, and gives the end of the
// connection time to come.
func (b *bare) wantClose(code websocket.StatusCode) {
	b.t.Helper()
	for {
		var head [2]byte
		if _, err := io.ReadFull(b.reader, head[:]); err != nil {
			b.t.Fatalf("ended with %v, want close %d", err, code)
		}
		payload := make([]byte, head[1])
		if _, err := io.ReadFull(b.reader, payload); err != nil {
			b.t.Fatal(err)
		}
		if head[0] != 0x88 {
			continue
		}
		if got := websocket.StatusCode(binary.BigEndian.Uint16(payload)); got != code {
			b.t.Errorf("close %d %q, want %d", got, payload[2:], code)
		}
		go func() { _, _ = io.Copy(io.Discard, b.reader) }()
		return
	}
}

// everybody accepts every client with one session, and passes connections on.
// Its channel has room, so that it may be made outside of a bubble if nobody
// receives.
type everybody struct {
	session Session
	conns   chan *Conn
}

func newEverybody(s Session) *everybody { return &everybody{s, make(chan *Conn, 10_000)} }

func (e *everybody) Connect(_ context.Context, c *Conn, _ *http.Request) (Session, error) {
	e.conns <- c
	return e.session, nil
}

// operation is what a recorder got.
type operation struct {
	name string
	args []json.RawMessage
	ack  func(any)
}

// recorder is a Receiver that passes on what it gets.
type recorder struct {
	ops    chan operation
	closed chan string
}

func newRecorder() *recorder {
	return &recorder{ops: make(chan operation, 10_000), closed: make(chan string, 100)}
}

func (r *recorder) Op(name string, args []json.RawMessage, ack func(any)) {
	r.ops <- operation{name, args, ack}
}

func (r *recorder) Closed(reason string) { r.closed <- reason }

// echo is a Receiver that answers with what it got.
type echo struct{}

func (echo) Op(name string, args []json.RawMessage, ack func(any)) {
	if ack != nil {
		ack(map[string]any{"op": name, "args": args})
	}
}

func (echo) Closed(string) {}

// backlog is a Source that gives what was put into it, one frame a call.
type backlog struct {
	mu     sync.Mutex
	frames [][]byte
	asked  int
	given  int
}

func (b *backlog) put(texts ...string) {
	b.mu.Lock()
	for _, text := range texts {
		b.frames = append(b.frames, wsframe.Text([]byte(text)))
	}
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

// pass lets time go by.
func pass(d time.Duration) { <-time.After(d) }

// long is a text of so many bytes.
func long(n int) string { return strings.Repeat("x", n) }
