package actors

import (
	"context"
	"testing"
	"testing/synctest"

	"bms/domain"
)

// Invariant 3.
func Test_one_id_a_hundred_times_in_parallel_has_one_effect_and_one_answer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 5)
		cmd := keyed(adjust(1), "key")
		answers := make(chan decided, 100)
		for range 100 {
			go d.Submit(cmd, func(commit *domain.Commit, err error) { answers <- decided{commit, err} })
		}
		first := <-answers
		for range 99 {
			if a := <-answers; a.err != nil || a.commit != first.commit {
				t.Errorf("answer %v, %v, want that of the first, %v", a.commit, a.err, first.commit)
			}
		}
		if got := stockOf(t, log, "b1"); got != 6 {
			t.Errorf("stock %d, want 6", got)
		}
	})
}

func Test_an_id_holds_across_a_restart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 1)
		sale := keyed(sell(1), "key")
		first := mustDo(t, d, sale)
		d = startDeciders(t, log, nil)
		// Judged by today's state it would be rejected.
		if again := mustDo(t, d, sale); again != first {
			t.Errorf("answer %v, want that of the first, %v", again, first)
		}
		if again := mustDo(t, d, keyed(sell(1), "key")); again != first {
			t.Errorf("an equal command made later: %v, want the first's answer", again)
		}
		_, err := do(d, keyed(adjust(7), "key"))
		wantCode(t, err, domain.CodeIdempotencyMismatch)
		other := keyed(adjust(7), "key")
		other.Identity.UserID = "other"
		mustDo(t, d, other) // keys belong to their user
		if got := stockOf(t, log, "b1"); got != 7 {
			t.Errorf("stock %d, want 7", got)
		}
	})
}

func Test_a_rejected_id_is_judged_anew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDeciders(t, newFaultyLog(), nil)
		stocked(t, d, 0)
		sale := keyed(sell(1), "key")
		_, err := do(d, sale)
		wantCode(t, err, domain.CodeInsufficientStock)
		mustDo(t, d, adjust(1))
		mustDo(t, d, sale)
	})
}

func Test_one_id_with_two_bodies_at_once(t *testing.T) {
	for _, tt := range []struct {
		name                  string
		first                 domain.Command
		wantFirst, wantSecond string
		stock                 int64
	}{
		{"the_first_takes_effect", sell(1), "accepted", domain.CodeIdempotencyMismatch, 4},
		{"the_first_is_rejected", sell(99), domain.CodeInsufficientStock, "accepted", 12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				d := startDeciders(t, log, nil)
				stocked(t, d, 5)
				release := log.hold()
				before := submit(d, commandBy(boss, domain.CommandChangeBranch, "b1", domain.ChangeBranch{Name: new("Busy")}))
				synctest.Wait()
				first, second := submit(d, keyed(tt.first, "key")), submit(d, keyed(adjust(7), "key"))
				synctest.Wait()
				release()
				wantCode(t, (<-before).err, "accepted")
				wantCode(t, (<-first).err, tt.wantFirst)
				wantCode(t, (<-second).err, tt.wantSecond)
				if got := stockOf(t, log, "b1"); got != tt.stock {
					t.Errorf("stock %d, want %d", got, tt.stock)
				}
			})
		})
	}
}

func Test_one_id_for_two_branches_at_once_takes_effect_in_one(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 5)
		mustDo(t, d, openBranch("b2"), createProduct("b2", 5))
		release := log.hold() // both have found nothing in the log by then
		var answers []<-chan decided
		for _, branch := range []string{"b1", "b2"} {
			cmd := commandBy(boss, domain.CommandAdjustStock, branch, domain.AdjustStock{ProductID: "p1", Delta: 1, Reason: "found"})
			answers = append(answers, submit(d, keyed(cmd, "key")))
		}
		synctest.Wait()
		release()
		outcomes := map[string]int{}
		for _, answer := range answers {
			outcomes[code((<-answer).err)]++
		}
		if outcomes["accepted"] != 1 || outcomes[domain.CodeIdempotencyMismatch] != 1 {
			t.Errorf("outcomes %v, want one accepted and one mismatch", outcomes)
		}
		if got := stockOf(t, log, "b1") + stockOf(t, log, "b2"); got != 11 {
			t.Errorf("stock %d in both, want 11", got)
		}
	})
}

