package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"bms/domain"
)

// rawClient is a client over WebSocket, of Socket.IO or plain, that does as
// little as it can, so that the processors are the server's: it counts frames,
// keeps its cursor, and answers pings.
type rawClient struct {
	conn   net.Conn
	in     *bufio.Reader
	plain  bool
	cursor string // position of the last event, or of the session
}

// dialRaw connects to /ws as staff of b1 over Socket.IO, with a cursor unless
// since is empty, and waits for the session event.
func dialRaw(addr, user, since string) (*rawClient, error) {
	c, err := openRaw(addr, "/socket.io/?EIO=4&transport=websocket", "")
	if err != nil {
		return nil, err
	}
	auth := `40/ws,{"token":"` + staffToken(user) + `"}`
	if since != "" {
		auth = `40/ws,{"token":"` + staffToken(user) + `","since":"` + since + `"}`
	}
	if err := c.send(0x1, auth); err != nil {
		return nil, err
	}
	return c, c.session()
}

// dialRawPlain is dialRaw over a plain WebSocket.
func dialRawPlain(addr, user, since string) (*rawClient, error) {
	path := "/ws"
	if since != "" {
		path += "?since=" + since
	}
	c, err := openRaw(addr, path, "Authorization: Bearer "+staffToken(user)+"\r\n")
	if err != nil {
		return nil, err
	}
	c.plain = true
	return c, c.session()
}

// openRaw upgrades a connection.
func openRaw(addr, path, header string) (*rawClient, error) {
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &rawClient{conn: conn, in: bufio.NewReaderSize(conn, 16<<10)}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n", path, addr, header)
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	if err := res.Body.Close(); err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("upgrade of %s: got %s", path, res.Status)
	}
	return c, nil
}

// session waits for the session event.
func (c *rawClient) session() error {
	first, err := c.events(1)
	if err == nil && !strings.HasPrefix(first, `42/ws,["session"`) && !strings.HasPrefix(first, `{"type":"session"`) {
		err = fmt.Errorf("got %.80q, want the session", first)
	}
	return err
}

// send sends a frame, masked with zeros.
func (c *rawClient) send(opcode byte, text string) error {
	frame := []byte{0x80 | opcode, 0x80 | 126, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(frame[2:], uint16(len(text)))
	if opcode >= 0x8 { // control frames have a short length
		frame = []byte{0x80 | opcode, 0x80 | byte(len(text)), 0, 0, 0, 0}
	}
	_, err := c.conn.Write(append(frame, text...))
	return err
}

// events reads until so many events have come and returns the beginning of the
// last.
func (c *rawClient) events(count int) (last string, err error) {
	for count > 0 {
		head, err := c.in.Peek(2)
		if err != nil {
			return "", err
		}
		opcode, size, skip := head[0]&0xf, int(head[1]), 2
		switch size {
		case 126:
			if head, err = c.in.Peek(4); err != nil {
				return "", err
			}
			size, skip = int(binary.BigEndian.Uint16(head[2:])), 4
		case 127:
			return "", io.ErrUnexpectedEOF // none is that large
		}
		if _, err := c.in.Discard(skip); err != nil {
			return "", err
		}
		frame, err := c.in.Peek(size)
		if err != nil {
			return "", err
		}
		event := false
		switch {
		case opcode == 0x9:
			err = c.send(0xa, string(frame))
		case opcode == 0x8:
			err = fmt.Errorf("closed: %q", frame)
		case c.plain:
			event = c.took(frame)
		case string(frame) == "2":
			err = c.send(0x1, "3")
		case bytes.HasPrefix(frame, []byte("44")):
			err = fmt.Errorf("refused: %s", frame)
		case bytes.HasPrefix(frame, []byte("42")):
			event = c.took(frame)
		}
		if err != nil {
			return "", err
		}
		if event {
			if count--; count == 0 {
				last = string(frame[:min(size, 80)])
			}
		}
		if _, err := c.in.Discard(size); err != nil {
			return "", err
		}
	}
	return last, nil
}

// took keeps the cursor that an event carries last: a position within quotes.
func (c *rawClient) took(frame []byte) (event bool) {
	if i := bytes.LastIndex(frame, []byte(`"pos":"`)); i >= 0 {
		at := frame[i+len(`"pos":"`):]
		c.cursor = string(at[:min(len(at), domain.PositionLen)])
	}
	return true
}
