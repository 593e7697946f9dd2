package wsframe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// accepted is a WebSocket over net.Pipe: the server's end, and the client's
// bytes. counter counts the server's writes.
type accepted struct {
	conn   *Conn
	client net.Conn
	reader *bufio.Reader
	writes *countingConn
}

type countingConn struct {
	net.Conn
	writes int
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

// accept runs the handshake, with ahead sent in the same write as the request.
func accept(t *testing.T, o Options, ahead string) *accepted {
	t.Helper()
	return acceptWith(t, o, "", ahead)
}

// acceptWith is accept with header lines of the client's.
func acceptWith(t *testing.T, o Options, header, ahead string) *accepted {
	t.Helper()
	client, server := net.Pipe()
	counting := &countingConn{Conn: server}
	got := make(chan *Conn, 1)
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, o)
		if err != nil {
			t.Error(err)
		}
		got <- c
	})}
	l := &oneConn{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conn <- counting
	go func() { _ = h.Serve(l) }()
	go func() {
		_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"+header+"\r\n"+ahead)
	}()
	reader := bufio.NewReaderSize(client, 16)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v, %v", answer, err)
	}
	a := &accepted{<-got, client, reader, counting}
	counting.writes = 0
	t.Cleanup(func() {
		_ = client.Close()
		a.conn.Abort()
		a.conn.Close()
		_ = h.Close()
	})
	return a
}

type oneConn struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// masked is a client's frame, masked with zeros.
func masked(op Opcode, payload string) string {
	return string([]byte{fin | byte(op), 0x80 | byte(len(payload)), 0, 0, 0, 0}) + payload
}

// want reads n bytes from the server.
func (a *accepted) want(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(a.reader, got); err != nil || string(got) != want {
		t.Fatalf("server sent %q, %v, want %q", got, err, want)
	}
}

func Test_bytes_read_ahead_of_the_upgrade_are_kept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := accept(t, Options{}, masked(OpText, "early")+masked(OpBinary, "x"))
		for _, want := range []string{"early", "x"} {
			if _, data, err := a.conn.Read(); err != nil || string(data) != want {
				t.Errorf("read %q, %v, want %q", data, err, want)
			}
		}
	})
}

func Test_small_frames_go_in_one_write_and_large_ones_as_they_are(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := accept(t, Options{}, "")
		small := Text([]byte(strings.Repeat("s", 300)))
		large := Binary(bytes.Repeat([]byte("l"), 100_000))
		for _, c := range []struct {
			frames [][]byte
			writes int
		}{
			{[][]byte{small}, 1},
			{[][]byte{small, small, small, small, small, small, small, small}, 1},
			{[][]byte{large}, 1},
			{[][]byte{small, large, small}, 3},
		} {
			a.writes.writes = 0
			written := make(chan error, 1)
			go func() { written <- a.conn.Write(c.frames...) }()
			a.want(t, string(bytes.Join(c.frames, nil)))
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			if a.writes.writes != c.writes {
				t.Errorf("%d frames in %d writes, want %d", len(c.frames), a.writes.writes, c.writes)
			}
		}
	})
}

func Test_pong_waits_for_the_write_under_way_and_the_reader_doesnt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := accept(t, Options{}, "")
		read := make(chan string, 1)
		go func() {
			_, data, err := a.conn.Read()
			if err != nil {
				data = []byte(err.Error())
			}
			read <- string(data)
		}()
		written := make(chan error, 1)
		go func() { written <- a.conn.Write(Text([]byte("data"))) }()
		synctest.Wait() // blocked: the client reads nothing
		if _, err := io.WriteString(a.client, masked(0x9, "one")+masked(0x9, "two")+masked(OpText, "next")); err != nil {
			t.Fatal(err)
		}
		if got := <-read; got != "next" {
			t.Errorf("read %q, want next", got)
		}
		pass(10 * time.Second) // longer than coder/websocket gives a pong
		a.want(t, string(Text([]byte("data")))+"\x8a\x03two")
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
}

func Test_write_without_progress_fails_and_with_some_goes_on(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := accept(t, Options{WriteTimeout: 10 * time.Second}, "")
		start := time.Now()
		written := make(chan error, 1)
		go func() { written <- a.conn.Write(Text(make([]byte, 125))) }()
		for range 20 {
			pass(9 * time.Second)
			if _, err := a.client.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-written; !errors.Is(err, ErrNoProgress) {
			t.Errorf("error %v, want %v", err, ErrNoProgress)
		}
		if got := time.Since(start); got < 190*time.Second || got > 205*time.Second {
			t.Errorf("failed after %v, want some 10s after the last byte at 180s", got)
		}
	})
}

