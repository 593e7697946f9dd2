package eventlogtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"bms/domain"
)

var readTests = []test{
	{"reads_a_range_in_order", func(g *given) {
		g.fill(50)
		for _, c := range []struct {
			after uint64
			limit int
			want  int
		}{{0, 10, 10}, {0, 50, 50}, {40, 100, 10}, {49, 10, 1}, {50, 10, 0}, {1000, 10, 0}, {10, 1, 1}} {
			commits, err := g.log().Read(g.ctx, c.after, c.limit)
			if err != nil {
				g.Fatalf("read after %d: %v", c.after, err)
			}
			equal(g, fmt.Sprintf("commits after %d, limit %d", c.after, c.limit), len(commits), c.want)
			for i, got := range commits {
				equal(g, "sequence", got.Position.Seq, c.after+1+uint64(i))
			}
		}
	}},
	{"reads_a_stream_by_version", func(g *given) {
		g.fill(50) // five streams of ten
		for _, c := range []struct {
			after uint64
			limit int
			want  int
		}{{0, 100, 10}, {0, 3, 3}, {7, 100, 3}, {10, 5, 0}, {99, 5, 0}} {
			commits := g.stream("branch/b2", c.after, c.limit)
			equal(g, fmt.Sprintf("commits after version %d, limit %d", c.after, c.limit), len(commits), c.want)
			for i, got := range commits {
				equal(g, "stream", got.Stream, "branch/b2")
				equal(g, "version", got.Version, c.after+1+uint64(i))
			}
		}
		equal(g, "commits of an unknown stream", len(g.stream("branch/none", 0, 10)), 0)
		equal(g, "commits of a stream whose name is a prefix", len(g.stream("branch/b", 0, 10)), 0)
	}},
	{"an_empty_log_reads_as_nothing", func(g *given) {
		g.length(0)
		equal(g, "commits of a stream", len(g.stream("branch/b1", 0, 10)), 0)
		equal(g, "head", g.log().Head(), domain.Position{Epoch: g.log().Head().Epoch})
	}},
	{"finds_commands", func(g *given) {
		g.fill(50)
		for _, want := range g.all() {
			found, err := g.log().FindCommand(g.ctx, want.UserID, want.CommandID)
			equal(g, "error", err, nil)
			g.same(found, want)
		}
		for _, id := range []string{"nothing", "c1 ", "C1"} {
			if _, err := g.log().FindCommand(g.ctx, "u1", id); !errors.Is(err, domain.ErrNotFound) {
				g.Fatalf("find %q: got %v, want %v", id, err, domain.ErrNotFound)
			}
		}
		if _, err := g.log().FindCommand(g.ctx, "u2", "c1"); !errors.Is(err, domain.ErrNotFound) {
			g.Fatalf("find another user's: got %v, want %v", err, domain.ErrNotFound)
		}
	}},
	{"reads_end_with_their_context", func(g *given) {
		g.fill(10)
		ctx, cancel := context.WithCancel(g.ctx)
		cancel()
		_, err := g.log().Read(ctx, 0, 10)
		_, err2 := g.log().ReadStream(ctx, "branch/b1", 0, 10)
		_, err3 := g.log().FindCommand(ctx, "u1", "c1")
		for _, err := range []error{err, err2, err3} {
			if !errors.Is(err, context.Canceled) {
				g.Fatalf("got error %v, want %v", err, context.Canceled)
			}
		}
	}},
}

// fill appends n commits c0, c1, … to five streams in turn.
func (g *given) fill(n int) {
	g.Helper()
	for i := range n {
		g.append(commit(fmt.Sprint("branch/b", i%5), uint64(i/5+1), fmt.Sprint("c", i), 1+i%3))
	}
}

