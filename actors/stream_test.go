package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

func Test_commands_that_wait_for_the_disk_are_appended_together(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		var hooked []int
		d := startDeciders(t, log, func(c *DecidersConfig) {
			c.Observe.Appended = func(n int, _ time.Duration, _ error) { hooked = append(hooked, n) }
		})
		stocked(t, d, 0)
		release := log.hold()
		answers := []<-chan decided{submit(d, adjust(1))}
		synctest.Wait()
		for range maxGroup + 44 {
			answers = append(answers, submit(d, adjust(1)))
		}
		synctest.Wait()
		release()
		for i, answer := range answers {
			a := <-answer
			if a.err != nil {
				t.Fatal(a.err)
			}
			if got, want := a.commit.Version, uint64(3+i); got != want {
				t.Errorf("version %d of command %d, want %d: in the order of arrival", got, i, want)
			}
		}
		if got, want := log.groups(), []int{1, 1, 1, maxGroup, 44}; !slices.Equal(got, want) {
			t.Errorf("appends of %v, want %v", got, want)
		}
		if !slices.Equal(hooked, log.groups()) {
			t.Errorf("observed %v, want %v", hooked, log.groups())
		}
	})
}

// What is decided together is in memory at once, and one transaction of the log.
func Test_a_group_is_bounded_in_events_and_bytes(t *testing.T) {
	ref := strings.Repeat("r", domain.MaxText)
	for name, tt := range map[string]struct {
		batches int
		command func(i int) domain.Command
	}{
		"events": {15, func(i int) domain.Command {
			batch := domain.SubmitSync{DeviceID: "till", FromSeq: int64(1 + i*1000)}
			for n := range 1000 {
				batch.Operations = append(batch.Operations, domain.SyncOperation{
					Seq: int64(1 + i*1000 + n), Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: 1}},
				})
			}
			return commandBy(cashier, domain.CommandSubmitSync, "b1", batch)
		}},
		"bytes": {30, func(int) domain.Command {
			bulk := domain.AdjustStockBulk{Mode: domain.BulkAtomic}
			for range domain.MaxLines {
				bulk.Lines = append(bulk.Lines, domain.BulkAdjustment{ProductID: "p1", Delta: 1, Reason: "found", Ref: ref})
			}
			return commandBy(boss, domain.CommandAdjustStockBulk, "b1", bulk)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				d := startDeciders(t, log, nil)
				stocked(t, d, 0)
				var events, bytes []int // of each append
				release := log.hold()
				first := submit(d, adjust(1))
				var answers []<-chan decided
				for i := range tt.batches {
					answers = append(answers, submit(d, tt.command(i)))
				}
				synctest.Wait()
				log.onAppend(func(_ context.Context, commits []*domain.Commit, next func() error) error {
					e, b := 0, 0
					for _, c := range commits[:len(commits)-1] { // the last may be large
						e, b = e+len(c.Events), b+c.Size()
					}
					events, bytes = append(events, e), append(bytes, b)
					return next()
				})
				release()
				wantCode(t, (<-first).err, "accepted")
				for _, answer := range answers {
					wantCode(t, (<-answer).err, "accepted")
				}
				if len(events) < 3 || len(events) > tt.batches/2 {
					t.Errorf("%d appends of %d commands, want several of several each", len(events), tt.batches)
				}
				for i := range events {
					if events[i] >= maxGroupEvents || bytes[i] >= maxGroupBytes {
						t.Errorf("append %d has %d events of %d bytes before its last commit, want under %d and %d", i, events[i], bytes[i], maxGroupEvents, maxGroupBytes)
					}
				}
			})
		})
	}
}