func Test_shutdown_sends_a_close_frame_and_bounds_the_wait_for_the_answer(t *testing.T) {
	for _, answers := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			a := accept(t, Options{}, "")
			start := time.Now()
			down := make(chan error, 1)
			go func() { down <- a.conn.Shutdown(4401, "token ended", 5*time.Second) }()
			a.want(t, "\x88\x0d\x11\x31token ended")
			if err := <-down; err != nil {
				t.Fatal(err)
			}
			if err := a.conn.Write(Text([]byte("late"))); !errors.Is(err, net.ErrClosed) {
				t.Errorf("write after: %v, want %v", err, net.ErrClosed)
			}
			if answers {
				go func() { _, _ = io.WriteString(a.client, masked(opClose, "\x11\x31")) }()
			}
			_, _, err := a.conn.Read()
			took := time.Since(start)
			if answers && (CloseStatus(err) != 4401 || took != 0) {
				t.Errorf("ended by %v after %v, want the answer at once", err, took)
			}
			if !answers && (err == nil || took != 5*time.Second) {
				t.Errorf("ended by %v after %v, want a timeout after 5s", err, took)
			}
		})
	}
}

func Test_hurry_bounds_a_blocked_write_and_those_after(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := accept(t, Options{}, "")
		start := time.Now()
		written := make(chan error, 1)
		go func() { written <- a.conn.Write(Text([]byte("data"))) }()
		synctest.Wait()
		a.conn.Hurry(5 * time.Second)
		if err := <-written; !errors.Is(err, ErrNoProgress) {
			t.Errorf("write: %v, want %v", err, ErrNoProgress)
		}
		if got := time.Since(start); got != 5*time.Second {
			t.Errorf("took %v, want 5s", got)
		}
		if err := a.conn.Write(Text([]byte("data"))); err == nil || time.Since(start) != 5*time.Second {
			t.Errorf("next write: %v after %v, want an error at once", err, time.Since(start))
		}
	})
}

func Test_abort_frees_a_blocked_reader_and_writer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := accept(t, Options{}, "")
		ended := make(chan error, 2)
		go func() { ended <- a.conn.Write(Text([]byte("data"))) }()
		go func() {
			_, _, err := a.conn.Read()
			ended <- err
		}()
		synctest.Wait()
		a.conn.Abort()
		for range 2 {
			if err := <-ended; err == nil {
				t.Error("no error, want one")
			}
		}
	})
}

func Test_bad_frames_end_the_connection(t *testing.T) {
	for name, bytes := range map[string]string{
		"reserved bits":           "\xf1\x80\x00\x00\x00\x00",
		"reserved opcode":         "\x83\x80\x00\x00\x00\x00",
		"not masked":              "\x81\x01x",
		"control over 125 bytes":  "\x89\xfe\x00\x80\x00\x00\x00\x00" + strings.Repeat("x", 128),
		"control in fragments":    "\x09\x80\x00\x00\x00\x00",
		"continuation of nothing": "\x80\x80\x00\x00\x00\x00",
		"text within a message":   "\x01\x80\x00\x00\x00\x00" + "\x81\x80\x00\x00\x00\x00",
		"close of one byte":       "\x88\x81\x00\x00\x00\x00x",
		"64-bit length":           "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"over the limit":          "\x82\xfe\x04\x00\x00\x00\x00\x00" + strings.Repeat("x", 1024),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := accept(t, Options{ReadLimit: 1000}, "")
				go func() { _, _ = io.Copy(io.Discard, a.reader) }()
				go func() { _, _ = io.WriteString(a.client, bytes) }()
				_, _, err := a.conn.Read()
				if want := name != "over the limit"; err == nil || errors.Is(err, ErrProtocol) != want {
					t.Errorf("read ended with %v, want a protocol error: %v", err, want)
				}
			})
		})
	}
}

func Test_what_is_no_fault_of_the_protocol_is_no_protocol_error(t *testing.T) {
	for name, end := range map[string]func(a *accepted){
		"close frame": func(a *accepted) { _, _ = io.WriteString(a.client, masked(opClose, "\x03\xe8")) },
		"hang-up":     func(a *accepted) { _ = a.client.Close() },
		"aborted":     func(a *accepted) { a.conn.Abort() },
		"shut down":   func(a *accepted) { _ = a.conn.Shutdown(4401, "", time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := accept(t, Options{}, "")
				go func() { _, _ = io.Copy(io.Discard, a.reader) }()
				go end(a)
				if _, _, err := a.conn.Read(); err == nil || errors.Is(err, ErrProtocol) {
					t.Errorf("read ended with %v, want no protocol error", err)
				}
			})
		})
	}
}

