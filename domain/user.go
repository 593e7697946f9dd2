package domain

import (
	"fmt"
	"slices"
)

// User is the state of a user's stream: what the API says of him, which beats
// what a token says.
type User struct {
	ID string `json:"userId"`
	// Known is false until the first user.set.
	Known    bool     `json:"known"`
	Role     string   `json:"role"`
	Branches []string `json:"branches"` // sorted, without duplicates
	Disabled bool     `json:"disabled"`
	Name     string   `json:"name"`
}

// UserResult is the result of user.set and user.change.
type UserResult struct {
	UserID string `json:"userId"`
}

// Overlay returns the identity with what the log says of the user in place of
// what the token says. A user without a stream keeps the token's. The branches
// are shared with the state, which replaces and never changes them.
func (u *User) Overlay(id Identity) Identity {
	if u == nil || !u.Known || u.ID != id.UserID {
		return id
	}
	id.Role, id.Branches, id.Disabled = u.Role, u.Branches, u.Disabled
	if u.Name != "" {
		id.Name = u.Name
	}
	return id
}

// Decide judges user.set and user.change. Both give one user:updated, or none
// if nothing differs.
func (u *User) Decide(c Command) (Decision, *Rejection) {
	if r := judge(c); r != nil {
		return Decision{}, r
	}
	if stream, err := StreamOf(c); err != nil || stream != StreamOfUser(u.ID) {
		return Decision{}, wrongStream(c, StreamOfUser(u.ID))
	}
	next := *u
	switch body := c.Body.(type) {
	case SetUser:
		next.Role, next.Branches, next.Disabled, next.Name = body.Role, sortedSet(body.Branches), body.Disabled, body.Name
	case ChangeUser:
		if !u.Known {
			return Decision{}, Reject(CodeUnknownUser, "user %s is not known; set all of him first", u.ID)
		}
		set(&next.Role, body.Role)
		set(&next.Disabled, body.Disabled)
		set(&next.Name, body.Name)
		if body.Branches != nil {
			next.Branches = sortedSet(*body.Branches)
		}
	}
	next.Known = true
	d := Decision{Result: UserResult{UserID: u.ID}}
	changes := u.changes(next)
	if len(changes) == 0 {
		return d, nil
	}
	action := ActionUpdated
	if !u.Known {
		action = ActionCreated
	}
	var left []string
	for _, b := range u.Branches {
		if !slices.Contains(next.Branches, b) {
			left = append(left, b)
		}
	}
	d.Events = []Fact{{Payload: UserUpdated{
		UserID: u.ID, Action: action, Role: next.Role, Branches: next.Branches,
		Disabled: next.Disabled, Name: next.Name, Changes: changes, LeftBranches: left,
	}}}
	return d, nil
}

func (u *User) changes(next User) []string {
	all := !u.Known
	changes := []string{}
	if all || next.Role != u.Role {
		changes = append(changes, "role")
	}
	if all || !slices.Equal(next.Branches, u.Branches) {
		changes = append(changes, "branches")
	}
	if all || next.Disabled != u.Disabled {
		changes = append(changes, "disabled")
	}
	if all || next.Name != u.Name {
		changes = append(changes, "name")
	}
	return changes
}

// Evolve folds a user:updated in.
func (u *User) Evolve(e *Event) error {
	payload, err := e.Payload()
	if err != nil {
		return err
	}
	p, ok := payload.(UserUpdated)
	if !ok || p.UserID != u.ID {
		return misplaced(e, StreamOfUser(u.ID))
	}
	if (p.Action == ActionCreated) == u.Known {
		return fmt.Errorf("user %s: event %s says %q, known is %t", u.ID, e.ID, p.Action, u.Known)
	}
	u.Known, u.Role, u.Branches, u.Disabled, u.Name = true, p.Role, slices.Clone(p.Branches), p.Disabled, p.Name
	return nil
}

// sortedSet returns a sorted copy without duplicates, never nil.
func sortedSet(s []string) []string {
	sorted := append([]string{}, s...)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// set overwrites a field if there is a value for it.
func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}
