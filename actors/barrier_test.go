package actors

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// inDoubt gives the append of an adjustment by 10 and of the keyed sale of
// those 10 up, together, on a stock of 0. late appends them after all.
func inDoubt(t *testing.T, d *Deciders, log *faultyLog) (sale domain.Command, late func() error) {
	t.Helper()
	stocked(t, d, 0)
	sale = keyed(sell(10), "key")
	release := log.hold()
	before := submit(d, commandBy(boss, domain.CommandChangeBranch, "b1", domain.ChangeBranch{Name: new("Before")}))
	synctest.Wait()
	added, sold := submit(d, adjust(10)), submit(d, sale)
	synctest.Wait()
	log.onAppend(func(ctx context.Context, commits []*domain.Commit, _ func() error) error {
		late = func() error { return log.Memory.Append(context.Background(), commits...) }
		log.onAppend(nil)
		<-ctx.Done()
		return ctx.Err()
	})
	release()
	wantCode(t, (<-before).err, "accepted")
	wantCode(t, (<-added).err, domain.CodeLogUnavailable)
	wantCode(t, (<-sold).err, domain.CodeLogUnavailable)
	return sale, late
}

// Invariants 2 and 3: who is told "no" has no effect afterwards, and is told so
// for what is in the log by then.
func Test_a_rejection_waits_for_the_append_that_is_in_doubt(t *testing.T) {
	fired := func(cmd domain.Command) domain.Command {
		cmd.Identity.Branches = nil
		return cmd
	}
	for name, tt := range map[string]struct {
		repeat func(sale domain.Command) domain.Command // nil: the sale itself
		idle   bool                                     // the actor is put away first
		before bool                                     // the append comes right before what settles it
		first  error                                    // of that
		want   string
		then   string // when repeated again, with the append there if it comes
	}{
		"it_never_comes":            {want: domain.CodeInsufficientStock, then: domain.CodeInsufficientStock},
		"it_comes":                  {before: true, want: "accepted", then: "accepted"},
		"the_log_fails_again":       {first: domain.ErrLogUnavailable, want: domain.CodeLogUnavailable, then: "accepted"},
		"the_log_panics_again":      {first: errors.New("driver"), want: domain.CodeInsufficientStock, then: domain.CodeInsufficientStock},
		"another_actor_never_comes": {idle: true, want: domain.CodeInsufficientStock, then: domain.CodeInsufficientStock},
		"another_actor_comes":       {idle: true, before: true, want: "accepted", then: "accepted"},
		"another_command_comes":     {repeat: func(domain.Command) domain.Command { return adjust(-1) }, before: true, want: domain.CodeInsufficientStock, then: domain.CodeInsufficientStock},
		"without_the_right":         {repeat: fired, want: domain.CodeBranchForbidden, then: domain.CodeBranchForbidden},
		"without_the_right_comes":   {repeat: fired, before: true, want: "accepted", then: "accepted"},
		"without_right_and_actor":   {repeat: fired, idle: true, before: true, want: "accepted", then: "accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				d := startDeciders(t, log, func(c *DecidersConfig) { c.IdleAfter = time.Minute })
				sale, late := inDoubt(t, d, log)
				if tt.idle {
					<-time.After(3 * time.Minute)
					if got := d.Streams(); got != 0 {
						t.Fatalf("%d actors, want none", got)
					}
				}
				repeat := sale
				if tt.repeat != nil {
					repeat = tt.repeat(sale)
				}
				log.onAppend(func(_ context.Context, _ []*domain.Commit, next func() error) error {
					log.onAppend(nil)
					if tt.before {
						if err := late(); err != nil {
							t.Error(err)
						}
					}
					if tt.first != nil {
						return tt.first
					}
					return next()
				})
				_, err := do(d, repeat)
				wantCode(t, err, tt.want)
				if !tt.before {
					if err := late(); (err == nil) != (tt.want == domain.CodeLogUnavailable) {
						t.Errorf("the append comes late (%v), to who was answered %s", err, tt.want)
					}
				}
				if !repeat.Keyed {
					repeat.ID += "again"
				}
				_, err = do(d, repeat)
				wantCode(t, err, tt.then)
				mustDo(t, d, adjust(1))
				before := log.Version("branch/b1")
				_, err = do(d, sell(99))
				wantCode(t, err, domain.CodeInsufficientStock)
				if got := log.Version("branch/b1"); got != before {
					t.Errorf("version %d after a rejection with nothing in doubt, want %d", got, before)
				}
			})
		})
	}
}

// Nobody waits for ever while nothing settles the doubt.
func Test_rejections_whose_barrier_fails_are_answered(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"unavailable": {domain.ErrLogUnavailable, domain.CodeLogUnavailable},
		"conflict":    {domain.ErrVersionConflict, domain.CodeBusy},
		"fault":       {errors.New("driver"), "fault"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				d := startDeciders(t, log, nil)
				inDoubt(t, d, log)
				log.onAppend(func(context.Context, []*domain.Commit, func() error) error { return tt.err })
				for range 3 {
					_, err := do(d, sell(1))
					wantCode(t, err, tt.want)
				}
				log.onAppend(nil)
				_, err := do(d, sell(1))
				wantCode(t, err, domain.CodeInsufficientStock)
				mustDo(t, d, adjust(1), sell(1))
			})
		})
	}
}
