package socketio

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// history is a Source of so many numbered events of a KB each, from one on.
type history struct{ next, end int }

var filler = strings.Repeat("x", 1000)

func (h *history) Next(dst [][]byte, limit int) [][]byte {
	for h.next < h.end && limit > 0 {
		frame := AppendEvent(nil, "/", "e", strconv.AppendInt(nil, int64(h.next), 10), []byte(strconv.Quote(filler)))
		dst = append(dst, frame)
		limit -= len(frame)
		h.next++
	}
	return dst
}

// slowClient polls at 3 KB/s as stock clients do: it gives up on a session when
// it has got no ping in time, and goes on with the next from the last event
// that it has.
type slowClient struct {
	*rig
	offset   int // events it has
	answers  int
	sessions int
}

var errNoPing = errors.New("no ping in time")

func (c *slowClient) session() error {
	c.sessions++
	sid := c.open()
	c.wantPost(sid, `40{"pid":"p","offset":"`+strconv.Itoa(c.offset)+`"}`)
	patience := time.Now().Add(45 * time.Second)
	for c.offset < 1000 {
		body, err := c.slowGet(sid, patience)
		if err != nil {
			return err
		}
		c.answers++
		for packet := range strings.SplitSeq(body, "\x1e") {
			switch {
			case packet == "2":
				patience = time.Now().Add(45 * time.Second)
				c.wantPost(sid, "3")
			case strings.HasPrefix(packet, `42["e",`):
				c.offset++
			}
		}
	}
	return nil
}

func (c *slowClient) slowGet(sid string, patience time.Time) (string, error) {
	ctx, cancel := context.WithDeadline(context.Background(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, "GET", "http://server/socket.io/?EIO=4&transport=polling&sid="+sid, nil)
	if err != nil {
		return "", err
	}
	answer, err := c.client.Do(q)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var body strings.Builder
	for {
		_, err := io.CopyN(&body, answer.Body, 3<<10)
		switch {
		case errors.Is(err, io.EOF):
			return body.String(), nil
		case ctx.Err() != nil:
			return "", errNoPing
		case err != nil:
			return "", err
		}
		pass(time.Second)
	}
}

// Invariants 4 and 5: a client that is far behind, on a slow line, gets on.
func Test_a_slow_client_that_polls_gets_everything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NamespaceFunc(func(_ context.Context, _ *Socket, h Handshake) (Session, error) {
			from, err := strconv.Atoi(h.Offset)
			return Session{Source: &history{next: from, end: 1000}}, err
		})
		serving(t, Config{}, func(s *Server) { s.Of("/", n) }, func(t *testing.T, r *rig) {
			c := &slowClient{rig: r}
			for c.offset < 1000 {
				before := c.offset
				if err := c.session(); err != nil {
					t.Logf("session %d ended with %v", c.sessions, err)
				}
				if c.offset == before {
					t.Fatalf("session %d brought nothing: %d events of 1000", c.sessions, c.offset)
				}
			}
		})
	})
}

func Test_a_fast_client_that_polls_gets_more_and_more_at_a_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NamespaceFunc(func(context.Context, *Socket, Handshake) (Session, error) {
			return Session{Source: &history{end: 1000}}, nil
		})
		serving(t, Config{}, func(s *Server) { s.Of("/", n) }, func(t *testing.T, r *rig) {
			sid := r.open()
			r.wantPost(sid, "40")
			synctest.Wait()
			got := 0
			for range 6 {
				_, body := r.get(sid)
				got += strings.Count(body, `42["e",`)
			}
			if got < 700 || got > 780 {
				t.Errorf("%d events of a KB in six answers, want 16+32+64+128+256+256", got)
			}
			pass(20 * time.Second) // a line that has become slow
			_, body := r.get(sid)
			if n := len(body) >> 10; n < 120 || n > 140 {
				t.Errorf("%d KB, want 128", n)
			}
		})
	})
}