// Invariant 1: nobody sees an effect of an event that is not in the log, in a
// rejection either.
func Test_a_rejection_waits_for_the_events_it_rests_on(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 2)
		release := log.hold()
		first := submit(d, sell(1))
		synctest.Wait() // is on its way to the disk; the next four are a group
		tooMany, last, none, others := submit(d, sell(2)), submit(d, sell(1)), submit(d, sell(1)), submit(d, openBranch("b1"))
		synctest.Wait()
		for name, answer := range map[string]<-chan decided{"first": first, "tooMany": tooMany, "last": last, "none": none, "others": others} {
			select {
			case a := <-answer:
				t.Errorf("%s was answered (%v, %v) before the disk was", name, a.commit, a.err)
			default:
			}
		}
		releaseSecond := log.hold() // for the group; the first goes through
		release()
		wantCode(t, (<-first).err, "accepted")
		wantCode(t, (<-tooMany).err, domain.CodeInsufficientStock)
		synctest.Wait()
		for name, answer := range map[string]<-chan decided{"last": last, "none": none, "others": others} {
			select {
			case a := <-answer:
				t.Errorf("%s was answered (%v, %v) before the disk was", name, a.commit, a.err)
			default:
			}
		}
		releaseSecond()
		wantCode(t, (<-last).err, "accepted")
		wantCode(t, (<-none).err, domain.CodeInsufficientStock)
		wantCode(t, (<-others).err, domain.CodeInvalidTransition)
	})
}

func Test_an_append_of_unknown_outcome_is_settled_by_the_log(t *testing.T) {
	boom := fmt.Errorf("%w: no quorum", domain.ErrLogUnavailable)
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, tt := range []struct {
		name   string
		append func(ctx context.Context, commits []*domain.Commit, next func() error) error
		want   string
		stock  int64 // afterwards, of 5 and two commands that add 1
	}{
		{"fails_before", func(context.Context, []*domain.Commit, func() error) error { return boom }, domain.CodeLogUnavailable, 5},
		{"fails_after", func(_ context.Context, _ []*domain.Commit, next func() error) error {
			return errors.Join(next(), boom)
		}, "accepted", 7},
		{"hangs_before", func(ctx context.Context, _ []*domain.Commit, _ func() error) error { return hang(ctx) }, domain.CodeLogUnavailable, 5},
		{"hangs_after", func(ctx context.Context, _ []*domain.Commit, next func() error) error {
			return errors.Join(next(), hang(ctx))
		}, "accepted", 7},
		{"panics_before", func(context.Context, []*domain.Commit, func() error) error { panic("driver") }, "fault", 5},
		{"panics_after", func(_ context.Context, _ []*domain.Commit, next func() error) error {
			panic(next())
		}, "accepted", 7},
		{"says_conflict_after", func(_ context.Context, _ []*domain.Commit, next func() error) error {
			return errors.Join(next(), domain.ErrVersionConflict)
		}, "accepted", 7},
		{"says_duplicate_after", func(_ context.Context, _ []*domain.Commit, next func() error) error {
			return errors.Join(next(), domain.ErrDuplicateCommand)
		}, "accepted", 7},
		{"always_conflicts", func(context.Context, []*domain.Commit, func() error) error {
			return domain.ErrVersionConflict
		}, domain.CodeBusy, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				d := startDeciders(t, log, nil)
				stocked(t, d, 5)
				release := log.hold()
				before := submit(d, adjust(1))
				synctest.Wait()
				one, two := submit(d, adjust(1)), submit(d, adjust(1))
				synctest.Wait()
				log.onAppend(tt.append)
				release()
				wantCode(t, (<-before).err, "accepted")
				wantCode(t, (<-one).err, tt.want)
				wantCode(t, (<-two).err, tt.want)
				if got := stockOf(t, log, "b1"); got != tt.stock+1 {
					t.Errorf("stock %d, want %d", got, tt.stock+1)
				}
				log.onAppend(nil)
				commit := mustDo(t, d, adjust(1))
				if got := log.Version("branch/b1"); commit.Version != got {
					t.Errorf("version %d after recovery, want the last, %d", commit.Version, got)
				}
			})
		})
	}
}

