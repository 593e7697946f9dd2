package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bms/domain"
)

const (
	// courierPage is how many pending commands are read at a time.
	courierPage = 256
	// courierParallel is how many are being decided at once.
	courierParallel = 16
	// courierTimeout bounds the wait for one.
	courierTimeout = 30 * time.Second
)

// courier gives the commands that transfers entail: it takes the units that one
// branch has let go of to the other one. A command takes effect once for ever,
// since its id is made from what it is about; whether somebody else has given
// it already makes no difference. What was given shows in the fold of the
// transfers, which then drops it. The courier works only while that fold is
// live: a rebuild gives nothing.
type courier struct {
	config    Config
	logger    *slog.Logger
	transfers *runner
	news      chan struct{} // 1 place
	again     atomic.Bool   // pending ones before through may have come

	// through is the last of the pending ones up to which all are known here
	// to be in the log, whether or not the fold has come to it. settled are
	// those behind it of which the same is known.
	through errandKey
	settled map[string]bool
	// failed are those that could not be given; each is tried again when it
	// is due.
	failed map[string]failure
	// resume is where the last round gave up, the zero key if it did not: the
	// next one tries what comes behind it.
	resume errandKey
}

type failure struct {
	due     time.Time
	backoff time.Duration
}

// errand is a pending command.
type errand struct {
	errandKey
	cause    domain.Event
	metadata map[string]string
}

// errandKey orders errands.
type errandKey struct {
	pos     int64 // of the cause
	command string
}

func (k errandKey) after(other errandKey) bool {
	return cmp.Or(cmp.Compare(k.pos, other.pos), strings.Compare(k.command, other.command)) > 0
}

func newCourier(c Config, transfers *runner) *courier {
	return &courier{
		config: c, logger: c.Logger.With("process", "transfers"), transfers: transfers,
		news: make(chan struct{}, 1), settled: map[string]bool{}, failed: map[string]failure{},
	}
}

// wake tells that there may be new pending commands. It never blocks.
func (c *courier) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// rewinding tells that pending commands before the last will have come when what
// it returns is called, of a parked commit or in a rebuilt file. Those that are in
// the log already take effect once all the same.
func (c *courier) rewinding() (rewound func()) {
	return func() {
		c.again.Store(true)
		c.wake()
	}
}

// run gives commands until ctx ends. What goes wrong is tried again, less and
// less often.
func (c *courier) run(ctx context.Context) {
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	backoff := minBackoff
	for {
		select {
		case <-c.news:
		case <-retry.C:
		case <-ctx.Done():
			return
		}
		if err := c.round(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			c.logger.Error("read what transfers entail", "error", err, "retry", backoff)
			retry.Reset(backoff)
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		if c.resume != (errandKey{}) {
			retry.Reset(backoff)
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = minBackoff
		if due := c.due(); !due.IsZero() {
			retry.Reset(max(due.Sub(c.config.Now()), minBackoff))
		}
	}
}

// due is when the next failed command is to be tried again; zero for none.
func (c *courier) due() (first time.Time) {
	for _, f := range c.failed {
		if first.IsZero() || f.due.Before(first) {
			first = f.due
		}
	}
	return first
}

// round gives all that is pending and due. It gives up for now after as many
// tries as a page has without one that went well: then it may not be the commands
// that are to blame. The next round begins behind them, so that they hold up no
// others if it is.
func (c *courier) round(ctx context.Context) error {
	if c.again.Swap(false) {
		c.through = errandKey{}
	}
	now, seen, all := c.config.Now(), map[string]bool{}, true
	resume, failures := c.resume, 0
	c.resume = errandKey{}
	for at := c.through; ; {
		if !c.transfers.progress.isLive() {
			return nil // it wakes us when it is
		}
		page, err := c.pending(ctx, at)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		at = page[len(page)-1].errandKey
		var todo []*errand
		for i := range page {
			e := &page[i]
			seen[e.command] = true
			if !c.settled[e.command] && !c.failed[e.command].due.After(now) && e.after(resume) {
				todo = append(todo, e)
			}
		}
		given := c.give(ctx, todo, now)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for i := 0; i < len(page) && all; i++ {
			if all = c.settled[page[i].command]; all {
				c.through = page[i].errandKey
				delete(c.settled, page[i].command)
			}
		}
		if failures += len(todo) - given; given > 0 {
			failures = 0
		}
		if failures >= courierPage {
			c.resume = at
			return nil
		}
	}
	for command := range c.failed {
		if !seen[command] { // somebody else has given it
			delete(c.failed, command)
		}
	}
	for command := range c.settled {
		if !seen[command] {
			delete(c.settled, command)
		}
	}
	return nil
}

// pending reads a page of pending commands.
func (c *courier) pending(ctx context.Context, after errandKey) ([]errand, error) {
	var page []errand
	_, err := c.transfers.view(ctx, func(v *snapshot) error {
		return v.query(ctx, func(r row) error {
			e := errand{errandKey: errandKey{r.int(0), r.text(1)}}
			e.cause = domain.Event{Pos: v.at(r.int(0)), Type: r.text(2), Version: int(r.int(3)), BranchID: r.text(4), Data: []byte(r.text(5))}
			page = append(page, e)
			return decodeMetadata(r.text(6), &page[len(page)-1].metadata)
		}, "SELECT pos, command, type, version, branch, data, metadata FROM pending WHERE (pos, command) > (?, ?) ORDER BY pos, command LIMIT ?",
			after.pos, after.command, int64(courierPage))
	})
	return page, err
}

// give gives commands, some at a time, and returns how many it could.
func (c *courier) give(ctx context.Context, todo []*errand, now time.Time) (given int) {
	errs := make([]error, len(todo))
	places := make(chan struct{}, courierParallel)
	var wg sync.WaitGroup
	for i, e := range todo {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			errs[i] = c.giveOne(ctx, e)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return 0
	}
	for i, err := range errs {
		command := todo[i].command
		if err == nil {
			delete(c.failed, command)
			c.settled[command] = true
			given++
			continue
		}
		backoff := min(max(2*c.failed[command].backoff, minBackoff), maxBackoff)
		c.failed[command] = failure{now.Add(backoff), backoff}
	}
	if given < len(todo) {
		c.logger.Error("give what transfers entail", "failed", len(todo)-given, "of", len(todo), "error", errors.Join(first(errs, 3)...))
	}
	return given
}

// first gives the first few errors.
func first(errs []error, n int) (some []error) {
	for _, err := range errs {
		if err != nil && len(some) < n {
			some = append(some, err)
		}
	}
	return some
}

func (c *courier) giveOne(ctx context.Context, e *errand) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			c.logger.Error("panic in the transfers process", "reason", reason, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in the transfers process: %v", reason)
		}
	}()
	follow, err := domain.FollowUps(&e.cause)
	if err != nil {
		return err
	}
	for _, cmd := range follow {
		if cmd.ID != e.command {
			continue
		}
		cmd.At, cmd.Metadata = c.config.Now(), e.metadata
		ctx, cancel := context.WithTimeout(ctx, courierTimeout)
		defer cancel()
		c.config.step(Transfers, stepDerived)
		if _, err := c.config.Commands(ctx, cmd); err != nil && !errors.Is(err, domain.ErrDuplicateCommand) {
			return err
		}
		c.config.step(Transfers, stepAppended)
		return nil
	}
	return fmt.Errorf("%s at %s does not entail it", e.cause.Type, e.cause.Pos)
}
