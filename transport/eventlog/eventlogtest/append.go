package eventlogtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"bms/domain"
)

var appendTests = []test{
	{"fills_in_positions", func(g *given) {
		one, two, none := commit("branch/b1", 1, "c1", 1), commit("branch/b1", 2, "c2", 3), commit("branch/b1", 3, "c3", 0)
		g.append(one)
		g.append(two, none)
		epoch := g.log().Head().Epoch
		equal(g, "position of the first", one.Position, domain.Position{Epoch: epoch, Seq: 1})
		equal(g, "position of the second", two.Position, domain.Position{Epoch: epoch, Seq: 2, Index: 2})
		equal(g, "its events' positions", two.Events[1].Pos, domain.Position{Epoch: epoch, Seq: 2, Index: 1})
		equal(g, "position of one without events", none.Position, domain.Position{Epoch: epoch, Seq: 3})
		equal(g, "head", g.log().Head(), none.Position)
	}},
	{"keeps_everything_as_it_was", func(g *given) {
		for i, c := range samples() {
			want := clone(c)
			g.append(c)
			want.Placed(c.Position.Epoch, uint64(i+1))
			got := g.all()[i]
			g.same(got, want)
			g.same(g.stream(c.Stream, c.Version-1, 1)[0], want)
		}
	}},
	{"refuses_a_version_that_is_not_the_next", func(g *given) {
		g.append(commit("branch/b1", 1, "c1", 1))
		for _, version := range []uint64{1, 3, 99} {
			g.refused(domain.ErrVersionConflict, commit("branch/b1", version, fmt.Sprint("v", version), 1))
		}
		g.refused(domain.ErrVersionConflict, commit("branch/b2", 2, "c2", 1))
		g.length(1)
		g.append(commit("branch/b1", 2, "c3", 1), commit("branch/b2", 1, "c4", 1))
		g.length(3)
	}},
	{"refuses_a_command_that_took_effect_invariant_3", func(g *given) {
		first := commit("branch/b1", 1, "same", 1)
		g.append(first)
		g.append(commit("branch/b1", 2, "other", 1))
		g.refused(domain.ErrDuplicateCommand, commit("branch/b1", 3, "same", 1))
		g.refused(domain.ErrDuplicateCommand, commit("branch/b2", 1, "same", 1))
		g.length(2)
		found, err := g.log().FindCommand(g.ctx, "u1", "same")
		equal(g, "error", err, nil)
		g.same(found, first)
		g.append(commit("branch/b1", 3, "third", 1), commit("branch/b2", 1, "fourth", 1))
		g.length(4)
	}},
	{"command_ids_are_per_user", func(g *given) {
		a, b := commit("branch/b1", 1, "same", 1), commit("branch/b1", 2, "same", 1)
		b.UserID = "u2"
		g.append(a, b)
		for _, want := range []*domain.Commit{a, b} {
			found, err := g.log().FindCommand(g.ctx, want.UserID, "same")
			equal(g, "error", err, nil)
			g.same(found, want)
		}
		// u + "1x" and u1 + "x" are two different things.
		c, d := commit("branch/b1", 3, "1x", 1), commit("branch/b1", 4, "x", 1)
		c.UserID, d.UserID = "u", "u1"
		g.append(c, d)
		e, f := commit("branch/b1", 5, "b\x00c", 1), commit("branch/b1", 6, "c", 1)
		e.UserID, f.UserID = "a", "a\x00b"
		g.append(e, f)
		g.length(6)
	}},
	{"no_command_id_is_never_a_duplicate", func(g *given) {
		g.append(commit("alerts/b1", 1, "", 1), commit("alerts/b1", 2, "", 1))
		g.append(commit("alerts/b1", 3, "", 1))
		g.length(3)
		_, err := g.log().FindCommand(g.ctx, "u1", "")
		if !errors.Is(err, domain.ErrNotFound) {
			g.Fatalf("find: got %v, want %v", err, domain.ErrNotFound)
		}
	}},
	{"a_failed_call_leaves_a_prefix_at_most", func(g *given) {
		g.append(commit("branch/b1", 1, "c1", 1))
		g.refused(domain.ErrVersionConflict, commit("branch/b1", 2, "c2", 1), commit("branch/b2", 1, "c3", 1), commit("branch/b1", 4, "c4", 1))
		n := len(g.all())
		if n > 3 {
			g.Fatalf("the log has %d commits, want at most 3", n)
		}
		ids := []string{"c1", "c2", "c3"}
		for i, c := range g.all() {
			equal(g, "command id", c.CommandID, ids[i])
		}
		g.refused(domain.ErrDuplicateCommand, commit("branch/b3", 1, "c5", 1), commit("branch/b3", 2, "c5", 1))
		if n := len(g.stream("branch/b3", 0, 10)); n > 1 {
			g.Fatalf("the stream has %d commits, want at most 1", n)
		}
	}},
	{"streams_are_independent_in_version", func(g *given) {
		for v := range uint64(5) {
			for _, s := range []string{"branch/b1", "branch/b2", "user/u1", "notifications"} {
				g.append(commit(s, v+1, fmt.Sprint(s, v), 1))
			}
		}
		g.length(20)
	}},
	{"nothing_is_appended_for_a_context_that_has_ended", func(g *given) {
		ctx, cancel := context.WithCancel(g.ctx)
		cancel()
		if err := g.log().Append(ctx, commit("branch/b1", 1, "c1", 1)); !errors.Is(err, context.Canceled) {
			g.Fatalf("append: got %v, want %v", err, context.Canceled)
		}
		g.append(commit("branch/b1", 1, "c2", 1))
		g.length(1)
	}},
	{"append_of_nothing_is_nothing", func(g *given) {
		g.append()
		g.length(0)
	}},
	{"refuses_what_it_could_not_give_back", func(g *given) {
		for name, spoil := range map[string]func(*domain.Commit){
			"no_stream":        func(c *domain.Commit) { c.Stream = "" },
			"no_version":       func(c *domain.Commit) { c.Version = 0 },
			"data_not_json":    func(c *domain.Commit) { c.Events[0].Data = json.RawMessage(`{"a":1}},{"id":"x"`) },
			"data_missing":     func(c *domain.Commit) { c.Events[0].Data = nil },
			"result_not_json":  func(c *domain.Commit) { c.Result = json.RawMessage("{") },
			"too_many_events":  func(c *domain.Commit) { c.Events = make([]domain.Event, domain.MaxEventsPerCommit+1) },
			"message_and_more": func(c *domain.Commit) { c.Message = []byte("m") },
		} {
			c := commit("branch/b1", 1, "c1", 1)
			spoil(c)
			if err := g.log().Append(g.ctx, c); err == nil {
				g.Fatalf("%s: appended", name)
			}
		}
		g.length(0)
		g.append(commit("branch/b1", 1, "c1", 1))
	}},
	{"what_was_appended_is_immutable", func(g *given) {
		g.append(commit("branch/b1", 1, "c1", 2))
		before := text(g.all()[0])
		g.append(commit("branch/b1", 2, "c2", 2))
		g.refused(domain.ErrVersionConflict, commit("branch/b1", 1, "c3", 2))
		g.refused(domain.ErrDuplicateCommand, commit("branch/b1", 3, "c1", 1))
		equal(g, "the first commit", text(g.all()[0]), before)
	}},
}

