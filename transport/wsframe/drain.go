package wsframe

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// wave is the time between two waves of Waves.
const wave = 50 * time.Millisecond

// Waves ends connections in waves over about spread, in random order, so that
// the clients that come back (to another node, or to this one's successor)
// don't do so all at once. It reorders all. left is how many connections there
// are still: clients leave by themselves, too. The error is ctx's.
func Waves[T any](ctx context.Context, all []T, spread time.Duration, left func() int, end func(T)) error {
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	waves := min(int(spread/wave)+1, len(all)) // a few needn't be kept apart for long
	tick := time.NewTicker(wave)
	defer tick.Stop()
	for n := 0; len(all) > 0 && left() > 0; n++ {
		if n > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("drain %d connections: %w", len(all), ctx.Err())
			}
		}
		// An even share of what is left, give or take a half.
		share := len(all)
		if left := waves - n; left > 1 {
			share = min(share, int(float64(share)/float64(left)*(0.5+rand.Float64())+0.5))
		}
		for _, each := range all[:share] {
			end(each)
		}
		all = all[share:]
	}
	return nil
}

// Wait waits for running to end. The error is ctx's.
func Wait(ctx context.Context, running *sync.WaitGroup) error {
	ended := make(chan struct{})
	go func() {
		running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for connections to end: %w", ctx.Err())
	}
}
