package domain

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// Helpers of given/when/then tests.

var now = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// who makes an identity: "admin", "manager" and "staff" are of branch b1.
func who(role string) Identity {
	return Identity{UserID: role, Role: role, Branches: []string{"b1"}}
}

func typeOf(body any) string {
	for name, t := range bodies {
		if reflect.TypeOf(body) == t {
			return name
		}
	}
	panic(fmt.Sprintf("%T is no body", body))
}

func command(role string, body any) Command {
	c := Command{ID: "c1", Type: typeOf(body), Identity: who(role), At: now, Body: body}
	if commands[c.Type].inBranch {
		c.BranchID = "b1"
	}
	return c
}

// given brings a state to where commands of a role, in order, bring it.
func given(t testing.TB, s State, role string, bodies ...any) {
	t.Helper()
	for i, body := range bodies {
		c := command(role, body)
		c.ID = fmt.Sprintf("given-%d", i)
		commit(t, s, c)
	}
}

// commit decides a command that must be accepted, folds its events in and
// returns the commit, as read from the log.
func commit(t testing.TB, s State, c Command) *Commit {
	t.Helper()
	d, r := s.Decide(c)
	if r != nil {
		t.Fatalf("%s %+v rejected: %v %v", c.Type, c.Body, r, r.Details)
	}
	made, err := NewCommit("s", 1, c, d)
	if err != nil {
		t.Fatalf("commit of %s: %v", c.Type, err)
	}
	for i := range made.Events {
		if err := s.Evolve(&made.Events[i]); err != nil {
			t.Fatalf("evolve %s: %v", made.Events[i].Type, err)
		}
	}
	return made
}

func ptr[T any](v T) *T { return &v }