// The append that was given up on reaches the log when the stream has moved on
// (and is refused), or before it has (and counts).
func Test_an_append_that_comes_late_is_fenced_by_its_version(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 5)
		late := make(chan func() error, 1)
		log.onAppend(func(ctx context.Context, commits []*domain.Commit, _ func() error) error {
			late <- func() error { return log.Memory.Append(context.Background(), commits...) }
			<-ctx.Done()
			return ctx.Err()
		})
		cmd := keyed(adjust(1), "key")
		_, err := do(d, cmd)
		wantCode(t, err, domain.CodeLogUnavailable)
		log.onAppend(nil)
		if err := (<-late)(); err != nil { // before anybody else
			t.Fatal(err)
		}
		again := mustDo(t, d, cmd)
		next := mustDo(t, d, adjust(10))
		if again.Version != 3 || next.Version != 4 || stockOf(t, log, "b1") != 16 {
			t.Errorf("versions %d and %d, stock %d, want 3, 4, 16", again.Version, next.Version, stockOf(t, log, "b1"))
		}

		log.onAppend(func(ctx context.Context, commits []*domain.Commit, _ func() error) error {
			late <- func() error { return log.Memory.Append(context.Background(), commits...) }
			<-ctx.Done()
			return ctx.Err()
		})
		_, err = do(d, adjust(100))
		wantCode(t, err, domain.CodeLogUnavailable)
		log.onAppend(nil)
		mustDo(t, d, adjust(1000))
		if err := (<-late)(); !errors.Is(err, domain.ErrVersionConflict) {
			t.Errorf("the late append: %v, want a version conflict", err)
		}
		if got := stockOf(t, log, "b1"); got != 1016 {
			t.Errorf("stock %d, want 1016", got)
		}
	})
}

// Invariant 2, with two owners of one branch: the log's version is the fence.
func Test_two_owners_of_a_branch_decide_on_each_others_events(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		log.onAppend(func(ctx context.Context, commits []*domain.Commit, next func() error) error {
			<-time.After(time.Duration(1+len(commits)%3) * time.Millisecond)
			return next()
		})
		one, two := startDeciders(t, log, nil), startDeciders(t, log, nil)
		stocked(t, one, 100)
		var answers []<-chan decided
		for range 200 {
			answers = append(answers, submit(one, sell(1)), submit(two, sell(1)))
			<-time.After(300 * time.Microsecond)
		}
		outcomes := map[string]int{}
		for _, answer := range answers {
			outcomes[code((<-answer).err)]++
		}
		sold := int64(outcomes["accepted"])
		if got := stockOf(t, log, "b1"); got != 100-sold || got < 0 {
			t.Errorf("stock %d after %d sales of 100, want %d", got, sold, 100-sold)
		}
		if outcomes["fault"] > 0 || sold == 0 {
			t.Errorf("outcomes %v, want sales and no fault", outcomes)
		}
	})
}

func Test_the_log_being_unreadable_refuses_and_passes(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"unavailable", domain.ErrLogUnavailable, domain.CodeLogUnavailable},
		{"corrupt", domain.ErrCorrupt, "fault"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				stocked(t, startDeciders(t, log, nil), 5)
				d := startDeciders(t, log, nil)
				log.onRead(func(context.Context, string) error { return tt.err })
				_, err := do(d, adjust(1))
				wantCode(t, err, tt.want)
				if got := log.Version("branch/b1"); got != 2 {
					t.Errorf("%d commits, want 2", got)
				}
				log.onRead(nil)
				mustDo(t, d, adjust(1))

				log.onFind(func(context.Context, string) error { return tt.err })
				_, err = do(d, keyed(adjust(1), "key"))
				wantCode(t, err, tt.want)
				log.onFind(nil)
				mustDo(t, d, keyed(adjust(1), "key"))
				if got := stockOf(t, log, "b1"); got != 7 {
					t.Errorf("stock %d, want 7", got)
				}
			})
		})
	}
}

func Test_a_commit_that_the_log_does_not_take_harms_no_other(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 5)
		release := log.hold()
		answers := []<-chan decided{submit(d, adjust(1))}
		synctest.Wait()
		bad := adjust(100)
		answers = append(answers, submit(d, adjust(1)), submit(d, bad), submit(d, adjust(1)))
		synctest.Wait()
		log.onAppend(func(_ context.Context, commits []*domain.Commit, next func() error) error {
			for _, c := range commits {
				if c.CommandID == bad.ID {
					return errors.New("record too large")
				}
			}
			return next()
		})
		release()
		for i, want := range []string{"accepted", "accepted", "fault", "accepted"} {
			if got := code((<-answers[i]).err); got != want {
				t.Errorf("command %d: %s, want %s", i, got, want)
			}
		}
		if got := stockOf(t, log, "b1"); got != 8 {
			t.Errorf("stock %d, want 8", got)
		}
	})
}

