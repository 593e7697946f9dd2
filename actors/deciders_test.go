package actors

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

func Test_new_deciders_names_the_field_that_is_wrong(t *testing.T) {
	system, err := NewSystem(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	good := DecidersConfig{System: system, Log: eventlogtest.NewMemory(), Logger: slog.New(slog.DiscardHandler)}
	for field, spoil := range map[string]func(*DecidersConfig){
		"System":         func(c *DecidersConfig) { c.System = nil },
		"Log":            func(c *DecidersConfig) { c.Log = nil },
		"Logger":         func(c *DecidersConfig) { c.Logger = nil },
		"QueuePerStream": func(c *DecidersConfig) { c.QueuePerStream = -1 },
		"QueuePerNode":   func(c *DecidersConfig) { c.QueuePerNode = -1 },
		"BytesPerStream": func(c *DecidersConfig) { c.BytesPerStream = -1 },
		"BytesPerNode":   func(c *DecidersConfig) { c.BytesPerNode = -1 },
		"IdleAfter":      func(c *DecidersConfig) { c.IdleAfter = -1 },
		"AppendTimeout":  func(c *DecidersConfig) { c.AppendTimeout = -1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := NewDeciders(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v, want one that names %s", err, field)
		}
	}
}

func Test_an_accepted_command_is_answered_with_what_is_in_the_log(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 5)
		cmd := sell(2)
		cmd.Metadata = map[string]string{"traceparent": "00-1-2-01"}
		commit := mustDo(t, d, cmd)
		kept, err := log.FindCommand(t.Context(), cashier.UserID, cmd.ID)
		if err != nil {
			t.Fatal(err)
		}
		if kept != commit || commit.Version != 3 || commit.Position.Seq != 3 {
			t.Errorf("answered %+v, in the log is %+v, want the same, at version 3", commit, kept)
		}
		if got := commit.Metadata["traceparent"]; got != "00-1-2-01" {
			t.Errorf("traceparent %q in the commit, want the command's", got)
		}
		if got := stockOf(t, log, "b1"); got != 3 {
			t.Errorf("stock %d, want 3", got)
		}
	})
}

func Test_rejections_leave_no_trace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 5)
		foreign := sell(1)
		foreign.BranchID = "b2"
		unknown := sell(1)
		unknown.Type = "stock.conjure"
		for _, tt := range []struct {
			cmd  domain.Command
			want string
		}{
			{sell(6), domain.CodeInsufficientStock},
			{foreign, domain.CodeBranchForbidden},
			{unknown, domain.CodeValidation},
			{openBranch("b1"), domain.CodeInvalidTransition},
		} {
			_, err := do(d, tt.cmd)
			wantCode(t, err, tt.want)
		}
		if got := log.Head().Seq; got != 2 {
			t.Errorf("%d commits in the log, want 2", got)
		}
		if got := d.Streams(); got != 1 {
			t.Errorf("%d actors, want 1: who has no rights starts none", got)
		}
	})
}

