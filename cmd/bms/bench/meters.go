package bench

import (
	"sync/atomic"
	"time"
)

// meters are what a run is measured by. All may be written from any goroutine.
type meters struct {
	answered, rejected, retried atomic.Int64
	answers                     Histogram // command due → answer

	connected, disconnects, resumes atomic.Int64
	events, disorder                atomic.Int64
	deliveries                      Histogram // command due → event at a socket
	ages                            Histogram // decision by the server's clock → event at a socket
}

// delivered measures an event that came on a socket.
func (m *meters) delivered(f frame, c *clock) {
	now := time.Now()
	if due, ok := c.due(f); ok {
		m.deliveries.Record(now.Sub(c.start) - due)
	}
	if age, ok := f.age(now); ok {
		m.ages.Record(age)
	}
}
