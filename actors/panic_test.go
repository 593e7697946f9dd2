package actors

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

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
