package projections

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"bms/domain"
)

// Set is all projections of a node.
type Set struct {
	config  Config
	runners []*runner
	byName  map[string]*runner
	users   *directory
	alerter *alerter
	noter   chan noteTask // 1 place
	courier *courier
}

// definitions lists the projections.
func definitions(c Config, users *directory) []definition {
	return []definition{
		branchesDefinition(),
		inventoryDefinition(),
		transactionsDefinition(),
		transfersDefinition(),
		alertsDefinition(c.AlertsRepeat),
		statsDefinition(),
		usersDefinition(users),
		notificationsDefinition(),
	}
}

// Open opens the projections' files, makes those that are missing and throws
// away those that are no good. Queries work at once, on what was folded last;
// Run folds on. The error names the field of Config that is wrong, or the
// file that cannot be used.
func Open(ctx context.Context, c Config) (*Set, error) {
	if err := c.defaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the projections: %w", err)
	}
	if err := os.RemoveAll(scratchDir(c.Dir)); err != nil {
		return nil, fmt.Errorf("delete scratch files: %w", err)
	}
	s := &Set{config: c, byName: map[string]*runner{}, users: newDirectory(), noter: make(chan noteTask, 1)}
	for _, d := range definitions(c, s.users) {
		r := newRunner(d, c)
		r.noter = s.noter
		s.runners = append(s.runners, r)
		s.byName[d.name] = r
	}
	s.alerter = newAlerter(c, s.byName[Alerts])
	s.byName[Alerts].folded = s.alerter.wake
	s.byName[Alerts].releasing = s.alerter.rewinding
	if c.Commands != nil {
		s.courier = newCourier(c, s.byName[Transfers])
		s.byName[Transfers].folded = s.courier.wake
		s.byName[Transfers].releasing = s.courier.rewinding
	}
	errs := make([]error, len(s.runners))
	var wg sync.WaitGroup
	for i, r := range s.runners {
		wg.Go(func() {
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = errors.Join(r.notes.load(c.Log), r.open())
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// rebuildsAtOnce is one for every four processors, and at least one.
func rebuildsAtOnce() int { return max(1, runtime.GOMAXPROCS(0)/4) }

// Run folds the log until ctx ends, and returns nil then. It may be called
// once.
func (s *Set) Run(ctx context.Context) error {
	var wg, last sync.WaitGroup
	slots := make(chan struct{}, rebuildsAtOnce())
	for _, r := range s.runners {
		wg.Go(func() { r.run(ctx) })
		wg.Go(func() { r.runRebuilds(ctx, slots) })
	}
	wg.Go(func() { s.alerter.run(ctx) })
	if s.courier != nil {
		wg.Go(func() { s.courier.run(ctx) })
	}
	done := make(chan struct{})
	last.Go(func() { s.noteDigests(ctx, done) })
	wg.Wait()
	close(done)
	last.Wait()
	return nil
}

// Close closes the files. Call it after Run has returned; queries under way
// are waited for, later ones get ErrUnavailable.
func (s *Set) Close() error {
	errs := make([]error, len(s.runners))
	var wg sync.WaitGroup
	for i, r := range s.runners {
		wg.Go(func() {
			r.progress.stop()
			errs[i] = r.close()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Names are the names of all projections.
func (s *Set) Names() []string {
	names := make([]string, len(s.runners))
	for i, r := range s.runners {
		names[i] = r.name
	}
	return names
}

// Status tells how each projection stands, in the order of Names.
func (s *Set) Status() []Status {
	all := make([]Status, len(s.runners))
	head := s.config.Log.Head()
	for i, r := range s.runners {
		all[i].Name = r.name
		r.progress.status(&all[i], head)
		r.rebuilds.status(&all[i], head)
		all[i].Digest = r.notes.last()
	}
	return all
}

// WaitFor returns once a projection has folded everything up to p: what a
// reader of its own write waits for, with a deadline in ctx. It returns the
// context's error, ErrUnknownProjection, domain.ErrUnknownPosition (p is not of
// this log), or ErrUnavailable (the projection has stopped).
func (s *Set) WaitFor(ctx context.Context, projection string, p domain.Position) error {
	r, err := s.runner(projection)
	if err != nil {
		return err
	}
	if err := s.config.Log.Check(p); p.Seq > 0 && errors.Is(err, domain.ErrUnknownPosition) {
		return fmt.Errorf("wait for %s: %w", p, err)
	}
	if err := r.progress.wait(ctx, p); err != nil {
		return fmt.Errorf("wait for %s at %s: %w", projection, p, err)
	}
	return nil
}

func (s *Set) runner(projection string) (*runner, error) {
	if r, ok := s.byName[projection]; ok {
		return r, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknownProjection, projection)
}

// view runs a query on a projection and returns the position it saw.
func (s *Set) view(ctx context.Context, projection string, fn func(*snapshot) error) (domain.Position, error) {
	r, err := s.runner(projection)
	if err != nil {
		return domain.Position{}, err
	}
	return r.view(ctx, fn)
}

// Digest is a hash over all rows of a projection in the order of their keys,
// and the position it was taken at: equal for equal folds of equal logs,
// however they were batched.
func (s *Set) Digest(ctx context.Context, projection string) (string, domain.Position, error) {
	digest := ""
	p, err := s.view(ctx, projection, func(v *snapshot) (err error) {
		digest, err = v.digest(ctx, nil)
		return err
	})
	return digest, p, err
}
