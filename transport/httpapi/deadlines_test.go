package httpapi

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections in memory, for tests in fake time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.conns) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dialed serves a handler in fake time and gives a connection to it. Both end
// with end.
func dialed(t *testing.T, h http.HandlerFunc) (client net.Conn, end func()) {
	t.Helper()
	server := NewServer(ServerConfig{Handler: h})
	l := &pipes{conns: make(chan net.Conn)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	client, conn := net.Pipe()
	l.conns <- conn
	return client, func() {
		_ = client.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}

// Invariant 5, for those who have no socket.
func Test_a_client_that_pipelines_and_never_reads_is_closed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, end := dialed(t, func(w http.ResponseWriter, _ *http.Request) { writeBody(w, http.StatusOK, []byte("alive")) })
		defer end()
		start := time.Now()
		_, err := io.WriteString(client, strings.Repeat("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 1000))
		if err == nil {
			t.Error("all was taken, want the connection closed")
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("closed after %v, want 1m", took)
		}
	})
}

func Test_a_body_that_nobody_reads_and_nobody_sends_ends_the_connection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, end := dialed(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
		defer end()
		start := time.Now()
		go func() { _, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n") }()
		raw, err := io.ReadAll(client)
		if took := time.Since(start); err != nil || took > 15*time.Second || !strings.Contains(string(raw), "418") {
			t.Errorf("after %v: %q, %v, want the answer and the end within 15 s", took, raw, err)
		}
	})
}

// A handler that waits for longer than the deadline, as long polls do, answers
// all the same, and so does the one after it on the connection.
func Test_an_answer_after_a_long_wait_arrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, end := dialed(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/poll" {
				time.Sleep(5 * time.Minute) // in fake time
			}
			writeBody(w, http.StatusOK, []byte("news"))
		})
		defer end()
		answers := bufio.NewReader(client)
		for _, path := range []string{"/poll", "/", "/poll"} {
			go func() { _, _ = io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n") }()
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "news" {
				t.Errorf("%s: %q, %v, want the answer", path, body, err)
			}
		}
	})
}

func Test_a_hijacked_connection_has_no_deadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hijacked := make(chan net.Conn, 1)
		client, end := dialed(t, func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
			}
			hijacked <- c
		})
		defer end()
		go func() { _, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }()
		c := <-hijacked
		synctest.Wait()       // the handler has returned
		time.Sleep(time.Hour) // in fake time
		go func() { _, _ = io.WriteString(c, "x") }()
		if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("read %d, %v an hour later, want a byte", n, err)
		}
		_ = c.Close()
	})
}