func Test_ids_that_are_looked_up_do_not_change_the_order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDeciders(t, newFaultyLog(), nil)
		stocked(t, d, 0)
		var answers []<-chan decided
		for i := range 100 {
			cmd := adjust(1)
			if i%3 == 0 {
				cmd = keyed(cmd, cmd.ID)
			}
			answers = append(answers, submit(d, cmd))
		}
		for i, answer := range answers {
			a := <-answer
			if a.err != nil {
				t.Fatal(a.err)
			}
			if got, want := a.commit.Version, uint64(3+i); got != want {
				t.Errorf("version %d of command %d, want %d", got, i, want)
			}
		}
	})
}

// The append of a command is given up and comes late, just after the command
// that its client repeats was looked up, and just before the state is loaded
// again: by that state the repeated command would be rejected.
func Test_a_command_is_not_rejected_because_of_its_own_effect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 1)
		var late []*domain.Commit
		log.onAppend(func(ctx context.Context, commits []*domain.Commit, _ func() error) error {
			late = commits
			<-ctx.Done()
			return ctx.Err()
		})
		sale := keyed(sell(1), "key")
		_, err := do(d, sale)
		wantCode(t, err, domain.CodeLogUnavailable)

		release := log.hold()
		other := submit(d, commandBy(boss, domain.CommandChangeBranch, "b1", domain.ChangeBranch{Name: new("Other")}))
		synctest.Wait()
		again := submit(d, sale)
		synctest.Wait() // it is looked up and waits for the disk
		if err := log.Memory.Append(t.Context(), late...); err != nil {
			t.Fatal(err)
		}
		release()
		wantCode(t, (<-other).err, "accepted")
		if a := <-again; a.err != nil || a.commit != late[0] {
			t.Errorf("answer %v, %v, want the commit that came late", a.commit, a.err)
		}
	})
}

func Test_who_has_lost_the_right_gets_the_same_answer_and_no_other(t *testing.T) {
	for name, running := range map[string]bool{"the_actor_runs": true, "it_does_not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				d := startDeciders(t, log, nil)
				stocked(t, d, 5)
				fired := func(cmd domain.Command) domain.Command {
					cmd.Identity.Branches = nil
					return cmd
				}
				// The actor answers a repeat of what is on its way.
				release := log.hold()
				sale := keyed(sell(1), "key")
				answer, repeat := submit(d, sale), submit(d, fired(sale))
				synctest.Wait()
				release()
				first := <-answer
				if again := <-repeat; first.err != nil || again.err != nil || again.commit != first.commit {
					t.Fatalf("answers %v and %v, want the same commit", first, again)
				}
				if !running {
					d = startDeciders(t, log, nil)
				}
				if again := mustDo(t, d, fired(sale)); again != first.commit {
					t.Errorf("answer %v, want that of the first, %v", again, first.commit)
				}
				for _, tt := range []struct {
					change func(*domain.Command)
					want   string
				}{
					{func(c *domain.Command) { c.ID = "fresh" }, domain.CodeBranchForbidden},
					{func(c *domain.Command) { c.Identity.UserID = "other" }, domain.CodeBranchForbidden},
					{func(c *domain.Command) { c.Keyed = false }, domain.CodeBranchForbidden},
					{func(c *domain.Command) { c.Fingerprint = "another body" }, domain.CodeIdempotencyMismatch},
				} {
					cmd := fired(sale)
					tt.change(&cmd)
					_, err := do(d, cmd)
					wantCode(t, err, tt.want)
				}
				log.onFind(func(context.Context, string) error { return domain.ErrLogUnavailable })
				_, err := do(d, fired(sale))
				wantCode(t, err, domain.CodeLogUnavailable)
				log.onFind(func(context.Context, string) error { panic("the log's mistake") })
				_, err = do(d, fired(sale))
				wantCode(t, err, "fault")
				if got, want := d.Streams(), map[bool]int{true: 1}[running]; got != want {
					t.Errorf("%d actors, want %d: who has no rights starts none", got, want)
				}
				if got := d.Queued(); got != 0 {
					t.Errorf("%d commands queued, want 0", got)
				}
			})
		})
	}
}