var concurrencyTests = []test{
	{"appenders_to_streams_of_their_own_all_win", func(g *given) {
		const writers, each = 16, 25
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for v := range uint64(each) {
					if err := g.log().Append(g.ctx, commit(fmt.Sprint("branch/b", w), v+1, fmt.Sprint(w, "-", v), 2)); err != nil {
						g.Errorf("append: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		g.length(writers * each)
		for w := range writers {
			equal(g, "commits of a stream", len(g.stream(fmt.Sprint("branch/b", w), 0, 100)), each)
		}
	}},
	{"exactly_one_appender_wins_a_version_invariant_2", func(g *given) {
		const writers, versions = 8, 25
		for v := range uint64(versions) {
			var won atomic.Int32
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					err := g.log().Append(g.ctx, commit("branch/b1", v+1, fmt.Sprint(v, "-", w), 1))
					switch {
					case err == nil:
						won.Add(1)
					case !errors.Is(err, domain.ErrVersionConflict):
						g.Errorf("append: got %v, want %v", err, domain.ErrVersionConflict)
					}
				})
			}
			wg.Wait()
			equal(g, "winners", won.Load(), 1)
		}
		g.length(versions)
	}},
	{"exactly_one_appender_wins_a_command_invariant_3", func(g *given) {
		const writers, commands = 8, 25
		for n := range commands {
			var won atomic.Int32
			var wg sync.WaitGroup
			for w := range writers {
				stream := fmt.Sprint("branch/b", w)
				next := uint64(len(g.stream(stream, 0, 100)) + 1)
				wg.Go(func() {
					err := g.log().Append(g.ctx, commit(stream, next, fmt.Sprint("c", n), 1))
					switch {
					case err == nil:
						won.Add(1)
					case !errors.Is(err, domain.ErrDuplicateCommand):
						g.Errorf("append: got %v, want %v", err, domain.ErrDuplicateCommand)
					}
				})
			}
			wg.Wait()
			equal(g, "winners", won.Load(), 1)
		}
		g.length(commands)
	}},
	{"a_conflict_fails_nobody_else", func(g *given) {
		const writers, each = 8, 25
		var wg sync.WaitGroup
		g.append(commit("branch/taken", 1, "taken", 1))
		for w := range writers {
			wg.Go(func() {
				for v := range uint64(each) {
					if err := g.log().Append(g.ctx, commit(fmt.Sprint("branch/b", w), v+1, fmt.Sprint(w, "-", v), 1)); err != nil {
						g.Errorf("append: %v", err)
						return
					}
				}
			})
			wg.Go(func() {
				for range each {
					if err := g.log().Append(g.ctx, commit("branch/taken", 1, "x", 1)); !errors.Is(err, domain.ErrVersionConflict) {
						g.Errorf("append: got %v, want %v", err, domain.ErrVersionConflict)
					}
					if err := g.log().Append(g.ctx, commit("branch/taken", 2, "taken", 1)); !errors.Is(err, domain.ErrDuplicateCommand) {
						g.Errorf("append: got %v, want %v", err, domain.ErrDuplicateCommand)
					}
				}
			})
		}
		wg.Wait()
		g.length(1 + writers*each)
	}},
	{"what_is_seen_is_in_the_log_and_in_order_invariant_1", func(g *given) {
		const writers, each, followers = 8, 40, 4
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for v := range uint64(each) {
					c := commit(fmt.Sprint("branch/b", w), v+1, fmt.Sprint(w, "-", v), 1)
					if err := g.log().Append(g.ctx, c); err != nil {
						g.Errorf("append: %v", err)
						return
					}
					// What was answered is there for everybody.
					if head := g.log().Head(); c.Position.After(head) {
						g.Errorf("answered %s, but the head is %s", c.Position, head)
					}
					if found, err := g.log().FindCommand(g.ctx, "u1", c.CommandID); err != nil || found.Position != c.Position {
						g.Errorf("find what was answered: %v, %v", found, err)
					}
					if own, err := g.log().ReadStream(g.ctx, c.Stream, v, 10); err != nil || len(own) != 1 || own[0].Position != c.Position {
						g.Errorf("read the stream of what was answered: %v, %v", own, err)
					}
				}
			})
		}
		for range followers {
			wg.Go(func() {
				for after := uint64(0); after < writers*each; {
					commits, err := g.log().Next(g.ctx, after, 7)
					if err != nil {
						g.Errorf("next after %d: %v", after, err)
						return
					}
					for _, c := range commits {
						after++
						if c.Position.Seq != after {
							g.Errorf("next gave sequence %d, want %d", c.Position.Seq, after)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		g.length(writers * each)
	}},
}
