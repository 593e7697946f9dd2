package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

// runDrainClients is the process of the drain test's clients, of args "address
// count". It connects them to a node and says "connected". Sent away,
// they wait for the first line of stdin, the address of the node to come back
// to; the second is the position of the last event. When all have seen that, it
// says what they have seen.
func runDrainClients(args []string) error {
	var addr string
	var count int
	if err := arguments(args, &addr, &count); err != nil {
		return err
	}
	clients := make([]*drainClient, count)
	var connecting errgroup.Group
	connecting.SetLimit(32)
	var away sync.WaitGroup
	for i := range clients {
		c := &drainClient{user: "u" + strconv.Itoa(i), digest: newDigest(), changed: make(chan struct{}, 1)}
		clients[i] = c
		connecting.Go(func() error {
			err := c.connect(addr)
			if err == nil {
				away.Go(c.listen) // at once: it is pinged
			}
			return err
		})
	}
	if err := connecting.Wait(); err != nil {
		return err
	}
	fmt.Println("connected")

	lines := bufio.NewScanner(os.Stdin)
	if !lines.Scan() {
		return errors.New("no address to come back to")
	}
	away.Wait()
	var reconnecting errgroup.Group
	reconnecting.SetLimit(32)
	for _, c := range clients {
		reconnecting.Go(func() error {
			if c.err != nil {
				return c.err
			}
			err := c.connect(lines.Text())
			if err == nil {
				go c.listen()
			}
			return err
		})
	}
	if err := reconnecting.Wait(); err != nil {
		return err
	}
	fmt.Println("back")
	if !lines.Scan() {
		return errors.New("no last position")
	}
	saw := map[string]int{}
	for _, c := range clients {
		saw[c.until(lines.Text())]++
	}
	for what, n := range saw {
		fmt.Printf("%d saw %s\n", n, what)
	}
	return nil
}

// drainClient is a Socket.IO client, one of staff of branch b1.
type drainClient struct {
	user string
	pid  string // for recovery
	conn *websocket.Conn
	err  error // how listen ended, if not by being told to come back

	mu      sync.Mutex // guards the following
	offset  string     // position seen last
	events  int
	digest  digest
	changed chan struct{} // holds a token after a change
}

// digest is one of positions, in order.
type digest uint64

func newDigest() digest { return 14695981039346656037 }

func (d *digest) add(position string) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", *d, position)
	*d = digest(h.Sum64())
}

// seen is what a client says that it has seen.
func seen(events int, d digest) string { return fmt.Sprintf("%d events, digest %x", events, uint64(d)) }

// connect connects, the second time with what recovery asks for.
func (c *drainClient) connect(addr string) error {
	ctx := context.Background()
	auth := map[string]string{"token": staffToken(c.user)}
	if c.pid != "" {
		auth["pid"], auth["offset"] = c.pid, c.offset
	}
	said, err := json.Marshal(auth)
	if err != nil {
		return err
	}
	conn, _, err := websocket.Dial(ctx, "ws://"+addr+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, websocket.MessageText, append([]byte("40/ws,"), said...)); err != nil {
		return err
	}
	c.conn = conn
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		answer, ok := strings.CutPrefix(string(message), "40/ws,")
		if !ok {
			if strings.HasPrefix(string(message), "44") {
				return fmt.Errorf("%s is refused: %s", c.user, message)
			}
			if err := c.receive(string(message)); err != nil {
				return err
			}
			continue
		}
		var session struct {
			PID string `json:"pid"`
		}
		if err := json.Unmarshal([]byte(answer), &session); err != nil {
			return err
		}
		if c.pid != "" && c.pid != session.PID {
			return fmt.Errorf("%s is not recovered", c.user)
		}
		c.pid = session.PID
		return nil
	}
}

// listen goes on until the server closes the connection.
func (c *drainClient) listen() {
	ctx := context.Background()
	for {
		_, message, err := c.conn.Read(ctx)
		if err != nil {
			// An empty close frame, and no Socket.IO DISCONNECT before it, which
			// would mean not to come back.
			if websocket.CloseStatus(err) != websocket.StatusNoStatusRcvd {
				c.err = fmt.Errorf("%s is cut off: %w", c.user, err)
			}
			return
		}
		if string(message) == "2" {
			err = c.conn.Write(ctx, websocket.MessageText, []byte("3"))
		} else {
			err = c.receive(string(message))
		}
		if err != nil {
			c.err = err
			return
		}
	}
}

// receive takes an event, 42/ws,["name",{…},"position"].
func (c *drainClient) receive(message string) error {
	event, ok := strings.CutPrefix(message, `42/ws,["`)
	if !ok {
		if strings.HasPrefix(message, "0{") {
			return nil
		}
		return fmt.Errorf("%s got %.80q", c.user, message)
	}
	rest := strings.TrimSuffix(event, `"]`)
	position := rest[strings.LastIndexByte(rest, '"')+1:]
	c.mu.Lock()
	defer c.mu.Unlock()
	if strings.HasPrefix(event, "session") {
		if c.offset == "" {
			c.offset = position
		}
		return nil
	}
	if position <= c.offset {
		return fmt.Errorf("%s got %s after %s", c.user, position, c.offset)
	}
	c.offset = position
	c.events++
	c.digest.add(position)
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return nil
}

// until waits for the event at a position and says what was seen.
func (c *drainClient) until(position string) string {
	for {
		c.mu.Lock()
		at, what := c.offset, seen(c.events, c.digest)
		c.mu.Unlock()
		if at >= position {
			return what
		}
		<-c.changed
	}
}
