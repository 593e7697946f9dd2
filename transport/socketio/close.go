package socketio

import (
	"context"
	"time"

	"bms/transport/wsframe"
)

// Drain takes no new sessions and closes those that are there in waves over
// about spread, in random order. It returns when all have ended, or ctx has,
// with its error. Close the server afterwards.
func (s *Server) Drain(ctx context.Context, spread time.Duration) error {
	s.mu.Lock()
	s.draining = true
	engines := s.list()
	s.mu.Unlock()
	end := func(e *engine) { e.close(ServerShuttingDown) }
	if err := wsframe.Waves(ctx, engines, spread, s.Sessions, end); err != nil {
		return err
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return wsframe.Wait(ctx, &s.wg)
}

// list lists the sessions. s.mu must be held.
func (s *Server) list() []*engine {
	engines := make([]*engine, 0, len(s.sessions))
	for _, e := range s.sessions {
		engines = append(engines, e)
	}
	return engines
}

// Close closes all sessions at once, tells their clients to come back, and
// waits for their goroutines: at most for the few seconds that a client is
// given to answer, and for Receivers that block.
func (s *Server) Close() error {
	s.mu.Lock()
	s.draining, s.closed = true, true
	engines := s.list()
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
