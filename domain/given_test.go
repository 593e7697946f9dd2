package domain

import (
	"encoding/json"
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
	if commands[c.Type].system {
		c.Identity = SystemIdentity()
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

// spec is one case: given commands of an admin that were accepted, when a
// command is judged, then these events follow, or this rejection.
type spec struct {
	given []any
	role  string // staff if empty
	in    string // the command's branch; b1 if empty
	when  any
	at    time.Time // now if zero

	then   []Payload
	result any // not compared if nil
	code   string
	detail map[string]any // not compared if nil
}

func runSpecs(t *testing.T, fresh func() State, specs map[string]spec) {
	t.Helper()
	for name, s := range specs {
		t.Run(name, func(t *testing.T) {
			state := fresh()
			given(t, state, RoleAdmin, s.given...)
			before := stateJSON(t, state)
			role := s.role
			if role == "" {
				role = RoleStaff
			}
			c := command(role, s.when)
			if s.in != "" {
				c.BranchID = s.in
			}
			if !s.at.IsZero() {
				c.At = s.at
			}
			d, r := state.Decide(c)
			if after := stateJSON(t, state); after != before {
				t.Errorf("Decide changed the state\nfrom %s\nto   %s", before, after)
			}
			if s.code != "" {
				wantRejection(t, r, s)
				return
			}
			if r != nil {
				t.Fatalf("rejected with %v %v", r, r.Details)
			}
			wantPayloads(t, d.Events, s.then)
			if s.result != nil && !reflect.DeepEqual(d.Result, s.result) {
				t.Errorf("result %#v, want %#v", d.Result, s.result)
			}
			commit(t, state, c)
		})
	}
}

func wantRejection(t *testing.T, r *Rejection, s spec) {
	t.Helper()
	if r == nil {
		t.Fatalf("accepted, want %s", s.code)
	}
	if r.Code != s.code {
		t.Fatalf("rejected with %v %v, want %s", r, r.Details, s.code)
	}
	if r.Message == "" {
		t.Errorf("%s without a message", r.Code)
	}
	if s.detail != nil && !reflect.DeepEqual(r.Details, s.detail) {
		t.Errorf("details %#v, want %#v", r.Details, s.detail)
	}
}

func wantPayloads(t *testing.T, got []Fact, want []Payload) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("event %d is missing, want %s", i, show(t, want[i]))
		case i >= len(want):
			t.Errorf("event %d is %s, want none", i, show(t, got[i].Payload))
		case !reflect.DeepEqual(got[i].Payload, want[i]):
			t.Errorf("event %d is\n     %s\nwant %s", i, show(t, got[i].Payload), show(t, want[i]))
		}
	}
}

func show(t testing.TB, p Payload) string {
	t.Helper()
	raw, err := encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return p.EventType() + " " + string(raw)
}

func stateJSON(t testing.TB, s State) string {
	t.Helper()
	raw, err := MarshalState(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func invalid(field, message string) map[string]any {
	return map[string]any{"errors": []FieldError{{Field: field, Message: message}}}
}

// readState makes a state of what stateJSON gives.
func readState(stream string, raw []byte) (State, error) {
	s, err := NewState(stream)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, err
	}
	if b, ok := s.(*Branch); ok {
		b.Reindex()
	}
	return s, nil
}
