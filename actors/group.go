package actors

import "sync"

// group is goroutines that an owner waits for when it ends. The zero value is
// ready. Unlike a WaitGroup alone it may be asked for another goroutine while,
// and after, it ends.
type group struct {
	mu    sync.Mutex // guards ended, and that none is added once it is true
	ended bool
	ran   sync.WaitGroup
}

// begin runs f on a goroutine of its own. It reports false, and f doesn't run,
// once the group ends.
func (g *group) begin(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	g.ran.Go(f)
	return true
}

// end waits for those that run.
func (g *group) end() {
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
	g.ran.Wait()
}