func Test_busy_beyond_the_bounds_and_again_taken_below(t *testing.T) {
	for _, tt := range []struct {
		name              string
		bound             func(*DecidersConfig)
		size              int
		taken, wantStream int // of 4 for b1; and of 4 for b2
	}{
		{"per_stream", func(c *DecidersConfig) { c.QueuePerStream = 3 }, 0, 3, 3},
		{"per_node", func(c *DecidersConfig) { c.QueuePerNode = 5 }, 0, 4, 1},
		{"bytes_per_stream", func(c *DecidersConfig) { c.BytesPerStream = 3999 }, 1000, 3, 3},
		{"bytes_per_node", func(c *DecidersConfig) { c.BytesPerNode = 5000 }, 1000, 4, 1},
		{"bytes_of_one_alone", func(c *DecidersConfig) { c.BytesPerStream = 999 }, 1000, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				d := startDeciders(t, log, tt.bound)
				mustDo(t, d, openBranch("b1"), openBranch("b2"))
				release := log.hold()
				count := func(branch string) (busy int, rest []<-chan decided) {
					for range 4 {
						cmd := commandBy(boss, domain.CommandChangeBranch, branch, domain.ChangeBranch{Name: new("Name")})
						cmd.Size = tt.size
						answer := submit(d, cmd)
						synctest.Wait()
						select {
						case a := <-answer:
							wantCode(t, a.err, domain.CodeBusy)
							var no *domain.Rejection
							if errors.As(a.err, &no) && no.Details["retryAfter"] == nil {
								t.Error("busy without a hint when to retry")
							}
							busy++
						default:
							rest = append(rest, answer)
						}
					}
					return busy, rest
				}
				busy1, wait1 := count("b1")
				busy2, wait2 := count("b2")
				if 4-busy1 != tt.taken || 4-busy2 != tt.wantStream {
					t.Errorf("took %d and %d, want %d and %d", 4-busy1, 4-busy2, tt.taken, tt.wantStream)
				}
				if got, want := d.Queued(), tt.taken+tt.wantStream; got != want {
					t.Errorf("queued %d, want %d", got, want)
				}
				release()
				for _, answer := range append(wait1, wait2...) {
					if a := <-answer; a.err != nil {
						t.Error(a.err)
					}
				}
				if got := d.Queued(); got != 0 {
					t.Errorf("queued %d, want 0", got)
				}
				last := commandBy(boss, domain.CommandChangeBranch, "b1", domain.ChangeBranch{Name: new("Last")})
				last.Size = tt.size
				mustDo(t, d, last)
			})
		})
	}
}

func Test_an_idle_stream_is_put_away_and_taken_out_again(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, func(c *DecidersConfig) { c.IdleAfter = time.Minute })
		stocked(t, d, 5)
		mustDo(t, d, openBranch("b2"))
		for range 5 { // b1 is in use all the while
			<-time.After(30 * time.Second)
			mustDo(t, d, adjust(1))
		}
		if got := d.Streams(); got != 1 {
			t.Errorf("%d actors, want 1: b2 is idle, b1 is not", got)
		}
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if got := d.Streams(); got != 0 {
			t.Errorf("%d actors after two minutes, want 0", got)
		}
		if commit := mustDo(t, d, adjust(1)); commit.Version != 8 {
			t.Errorf("version %d, want 8", commit.Version)
		}
	})
}

func Test_a_stream_with_a_command_under_way_is_not_put_away(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, func(c *DecidersConfig) {
			c.IdleAfter, c.AppendTimeout = time.Second, time.Hour
		})
		stocked(t, d, 5)
		release := log.hold()
		answer := submit(d, adjust(1))
		<-time.After(time.Minute)
		if got := d.Streams(); got != 1 {
			t.Errorf("%d actors, want 1", got)
		}
		release()
		if a := <-answer; a.err != nil {
			t.Error(a.err)
		}
	})
}

func Test_close_finishes_what_waits_and_takes_no_more(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, nil)
		stocked(t, d, 5)
		release := log.hold()
		first, second := submit(d, adjust(1)), submit(d, adjust(1))
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- d.Close(context.Background()) }()
		synctest.Wait()
		_, err := do(d, adjust(1))
		wantCode(t, err, domain.CodeDraining)
		select {
		case err := <-closed:
			t.Fatalf("closed (%v) with commands waiting", err)
		default:
		}
		release()
		for _, answer := range []<-chan decided{first, second} {
			if a := <-answer; a.err != nil {
				t.Error(a.err)
			}
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if got := stockOf(t, log, "b1"); got != 7 {
			t.Errorf("stock %d, want 7", got)
		}
	})
}

