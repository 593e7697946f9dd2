package actors

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// poisonable is a state that panics on adjustments with certain references.
type poisonable struct{ domain.State }

const (
	poisonDecide = "poison-decide"
	poisonEvolve = "poison-evolve"
	badEvolve    = "bad-evolve" // an error, where there can be none
)

func (p poisonable) Decide(c domain.Command) (domain.Decision, *domain.Rejection) {
	if body, ok := c.Body.(domain.AdjustStock); ok && body.Ref == poisonDecide {
		panic("poisoned command")
	}
	return p.State.Decide(c)
}

func (p poisonable) Evolve(e *domain.Event) error {
	payload, err := e.Payload()
	if err != nil {
		return err
	}
	if u, ok := payload.(domain.InventoryUpdated); ok {
		switch u.Ref {
		case poisonEvolve:
			panic("poisoned event")
		case badEvolve:
			return fmt.Errorf("event %s cannot have been decided on this state", e.ID)
		}
	}
	return p.State.Evolve(e)
}

func poison(d *Deciders) {
	d.newState = func(stream string) (domain.State, error) {
		state, err := domain.NewState(stream)
		return poisonable{state}, err
	}
}

func adjustWith(ref string) domain.Command {
	return commandBy(cashier, domain.CommandAdjustStock, "b1", domain.AdjustStock{ProductID: "p1", Delta: 1, Reason: "found", Ref: ref})
}

// Invariant 7.
func Test_five_poisoned_commands_in_a_row_harm_no_other(t *testing.T) {
	for _, ref := range []string{poisonDecide, poisonEvolve, badEvolve} {
		t.Run(ref, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				d := startDeciders(t, log, nil)
				poison(d)
				stocked(t, d, 0)
				for range 5 {
					_, err := do(d, adjustWith(ref))
					wantCode(t, err, "fault")
				}
				mustDo(t, d, adjust(1))
				if got := stockOf(t, log, "b1"); got != 1 {
					t.Errorf("stock %d, want 1", got)
				}
			})
		})
	}
}

func Test_a_poisoned_command_in_a_group_is_the_only_one_to_fail(t *testing.T) {
	for _, ref := range []string{poisonDecide, poisonEvolve, badEvolve} {
		t.Run(ref, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				d := startDeciders(t, log, nil)
				poison(d)
				stocked(t, d, 0)
				random := rand.New(rand.NewPCG(1, 2))
				release := log.hold()
				answers := []<-chan decided{submit(d, adjust(1))}
				wants := []string{"accepted"}
				synctest.Wait()
				accepted := int64(1)
				for range 60 {
					cmd, want := adjust(1), "accepted"
					switch random.IntN(4) {
					case 0:
						cmd, want = adjustWith(ref), "fault"
					case 1:
						cmd, want = openBranch("b1"), domain.CodeInvalidTransition
					default:
						accepted++
					}
					if random.IntN(2) == 0 {
						cmd = keyed(cmd, cmd.ID)
					}
					answers, wants = append(answers, submit(d, cmd)), append(wants, want)
				}
				synctest.Wait()
				release()
				for i, answer := range answers {
					if got := code((<-answer).err); got != wants[i] {
						t.Errorf("command %d: %s, want %s", i, got, wants[i])
					}
				}
				if got := stockOf(t, log, "b1"); got != accepted {
					t.Errorf("stock %d, want %d", got, accepted)
				}
			})
		})
	}
}

// An event in the log that panics the fold stops its stream, and no other.
func Test_a_poisoned_event_in_the_log_stops_its_stream_only(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		before := startDeciders(t, log, nil)
		stocked(t, before, 0)
		mustDo(t, before, adjustWith(poisonEvolve))
		d := startDeciders(t, log, nil)
		poison(d)
		for range 5 {
			_, err := do(d, adjust(1))
			wantCode(t, err, "fault")
		}
		mustDo(t, d, openBranch("b2"))
	})
}

func Test_a_reply_that_panics_harms_no_other(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 0)
		release := log.hold()
		first := submit(d, adjust(1))
		synctest.Wait()
		d.Submit(adjust(1), func(*domain.Commit, error) { panic("caller's mistake") })
		last := submit(d, adjust(1))
		synctest.Wait()
		release()
		wantCode(t, (<-first).err, "accepted")
		wantCode(t, (<-last).err, "accepted")
		if got := d.Queued(); got != 0 {
			t.Errorf("queued %d, want 0", got)
		}
	})
}

// A hook that panics must not come between a state and its version: the sale
// would be decided anew on a state that has it already.
func Test_a_hook_that_panics_changes_nothing(t *testing.T) {
	for name, hook := range map[string]func(once func()) Observe{
		"decided":  func(once func()) Observe { return Observe{Decided: func(Decided) { once() }} },
		"durable":  func(once func()) Observe { return Observe{Durable: func(*domain.Commit, time.Duration) { once() }} },
		"appended": func(once func()) Observe { return Observe{Appended: func(int, time.Duration, error) { once() }} },
		"loaded":   func(once func()) Observe { return Observe{Loaded: func(time.Duration, error) { once() }} },
		"answered": func(once func()) Observe {
			return Observe{Answered: func(*domain.Command, string, time.Duration) { once() }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				stocked(t, startDeciders(t, log, nil), 10)
				panics := 0
				d := startDeciders(t, log, func(c *DecidersConfig) {
					c.Observe = hook(func() {
						if panics++; panics == 1 {
							panic("hook's mistake")
						}
					})
				})
				for i := range 3 {
					sale := sell(2)
					sale.Metadata = map[string]string{"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}
					commit := mustDo(t, d, sale)
					payload, err := commit.Events[1].Payload()
					if err != nil {
						t.Fatal(err)
					}
					if want := int64(8 - 2*i); payload.(domain.InventoryUpdated).Stock != want {
						t.Errorf("sale %d leaves a stock of %d, want %d", i+1, payload.(domain.InventoryUpdated).Stock, want)
					}
				}
				if got := stockOf(t, log, "b1"); got != 4 {
					t.Errorf("stock %d, want 4", got)
				}
				if got := log.Version("branch/b1"); got != 5 || panics == 0 {
					t.Errorf("%d commits and %d calls of the hook, want 5 and some", got, panics)
				}
			})
		})
	}
}
