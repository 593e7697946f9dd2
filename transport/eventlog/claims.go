package eventlog

import (
	"context"
	"sync"
)

// claims says which subscription of a consumer group gets a topic's messages:
// one at a time, the others wait. The log has one, since the log has one
// process.
type claims struct {
	mu     sync.Mutex // guards all below
	closed bool
	topics map[[2]string]*claim
}

type claim struct {
	turn  chan struct{} // capacity 1: taken while full
	users int           // who have it or wait for it
}

// enter counts a subscription of an open log.
func (c *claims) enter(running *sync.WaitGroup) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		running.Add(1)
	}
	return !c.closed
}

func (c *claims) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// take waits for the turn, until ctx or stop ends. The caller calls release.
func (c *claims) take(ctx context.Context, stop <-chan struct{}, group, topic string) (release func(), err error) {
	key := [2]string{group, topic}
	c.mu.Lock()
	if c.topics == nil {
		c.topics = map[[2]string]*claim{}
	}
	k := c.topics[key]
	if k == nil {
		k = &claim{turn: make(chan struct{}, 1)}
		c.topics[key] = k
	}
	k.users++
	c.mu.Unlock()
	leave := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(c.topics, key)
		}
	}
	select {
	case k.turn <- struct{}{}:
		return func() {
			<-k.turn
			leave()
		}, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-stop:
		err = errClosed
	}
	leave()
	return nil, err
}
