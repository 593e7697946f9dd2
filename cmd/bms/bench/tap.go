package bench

import (
	"net"
	"sync"
	"time"
)

// How a tap lets bytes in.
type flow int

const (
	flowing flow = iota
	paused
	trickling // a byte a second
)

// tap is what a client's connections are read through, so that it can be slow
// on purpose.
type tap struct {
	mu      sync.Mutex // guards flow and changed
	flow    flow
	changed chan struct{} // closed and replaced when flow changes
}

func newTap() *tap { return &tap{changed: make(chan struct{})} }

func (t *tap) set(f flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flow = f
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tap) state() (flow, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flow, t.changed
}

func (t *tap) on(c net.Conn) net.Conn {
	return &tapped{Conn: c, tap: t, closed: make(chan struct{})}
}

// tapped is a connection behind a tap.
type tapped struct {
	net.Conn
	tap    *tap
	once   sync.Once
	closed chan struct{}
}

func (c *tapped) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *tapped) Read(b []byte) (int, error) {
	for {
		flow, changed := c.tap.state()
		var drop <-chan time.Time
		switch flow {
		case flowing:
			return c.Conn.Read(b)
		case trickling:
			drop = time.After(time.Second)
		}
		select {
		case <-drop:
			return c.Conn.Read(b[:min(1, len(b))])
		case <-changed:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
}