func Test_protocol_errors_are_told_with_the_code_wanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := accept(t, Options{ProtocolErrorCode: 4400}, "")
		go func() { _, _ = io.WriteString(a.client, "\xf1\x80\x00\x00\x00\x00") }()
		read := make(chan error, 1)
		go func() {
			_, _, err := a.conn.Read()
			read <- err
		}()
		var head [4]byte
		if _, err := io.ReadFull(a.reader, head[:]); err != nil || head[0] != 0x88 || head[2] != 4400>>8 || head[3] != 4400&0xff {
			t.Errorf("got %x, %v, want a close frame with 4400", head, err)
		}
		go func() { _, _ = io.Copy(io.Discard, a.reader) }()
		if err := <-read; !errors.Is(err, ErrProtocol) {
			t.Errorf("read ended with %v, want %v", err, ErrProtocol)
		}
	})
}

func Test_pongs_and_half_read_messages_are_seen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pongs := make(chan struct{}, 1)
		a := accept(t, Options{OnPong: func() { pongs <- struct{}{} }}, "")
		go func() { _, _, _ = a.conn.Read() }()
		send := func(bytes string) {
			if _, err := io.WriteString(a.client, bytes); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		send(masked(0xa, "x"))
		<-pongs
		if n := a.conn.Receiving(); n != 0 {
			t.Errorf("receiving %d before a message, want 0", n)
		}
		send("\x01\x80\x00\x00\x00\x00")
		begun := a.conn.Receiving()
		send("\x00\x80\x00\x00\x00\x00" + masked(0xa, ""))
		<-pongs
		if n := a.conn.Receiving(); begun == 0 || n != begun {
			t.Errorf("receiving %d, then %d, want the same message", begun, n)
		}
		send("\x80\x80\x00\x00\x00\x00")
		if n := a.conn.Receiving(); n != 0 {
			t.Errorf("receiving %d after the message, want 0", n)
		}
	})
}

func Test_many_tiny_fragments_are_one_message_within_the_limit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := accept(t, Options{ReadLimit: 1000}, "")
		go func() {
			_, _ = io.WriteString(a.client, "\x01\x81\x00\x00\x00\x00x")
			for range 998 {
				_, _ = io.WriteString(a.client, "\x00\x81\x00\x00\x00\x00x")
			}
			_, _ = io.WriteString(a.client, "\x80\x81\x00\x00\x00\x00x")
		}()
		if _, data, err := a.conn.Read(); err != nil || len(data) != 1000 {
			t.Errorf("%d bytes, %v, want 1000", len(data), err)
		}
	})
}

func Test_pings_may_be_refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := accept(t, Options{OnPing: func() bool { return false }}, "")
		go func() { _, _ = io.WriteString(a.client, masked(0x9, "x")) }()
		if _, _, err := a.conn.Read(); err == nil {
			t.Error("read went on, want an error")
		}
	})
}

func Test_handshake_that_is_none_is_answered_with_an_error(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := Accept(w, r, Options{}); err == nil {
			t.Error("accepted")
		}
	})}
	go func() { _ = h.Serve(l) }()
	defer h.Close()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("status %d, want 426", answer.StatusCode)
	}
}

// pass lets fake time pass; outside of a bubble it must not be used.
func pass(d time.Duration) { <-time.After(d) }

// buffered is a connection that remembers the bound of its send buffer.
type buffered struct {
	net.Conn
	bytes int
}

func (b *buffered) SetWriteBuffer(bytes int) error { b.bytes = bytes; return nil }

// wrapped is a connection over another, such as TLS.
type wrapped struct {
	net.Conn
	inner net.Conn
}

func (w wrapped) NetConn() net.Conn { return w.inner }

func Test_send_buffer_is_bounded_through_wrappers(t *testing.T) {
	for _, bytes := range []int{0, 16 << 10} {
		h := &hijacker{options: &Options{SendBuffer: bytes}}
		plain, inner := &buffered{}, &buffered{}
		h.bound(plain)
		h.bound(wrapped{plain, inner})
		if plain.bytes != bytes || inner.bytes != bytes {
			t.Errorf("send buffers of %d and %d bytes, want %d", plain.bytes, inner.bytes, bytes)
		}
	}
}
