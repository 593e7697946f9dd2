package socketio

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"bms/transport/wsframe"
)

// dialDeflate opens a session by a client that offers permessage-deflate, and
// says what was agreed on.
func (r *rig) dialDeflate() (c *ws, agreed string) {
	r.t.Helper()
	conn, answer, err := websocket.Dial(context.Background(), "ws://server/socket.io/?EIO=4&transport=websocket",
		&websocket.DialOptions{HTTPClient: r.client, CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.CloseNow() })
	c = &ws{r.t, conn}
	if open := c.read(); open[:1] != "0" {
		r.t.Fatalf("first message %q, want an open packet", open)
	}
	return c, answer.Header.Get("Sec-WebSocket-Extensions")
}

func Test_compression_is_off_unless_asked_for(t *testing.T) {
	large := `42["e","` + strings.Repeat("apples ", 1000) + `"]`
	for name, c := range map[string]struct {
		config Config
		agreed string
	}{
		"by_default": {Config{}, ""},
		"from_1KB":   {Config{Config: wsframe.Config{CompressFrom: 1024}}, "permessage-deflate; client_no_context_takeover; server_no_context_takeover"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newRecorder()
			backlog := &backlog{}
			ns := newAccept(Session{Receiver: rec, Source: backlog})
			serving(t, c.config, func(s *Server) { s.Of("/", ns) }, func(t *testing.T, r *rig) {
				client, agreed := r.dialDeflate()
				if agreed != c.agreed {
					t.Errorf("agreed on %q, want %q", agreed, c.agreed)
				}
				client.write("40")
				socket := <-ns.sockets
				client.read()
				backlog.put(AppendEvent(nil, "/", "e", []byte(large[7:len(large)-1])))
				socket.Wake()
				client.want(large)
				client.write(large)
				if got := <-rec.events; "42"+got.text() != "42e["+large[7:len(large)-1]+"]" {
					t.Errorf("the server got %.40q", got.text())
				}
			})
		})
	}
}

// A message of a few KB that comes out as megabytes, from a client that nobody
// knows yet, ends at MaxPayload.
func Test_deflate_bomb_before_connect_is_closed_with_1009(t *testing.T) {
	serving(t, Config{Config: wsframe.Config{CompressFrom: 1024, MaxPayload: 1000}}, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
		conn := r.dial()
		defer conn.Close()
		go func() {
			_, _ = io.WriteString(conn, "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
			writeBomb(conn)
		}()
		sent, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(sent, []byte{0x88, 2 + byte(len("read limited at 1001 bytes")), 1009 >> 8, 1009 & 0xff}) {
			t.Errorf("the server sent %q, want a close frame with 1009", sent)
		}
	})
}

// writeBomb writes one compressed message of 4 MB of zeros, masked with zeros.
func writeBomb(conn net.Conn) {
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestSpeed)
	_, _ = w.Write(make([]byte, 4<<20))
	_ = w.Flush()
	frame := binary.BigEndian.AppendUint64([]byte{0xc1, 0xff}, uint64(packed.Len()))
	_, _ = conn.Write(append(append(frame, 0, 0, 0, 0), packed.Bytes()...))
}
