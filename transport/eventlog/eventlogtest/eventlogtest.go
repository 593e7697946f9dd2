// Package eventlogtest is the contract of domain.Log as a test. Every
// implementation has to pass [Test].
package eventlogtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"bms/domain"
)

// Opened is a log under test.
type Opened struct {
	Log domain.Log
	// Reopen closes the log in good order and opens it again, with the same
	// content. It replaces Log.
	Reopen func() domain.Log
	// Close closes the log. The test calls it at most once; who made the log
	// closes it at the end of the test otherwise.
	Close func()
}

// Open makes a new, empty log that lives until the test ends.
type Open func(t *testing.T) Opened

// Test runs the contract.
func Test(t *testing.T, open Open) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"append", appendTests},
		{"read", readTests},
		{"follow", followTests},
		{"check", checkTests},
		{"reopen", reopenTests},
		{"concurrency", concurrencyTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					test.run(&given{T: t, ctx: ctx, opened: open(t)})
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(*given)
}

// given is one test's log and what is done to it.
type given struct {
	*testing.T
	ctx    context.Context
	opened Opened
}

func (g *given) log() domain.Log { return g.opened.Log }

func (g *given) reopen() { g.opened.Log = g.opened.Reopen() }

// at is the time of every commit made here: whole milliseconds, UTC.
var at = time.UnixMilli(1_790_000_000_123).UTC()

// commit makes a commit of so many events.
func commit(stream string, version uint64, commandID string, events int) *domain.Commit {
	c := &domain.Commit{
		Stream: stream, Version: version, UserID: "u1", CommandID: commandID, CommandType: "stock.adjust",
		Fingerprint: "f-" + commandID, At: at,
	}
	for i := range events {
		c.Events = append(c.Events, domain.Event{
			ID: domain.EventID(at, "u1", commandID, i), Type: domain.TypeInventoryUpdated, Version: 1,
			BranchID: "b1", UserID: "u1", At: at,
			Data: json.RawMessage(fmt.Sprintf(`{"productId":"p%d","delta":-1}`, i)),
		})
	}
	return c
}

// clone copies what Append takes ownership of.
func clone(c *domain.Commit) *domain.Commit {
	d := *c
	d.Events = append([]domain.Event(nil), c.Events...)
	return &d
}

// append appends commits that must be taken.
func (g *given) append(commits ...*domain.Commit) {
	g.Helper()
	if err := g.log().Append(g.ctx, commits...); err != nil {
		g.Fatalf("append: %v", err)
	}
}

// refused appends commits that must be refused, with an error that wraps want.
func (g *given) refused(want error, commits ...*domain.Commit) {
	g.Helper()
	if err := g.log().Append(g.ctx, commits...); !errors.Is(err, want) {
		g.Fatalf("append: got error %v, want %v", err, want)
	}
}

// all reads the whole log and checks that its sequences have no gap.
func (g *given) all() []*domain.Commit {
	g.Helper()
	var all []*domain.Commit
	for {
		commits, err := g.log().Read(g.ctx, uint64(len(all)), 100)
		if err != nil {
			g.Fatalf("read after %d: %v", len(all), err)
		}
		if len(commits) == 0 {
			return all
		}
		for _, c := range commits {
			if want := uint64(len(all) + 1); c.Position.Seq != want {
				g.Fatalf("read a commit of sequence %d, want %d", c.Position.Seq, want)
			}
			all = append(all, c)
		}
	}
}

func (g *given) stream(stream string, after uint64, limit int) []*domain.Commit {
	g.Helper()
	commits, err := g.log().ReadStream(g.ctx, stream, after, limit)
	if err != nil {
		g.Fatalf("read stream %q after %d: %v", stream, after, err)
	}
	return commits
}

func (g *given) length(want int) {
	g.Helper()
	if got := len(g.all()); got != want {
		g.Fatalf("the log has %d commits, want %d", got, want)
	}
	if got := g.log().Head().Seq; got != uint64(want) {
		g.Fatalf("the head's sequence is %d, want %d", got, want)
	}
}

// same compares what was read with what was appended, events' typed payloads
// aside: a log may or may not keep those.
func (g *given) same(got, want *domain.Commit) {
	g.Helper()
	if a, b := text(got), text(want); a != b {
		g.Fatalf("got commit\n%s\nwant\n%s", a, b)
	}
}

// text is everything there is to see of a commit, but for what the log itself
// notes in its metadata.
func text(c *domain.Commit) string {
	metadata := map[string]string{}
	maps.Copy(metadata, c.Metadata)
	delete(metadata, domain.MetadataDurability)
	b := fmt.Appendf(nil, "%s %s/%d user %q command %q %q %q at %s metadata %v result %s message %t %q\n", c.Position, c.Stream, c.Version,
		c.UserID, c.CommandID, c.CommandType, c.Fingerprint, c.At.Format(time.RFC3339Nano), metadata, c.Result, c.Message != nil, c.Message)
	for i := range c.Events {
		e := &c.Events[i]
		b = fmt.Appendf(b, "  %s v%d user %q at %s %s\n", e.Type, e.Version, e.UserID, e.At.Format(time.RFC3339Nano), e.AppendEnvelope(nil))
	}
	return string(b)
}

func equal[T any](g *given, what string, got, want T) {
	g.Helper()
	if !reflect.DeepEqual(got, want) {
		g.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
