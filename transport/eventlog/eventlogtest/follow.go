package eventlogtest

import (
	"context"
	"errors"
	"fmt"

	"bms/domain"
)

var followTests = []test{
	{"next_reads_what_is_there", func(g *given) {
		g.fill(20)
		commits, err := g.log().Next(g.ctx, 5, 10)
		equal(g, "error", err, nil)
		equal(g, "first sequence", commits[0].Position.Seq, 6)
		if len(commits) > 10 {
			g.Fatalf("got %d commits, want at most 10", len(commits))
		}
	}},
	{"next_waits_and_is_woken", func(g *given) {
		got := make(chan []*domain.Commit, 3)
		for range 3 {
			go func() {
				commits, err := g.log().Next(g.ctx, 1, 10)
				if err != nil {
					g.Errorf("next: %v", err)
				}
				got <- commits
			}()
		}
		g.append(commit("branch/b1", 1, "c1", 1)) // wakes nobody: they wait for what comes after it
		second := commit("branch/b1", 2, "c2", 2)
		g.append(second)
		for range 3 {
			commits := <-got
			equal(g, "commits", len(commits), 1)
			g.same(commits[0], second)
		}
	}},
	{"next_ends_with_its_context", func(g *given) {
		ctx, cancel := context.WithCancel(g.ctx)
		done := make(chan error, 1)
		go func() {
			_, err := g.log().Next(ctx, 0, 10)
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			g.Fatalf("next: got %v, want %v", err, context.Canceled)
		}
	}},
	{"close_ends_everything", func(g *given) {
		g.fill(3)
		log := g.log()
		done := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := log.Next(g.ctx, 3, 10)
				done <- err
			}()
		}
		g.opened.Close()
		_, read := log.Read(g.ctx, 0, 10)
		_, stream := log.ReadStream(g.ctx, "branch/b1", 0, 10)
		_, find := log.FindCommand(g.ctx, "u1", "c1")
		_, next := log.Next(g.ctx, 0, 10)
		for _, err := range []error{<-done, <-done, <-done, read, stream, find, next, log.Append(g.ctx, commit("branch/b0", 2, "late", 1))} {
			if !errors.Is(err, domain.ErrLogUnavailable) {
				g.Errorf("after close: got %v, want %v", err, domain.ErrLogUnavailable)
			}
		}
	}},
}

var checkTests = []test{
	{"positions_of_the_log_are_known", func(g *given) {
		start := g.log().Head()
		g.known(start)
		g.fill(20)
		for _, c := range g.all() {
			g.known(c.Position)
			for i := range c.Events {
				g.known(c.Events[i].Pos)
			}
		}
		g.known(g.log().Head())
		g.known(start)
	}},
	{"the_future_is_unknown", func(g *given) {
		g.fill(5)
		p := g.log().Head()
		for _, ahead := range []uint64{1, 1000, 1 << 40} {
			q := p
			q.Seq += ahead
			g.unknown(q)
		}
	}},
	{"other_epochs_are_unknown", func(g *given) {
		g.fill(5)
		for _, epoch := range []uint64{0, 1, g.log().Head().Epoch - 1, g.log().Head().Epoch + 1, 1 << 44} {
			for _, seq := range []uint64{0, 1, 5, 6} {
				g.unknown(domain.Position{Epoch: epoch, Seq: seq})
			}
		}
	}},
}

func (g *given) known(p domain.Position) {
	g.Helper()
	if err := g.log().Check(p); err != nil {
		g.Fatalf("check %s: got %v, want nil", p, err)
	}
}

func (g *given) unknown(p domain.Position) {
	g.Helper()
	if err := g.log().Check(p); !errors.Is(err, domain.ErrUnknownPosition) {
		g.Fatalf("check %s: got %v, want %v", p, err, domain.ErrUnknownPosition)
	}
}

var reopenTests = []test{
	{"everything_is_kept", func(g *given) {
		for _, c := range samples() {
			g.append(c)
		}
		g.fillAfter(200)
		before, head := g.all(), g.log().Head()
		g.reopen()
		equal(g, "head", g.log().Head(), head)
		after := g.all()
		equal(g, "commits", len(after), len(before))
		for i := range after {
			g.same(after[i], before[i])
			g.known(before[i].Position)
			if before[i].CommandID == "" {
				continue
			}
			found, err := g.log().FindCommand(g.ctx, before[i].UserID, before[i].CommandID)
			equal(g, "error", err, nil)
			g.same(found, before[i])
		}
	}},
	{"versions_and_commands_are_fenced", func(g *given) {
		g.fill(10)
		g.reopen()
		g.refused(domain.ErrVersionConflict, commit("branch/b0", 2, "new", 1))
		g.refused(domain.ErrDuplicateCommand, commit("branch/b0", 3, "c4", 1))
		g.append(commit("branch/b0", 3, "new", 1))
		g.length(11)
		equal(g, "commits of the stream", len(g.stream("branch/b0", 0, 10)), 3)
	}},
	{"a_clean_stop_keeps_the_epoch", func(g *given) {
		g.fill(3)
		epoch := g.log().Head().Epoch
		for range 3 {
			g.reopen()
			equal(g, "epoch", g.log().Head().Epoch, epoch)
		}
	}},
	{"an_empty_log_stays_empty", func(g *given) {
		g.reopen()
		g.length(0)
		g.append(commit("branch/b1", 1, "c1", 1))
		g.length(1)
	}},
}

// fillAfter appends n commits to streams that fill does not use.
func (g *given) fillAfter(n int) {
	g.Helper()
	for i := range n {
		g.append(commit(fmt.Sprint("shop/s", i%5), uint64(i/5+1), fmt.Sprint("s", i), 1))
	}
}
