package httpapi

import (
	"sync"

	"bms/domain"
)

// commandRoom bounds the bodies under way, which take several times their size
// once decoded.
type commandRoom struct {
	most int64 // bytes

	mu    sync.Mutex // guards taken
	taken int64
}

// take gives a body of so many bytes its room until release is called, or says
// "busy".
func (c *commandRoom) take(bytes int64) (release func(), no *domain.Rejection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken > 0 && c.taken+bytes > c.most {
		no = domain.Reject(domain.CodeBusy, "the server has %d bytes of commands under way; ask again later", c.taken)
		no.Details = map[string]any{"retryAfter": 1}
		return nil, no
	}
	c.taken += bytes
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.taken -= bytes
	}, nil
}
