package bench

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Config says what a Load does. URL and Secret must be given.
type Config struct {
	// URL is the node's, without a path: http://localhost:3001.
	URL string
	// SocketURL is where the sockets connect. Empty means URL.
	SocketURL string
	// Secret signs the tokens of the load's users; HS256.
	Secret []byte
	// Issuer and Audience go into the tokens unless empty.
	Issuer, Audience string

	// Sockets is the number of subscribers, each a user of its own. Most are
	// staff of one branch by turns; every tenth is a manager of up to three,
	// and of every fifty the first is an admin.
	Sockets int
	// Transport is one of Transports. Empty means WebSocket.
	Transport string
	// Slow is how many of the subscribers stop reading for the first half of
	// Duration. Their latencies are not counted.
	Slow int
	// Rate is how many commands a second are given, all commanders together.
	// 0: as fast as answers come.
	Rate float64
	// Clients is the number of commanders. 0 means 16.
	Clients int
	// Branches is how many branches are opened. 0 means 4.
	Branches int
	// Products is how many products a branch has. 0 means 20.
	Products int
	// Duration is how long commands are given. 0 means 30 s.
	Duration time.Duration
	// Grace bounds the wait for answers and deliveries after that, and for
	// the first connections before. 0 means 30 s.
	Grace time.Duration
	// Check has everything that is sent, answered and received kept and
	// checked in the end; 16 bytes an event received and some 200 an event in
	// the log.
	Check bool
	// Escalation is true for a node with --alerts-repeat escalation.
	Escalation bool
	// Forgetful is History.Forgetful.
	Forgetful bool
	// Began is called when the shops are open, the subscribers connected, and
	// commands begin: here faults may begin. Nil: nothing.
	Began func()
	// Settle is called when all commands have been given, before the wait for
	// deliveries: here faults end. Nil: nothing.
	Settle func() error
	// Run names the run, [a-z0-9]{1,12}; its branches and users carry the name,
	// and a node must not have seen it before. Empty: one is made of the time.
	Run string
	// Seed makes the choice of commands and of pauses repeatable. 0 is a seed
	// too.
	Seed uint64
}

func (c *Config) complete() (base, sockets *url.URL, err error) {
	if c.SocketURL == "" {
		c.SocketURL = c.URL
	}
	if base, err = parseURL("URL", c.URL); err != nil {
		return nil, nil, err
	}
	if sockets, err = parseURL("SocketURL", c.SocketURL); err != nil {
		return nil, nil, err
	}
	switch c.Transport {
	case "":
		c.Transport = WebSocket
	default:
		if slices.Contains(Transports, c.Transport) {
			break
		}
		return nil, nil, fmt.Errorf("bench.Config.Transport is %q, want one of %v", c.Transport, Transports)
	}
	if c.Slow < 0 || c.Slow > c.Sockets {
		return nil, nil, fmt.Errorf("bench.Config.Slow is %d of %d sockets", c.Slow, c.Sockets)
	}
	if c.Sockets < 0 || c.Clients < 0 || c.Branches < 0 || c.Products < 0 || c.Rate < 0 || c.Duration < 0 || c.Grace < 0 {
		return nil, nil, errors.New("bench.Config: Sockets, Clients, Branches, Products, Rate, Duration and Grace must not be negative")
	}
	c.Clients = orDefault(c.Clients, 16)
	c.Branches = orDefault(c.Branches, 4)
	c.Products = orDefault(c.Products, 20)
	c.Duration = orDefault(c.Duration, 30*time.Second)
	c.Grace = orDefault(c.Grace, 30*time.Second)
	return base, sockets, nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func parseURL(field, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("bench.Config.%s is %q, want http://host:port or https://host", field, s)
	}
	return u, nil
}
