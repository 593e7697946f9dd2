package socketio

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// drainWave is the time between two waves of Drain.
const drainWave = 50 * time.Millisecond

// Drain takes no new sessions and closes those that are there in waves over
// about spread, in random order, so that the clients that come back (to another
// node, or to this one's successor) don't do so all at once. It returns when
// all have ended, or ctx has, with its error. Close the server afterwards.
func (s *Server) Drain(ctx context.Context, spread time.Duration) error {
	s.mu.Lock()
	s.draining = true
	engines := make([]*engine, 0, len(s.sessions))
	for _, e := range s.sessions {
		engines = append(engines, e)
	}
	s.mu.Unlock()
	rand.Shuffle(len(engines), func(i, j int) { engines[i], engines[j] = engines[j], engines[i] })

	waves := min(int(spread/drainWave)+1, len(engines)) // a few needn't be kept apart for long
	tick := time.NewTicker(drainWave)
	defer tick.Stop()
	for wave := 0; len(engines) > 0 && s.Sessions() > 0; wave++ {
		if wave > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("drain %d sessions: %w", len(engines), ctx.Err())
			}
		}
		// An even share of what is left, give or take a half.
		share := len(engines)
		if left := waves - wave; left > 1 {
			share = min(share, int(float64(share)/float64(left)*(0.5+rand.Float64())+0.5))
		}
		for _, e := range engines[:share] {
			e.close(ServerShuttingDown)
		}
		engines = engines[share:]
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.ended(ctx)
}

// ended waits for the readers and the running Connects.
func (s *Server) ended(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for connections to end: %w", ctx.Err())
	}
}

// Close closes all sessions at once, tells their clients to come back, and
// waits for their goroutines: at most for the few seconds that a client is
// given to answer, and for Receivers that block.
func (s *Server) Close() error {
	s.mu.Lock()
	s.draining, s.closed = true, true
	engines := make([]*engine, 0, len(s.sessions))
	for _, e := range s.sessions {
		engines = append(engines, e)
	}
	s.mu.Unlock()
	s.cancel()
	for _, e := range engines {
		e.close(ServerShuttingDown)
	}
	s.wg.Wait()
	// What lingers for a last GET would do so for nothing.
	for _, e := range engines {
		e.mu.Lock()
		if e.beat != nil {
			e.beat.Stop()
		}
		e.mu.Unlock()
		s.remove(e)
	}
	return nil
}
