package e2e_test

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
)

// client is a running Node program that prints what it sees.
type client struct {
	*process
	seen int // lines that the test has looked at
}

// shown is a line of a client.
type shown struct {
	On        string          `json:"on"`
	Recovered bool            `json:"recovered"`
	Transport string          `json:"transport"`
	Reason    string          `json:"reason"`
	Message   string          `json:"message"`
	Text      string          `json:"text"`
	Event     json.RawMessage `json:"event"`
	Data      struct {
		Code       string  `json:"code"`
		RetryAfter float64 `json:"retryAfter"`
	} `json:"data"`
	Session struct {
		SID       string   `json:"sid"`
		UserID    string   `json:"userId"`
		Role      string   `json:"role"`
		Rooms     []string `json:"rooms"`
		Pos       string   `json:"pos"`
		Recovered bool     `json:"recovered"`
	} `json:"session"`
}

// dashboard starts programs/dashboard.mjs.
func dashboard(t *testing.T, name, url, token, options string) *client {
	t.Helper()
	return &client{process: start(t, name, nil, "node", "programs/dashboard.mjs", url, token, options)}
}

// reactTill starts programs/react-till.mjs.
func reactTill(t *testing.T, url, token string) *client {
	t.Helper()
	return &client{process: start(t, "react-till", nil, "node", "programs/react-till.mjs", url, token, page+"/")}
}

// next waits for the next line of the kind and passes by all before it.
func (c *client) next(on string) shown {
	c.t.Helper()
	return c.nextThat(fmt.Sprintf("%q", on), func(s shown) bool { return s.On == on })
}

func (c *client) nextThat(what string, found func(shown) bool) shown {
	c.t.Helper()
	var last shown
	i := c.await(what, c.seen, func(line string) bool {
		last = c.parse(line)
		return found(last)
	})
	c.seen = i + 1
	return last
}

func (c *client) parse(line string) shown {
	c.t.Helper()
	var s shown
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		c.t.Fatalf("%s printed %q: %v", c.name, line, err)
	}
	return s
}

// until waits for the event at a position and returns all events printed so
// far, from the beginning of the program.
func (c *client) until(pos string) []json.RawMessage {
	c.t.Helper()
	c.await("event at "+pos, 0, func(line string) bool {
		var e event
		s := c.parse(line)
		return s.Event != nil && json.Unmarshal(s.Event, &e) == nil && e.Pos == pos
	})
	out, _, _ := c.snapshot()
	var events []json.RawMessage
	for _, line := range out {
		if s := c.parse(line); s.Event != nil {
			events = append(events, s.Event)
		}
	}
	return events
}

// close asks the program to disconnect, and waits.
func (c *client) close() {
	c.t.Helper()
	c.signal(syscall.SIGTERM)
	if code := c.exit(); code != 0 {
		c.t.Fatalf("%s exits %d, want 0", c.name, code)
	}
}