// samples is a commit of each shape there is, in one stream after another.
func samples() []*domain.Commit {
	full := commit("branch/b1", 1, "full", 2)
	full.Metadata = map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "odd \"key\"\n": "välue \\ \u2028 \x00 </script>", "empty": ""}
	full.Result = json.RawMessage(`{"stock":41,"text":"ä } ] \" \\"}`)
	full.Events[0].Data = json.RawMessage(`{"name":"Käse \"alt\" } ] \\","nested":[{"a":[1,2,{}]},[],"]"],"n":-1.5e3,"t":true,"z":null}`)
	full.Events[1].Data = json.RawMessage("[1, 2 ,\n{\"a\" : \"b\"}]")

	differ := commit("branch/b1", 2, "differ", 3)
	differ.Events[0].UserID, differ.Events[1].UserID = "u2", ""
	differ.Events[1].At = at.Add(-1234567)
	differ.Events[1].At = differ.Events[1].At.Truncate(1e6)
	differ.Events[1].BranchID, differ.Events[2].Version = "", 7
	differ.Events[2].Data = json.RawMessage(`"text"`)

	scalars := commit("user/u1", 1, "scalars", 4)
	for i, data := range []string{`1`, `null`, `""`, `{}`} {
		scalars.Events[i].Data = json.RawMessage(data)
	}
	system := commit("alerts/b1", 1, "", 1)
	system.UserID, system.Fingerprint, system.Events[0].UserID = "", "", ""

	message := commit("any topic, even ünusual", 1, "message", 0)
	message.Message = []byte{0, 1, 0xff, '"', '{'}
	empty := commit("any topic, even ünusual", 2, "empty message", 0)
	empty.Message = []byte{}
	big := commit("branch/b2", 1, "big", 1000)
	return []*domain.Commit{full, differ, scalars, system, message, empty, commit("branch/b1", 3, "no events", 0), big}
}