func Test_close_that_runs_out_of_time_answers_what_waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFaultyLog()
		d := startDeciders(t, log, func(c *DecidersConfig) { c.AppendTimeout = time.Hour })
		stocked(t, d, 5)
		log.hold()
		answers := []<-chan decided{submit(d, adjust(1)), submit(d, adjust(1))}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close: %v, want the deadline's error", err)
		}
		for _, answer := range answers {
			wantCode(t, (<-answer).err, domain.CodeLogUnavailable)
		}
	})
}

func Test_a_kept_state_is_started_from_only_as_long_as_it_is_trusted(t *testing.T) {
	kept := func(version uint64) func(context.Context, domain.Log, string) (domain.State, uint64, error) {
		return func(ctx context.Context, log domain.Log, stream string) (domain.State, uint64, error) {
			return stateAt(ctx, log, stream, 2), version, nil
		}
	}
	for name, load := range map[string]func(context.Context, domain.Log, string) (domain.State, uint64, error){
		"up_to_date":  kept(2),
		"from_beyond": kept(900), // as after a restore
		"none": func(context.Context, domain.Log, string) (domain.State, uint64, error) {
			return nil, 7, nil
		},
		"failing": func(context.Context, domain.Log, string) (domain.State, uint64, error) {
			return nil, 7, errors.New("no such file")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				stocked(t, startDeciders(t, log, nil), 5)
				d := startDeciders(t, log, func(c *DecidersConfig) {
					c.Load = func(ctx context.Context, stream string) (domain.State, uint64, error) { return load(ctx, log, stream) }
				})
				if commit := mustDo(t, d, adjust(1)); commit.Version != 3 {
					t.Errorf("version %d, want 3", commit.Version)
				}
				if got := stockOf(t, log, "b1"); got != 6 {
					t.Errorf("stock %d, want 6", got)
				}
			})
		})
	}
}

// stateAt is the state of a stream by its first commits.
func stateAt(ctx context.Context, log domain.Log, stream string, version int) domain.State {
	state, err := domain.NewState(stream)
	if err != nil {
		panic(err)
	}
	commits, err := log.ReadStream(ctx, stream, 0, version)
	if err != nil {
		panic(err)
	}
	for _, c := range commits {
		for i := range c.Events {
			if err := state.Evolve(&c.Events[i]); err != nil {
				panic(err)
			}
		}
	}
	return state
}

// A full disk must not make each command read its branch's whole history.
func Test_an_append_that_fails_is_recovered_from_by_the_kept_state_and_what_came_after(t *testing.T) {
	const commits, keptAt, failures = 10_000, 9_990, 20
	for name, failure := range map[string]struct {
		err  error
		want string
	}{
		"unavailable": {domain.ErrLogUnavailable, domain.CodeLogUnavailable},
		"timeout":     {context.DeadlineExceeded, domain.CodeLogUnavailable},
		"conflict":    {domain.ErrVersionConflict, domain.CodeBusy},
		"duplicate":   {domain.ErrDuplicateCommand, domain.CodeBusy},
		"too_large":   {errors.New("record too large"), "fault"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newFaultyLog()
				history := startDeciders(t, log, nil)
				stocked(t, history, 0)
				for range commits - 2 {
					mustDo(t, history, adjust(1))
				}
				d := startDeciders(t, log, func(c *DecidersConfig) {
					c.Load = func(ctx context.Context, stream string) (domain.State, uint64, error) {
						return stateAt(ctx, log.Memory, stream, keptAt), keptAt, nil
					}
				})
				mustDo(t, d, adjust(1))
				log.onAppend(func(context.Context, []*domain.Commit, func() error) error { return failure.err })
				for range failures {
					_, err := do(d, adjust(1))
					wantCode(t, err, failure.want)
				}
				if most := 1_000 * len(log.groups()) / failures; log.reads >= most {
					t.Errorf("%d commits read for %d appends, want under %d", log.reads, len(log.groups()), most)
				}
				log.onAppend(nil)
				if commit := mustDo(t, d, adjust(1)); commit.Version != commits+2 {
					t.Errorf("version %d, want %d", commit.Version, commits+2)
				}
			})
		})
	}
}