func Test_a_thousand_parallel_sales_of_the_last_ten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 10)
		answers := make(chan error, 1000)
		for i := range 1000 {
			cmd := sell(1)
			if i%2 == 0 {
				cmd = keyed(cmd, cmd.ID)
			}
			go d.Submit(cmd, func(_ *domain.Commit, err error) { answers <- err })
		}
		outcomes := map[string]int{}
		for range 1000 {
			outcomes[code(<-answers)]++
		}
		if outcomes["accepted"] != 10 || outcomes[domain.CodeInsufficientStock] != 990 {
			t.Errorf("outcomes %v, want 10 accepted and 990 short", outcomes)
		}
		if got := stockOf(t, log, "b1"); got != 0 {
			t.Errorf("stock %d, want 0", got)
		}
	})
}

// After an error that may be about one commit, each is appended alone. One that
// is then rejected must not leave those behind it waiting.
func Test_a_command_that_is_retried_alone_and_rejected_holds_up_no_other(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d, other := startDeciders(t, log, nil), startDeciders(t, log, nil)
		stocked(t, d, 2)
		release := log.hold()
		before := submit(d, commandBy(boss, domain.CommandChangeBranch, "b1", domain.ChangeBranch{Name: new("Busy")}))
		synctest.Wait()
		first, second := submit(d, sell(1)), submit(d, sell(1))
		synctest.Wait()
		var third <-chan decided
		log.onAppend(func(context.Context, []*domain.Commit, func() error) error {
			log.onAppend(nil)
			mustDo(t, other, sell(1))
			third = submit(d, adjust(1))
			return errors.New("record too large")
		})
		release()
		wantCode(t, (<-before).err, "accepted")
		wantCode(t, (<-first).err, "accepted")
		wantCode(t, (<-second).err, domain.CodeInsufficientStock)
		wantCode(t, (<-third).err, "accepted")
	})
}

func Test_every_answer_append_and_load_is_observed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		log.onAppend(func(_ context.Context, _ []*domain.Commit, next func() error) error {
			<-time.After(time.Second)
			return next()
		})
		var got []string
		d := startDeciders(t, log, func(c *DecidersConfig) {
			c.Observe = Observe{
				Appended: func(n int, took time.Duration, err error) {
					got = append(got, fmt.Sprintf("appended %d in %v: %v", n, took, err))
				},
				Answered: func(cmd *domain.Command, outcome string, took time.Duration) {
					got = append(got, fmt.Sprintf("%s %s in %v", cmd.Type, outcome, took))
				},
				Decided: func(d Decided) {
					got = append(got, fmt.Sprintf("decided on %s at version %d: %v", d.Stream, versionOf(d.Commit), d.Rejection != nil))
				},
				Durable: func(c *domain.Commit, took time.Duration) {
					got = append(got, fmt.Sprintf("durable at %d in %v", c.Position.Seq, took))
				},
				Loaded: func(took time.Duration, err error) { got = append(got, fmt.Sprintf("loaded in %v: %v", took, err)) },
			}
		})
		traced := openBranch("b1")
		traced.Metadata = map[string]string{"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}
		mustDo(t, d, traced)
		_, err := do(d, openBranch("b1"))
		wantCode(t, err, domain.CodeInvalidTransition)
		traced.ID = "again"
		_, err = do(d, traced)
		wantCode(t, err, domain.CodeInvalidTransition)
		foreign := adjust(1)
		foreign.BranchID = "b2"
		_, err = do(d, foreign)
		wantCode(t, err, domain.CodeBranchForbidden)
		want := []string{
			"loaded in 0s: <nil>", "decided on branch/b1 at version 1: false", "appended 1 in 1s: <nil>", "durable at 1 in 1s", "branch.open accepted in 1s",
			"branch.open invalid_transition in 0s",
			"decided on branch/b1 at version 0: true", "branch.open invalid_transition in 0s", "stock.adjust branch_forbidden in 0s",
		}
		if !slices.Equal(got, want) {
			t.Errorf("observed %q, want %q", got, want)
		}
	})
}

func versionOf(c *domain.Commit) uint64 {
	if c == nil {
		return 0
	}
	return c.Version
}
