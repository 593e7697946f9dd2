package domain

import (
	"reflect"
	"testing"
)

func freshUser() State { return &User{ID: "u1"} }

func Test_user(t *testing.T) {
	ann := SetUser{UserID: "u1", Role: RoleManager, Branches: []string{"b2", "b1", "b2"}, Name: "Ann"}
	runSpecs(t, freshUser, map[string]spec{
		"set": {
			role: RoleAdmin, when: ann,
			then: []Payload{UserUpdated{
				UserID: "u1", Action: ActionCreated, Role: RoleManager, Branches: []string{"b1", "b2"}, Name: "Ann", Changes: []string{"role", "branches", "disabled", "name"},
			}},
			result: UserResult{UserID: "u1"},
		},
		"set_again": {
			given: []any{ann}, role: RoleAdmin, when: SetUser{UserID: "u1", Role: RoleStaff},
			then: []Payload{UserUpdated{UserID: "u1", Action: ActionUpdated, Role: RoleStaff, Branches: []string{}, Changes: []string{"role", "branches", "name"}, LeftBranches: []string{"b1", "b2"}}},
		},
		"set_the_same": {
			given: []any{ann}, role: RoleAdmin, when: SetUser{UserID: "u1", Role: RoleManager, Branches: []string{"b1", "b2"}, Name: "Ann"},
			then: nil, result: UserResult{UserID: "u1"},
		},
		"change_the_role": {
			given: []any{ann}, role: RoleAdmin, when: ChangeUser{UserID: "u1", Role: ptr(RoleAdmin)},
			then: []Payload{UserUpdated{UserID: "u1", Action: ActionUpdated, Role: RoleAdmin, Branches: []string{"b1", "b2"}, Name: "Ann", Changes: []string{"role"}}},
		},
		"disable_and_take_branches": {
			given: []any{ann}, role: RoleAdmin, when: ChangeUser{UserID: "u1", Disabled: ptr(true), Branches: ptr([]string{})},
			then: []Payload{UserUpdated{UserID: "u1", Action: ActionUpdated, Role: RoleManager, Branches: []string{}, Disabled: true, Name: "Ann", Changes: []string{"branches", "disabled"}, LeftBranches: []string{"b1", "b2"}}},
		},
		"take_a_branch_and_give_another": {
			given: []any{ann}, role: RoleAdmin, when: ChangeUser{UserID: "u1", Branches: ptr([]string{"b3", "b2"})},
			then: []Payload{UserUpdated{UserID: "u1", Action: ActionUpdated, Role: RoleManager, Branches: []string{"b2", "b3"}, Name: "Ann", Changes: []string{"branches"}, LeftBranches: []string{"b1"}}},
		},
		"take_the_name": {
			given: []any{ann}, role: RoleAdmin, when: ChangeUser{UserID: "u1", Name: ptr("")},
			then: []Payload{UserUpdated{UserID: "u1", Action: ActionUpdated, Role: RoleManager, Branches: []string{"b1", "b2"}, Changes: []string{"name"}}},
		},
		"change_nothing":             {given: []any{ann}, role: RoleAdmin, when: ChangeUser{UserID: "u1", Name: ptr("Ann")}, then: nil},
		"change_an_unknown_one":      {role: RoleAdmin, when: ChangeUser{UserID: "u1", Name: ptr("Ann")}, code: CodeUnknownUser},
		"change_without_a_field":     {given: []any{ann}, role: RoleAdmin, when: ChangeUser{UserID: "u1"}, code: CodeValidation, detail: invalid("body", "must give a field to change")},
		"set_no_role":                {role: RoleAdmin, when: SetUser{UserID: "u1", Role: "boss"}, code: CodeValidation, detail: invalid("role", "must be one of admin, manager, staff")},
		"set_a_branch_that_is_no_id": {role: RoleAdmin, when: SetUser{UserID: "u1", Role: RoleStaff, Branches: []string{"b1", "b 2"}}, code: CodeValidation, detail: invalid("branches[1]", msgID)},
		"set_too_many_branches":      {role: RoleAdmin, when: SetUser{UserID: "u1", Role: RoleStaff, Branches: make([]string, 1001)}, code: CodeValidation},
		"change_to_no_role":          {given: []any{ann}, role: RoleAdmin, when: ChangeUser{UserID: "u1", Role: ptr("")}, code: CodeValidation},
		"set_by_a_manager":           {role: RoleManager, when: ann, code: CodeRoleForbidden},
		"change_by_staff":            {given: []any{ann}, when: ChangeUser{UserID: "u1", Name: ptr("X")}, code: CodeRoleForbidden},
		"a_branchs_command":          {role: RoleAdmin, when: opened, code: CodeValidation},
		"set_in_another_stream":      {role: RoleAdmin, when: SetUser{UserID: "u2", Role: RoleStaff}, code: CodeValidation},
		"change_in_another_stream":   {given: []any{ann}, role: RoleAdmin, when: ChangeUser{UserID: "u2", Name: ptr("X")}, code: CodeValidation},
	})
}

func Test_user_overlay(t *testing.T) {
	token := Identity{UserID: "u1", Role: RoleStaff, Branches: []string{"b1"}, Name: "Ann", DeviceID: "till-1"}
	known := &User{ID: "u1"}
	given(t, known, RoleAdmin, SetUser{UserID: "u1", Role: RoleManager, Branches: []string{"b2"}, Disabled: true})
	for name, c := range map[string]struct {
		user *User
		want Identity
	}{
		"no_state_keeps_the_token":     {nil, token},
		"unknown_keeps_the_token":      {&User{ID: "u1"}, token},
		"another_user_keeps_the_token": {&User{ID: "u2", Known: true, Role: RoleAdmin}, token},
		"known_beats_the_token": {known, Identity{
			UserID: "u1", Role: RoleManager, Branches: []string{"b2"}, Name: "Ann", DeviceID: "till-1", Disabled: true,
		}},
	} {
		if got := c.user.Overlay(token); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func Test_user_evolve_refuses_what_was_not_decided_on_the_state(t *testing.T) {
	for name, p := range map[string]Payload{
		"updated_before_created": UserUpdated{UserID: "u1", Action: ActionUpdated},
		"of_another_user":        UserUpdated{UserID: "u2", Action: ActionCreated},
		"of_a_branch":            BranchUpdated{},
	} {
		if err := freshUser().Evolve(&Event{Type: p.EventType(), Version: 1, payload: p}); err == nil {
			t.Errorf("%s: folded in, want an error", name)
		}
	}
}
