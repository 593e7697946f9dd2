package domain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Test_who_sees_what spells the whole table out: a letter for each namespace
// (a: /ws, p: /ws-pos, A: /ws-admin) in which an identity sees an event,
// provided it is in one of the event's rooms.
func Test_who_sees_what(t *testing.T) {
	identities := map[string]Identity{
		"staff":   {UserID: "u1", Role: RoleStaff, Branches: []string{"b1"}},
		"manager": {UserID: "u1", Role: RoleManager, Branches: []string{"b1"}},
		"admin":   {UserID: "u1", Role: RoleAdmin},
		"none":    {UserID: "u1", Role: "boss", Branches: []string{"b1"}},
	}
	const table = `
		event                        staff manager admin none
		inventory:updated            ap    ap      apA   -
		inventory:updated/b2         -     -       apA   -
		product:updated              ap    ap      apA   -
		product:updated/b2           -     -       apA   -
		transaction:created          ap    ap      apA   -
		transaction:created/b2       -     -       apA   -
		transaction:status-changed   ap    ap      apA   -
		transaction:status-changed/b2 -    -       apA   -
		low-stock:alert              ap    ap      apA   -
		low-stock:alert/b2           -     -       apA   -
		branch:updated               ap    ap      apA   -
		branch:updated/b2            -     -       apA   -
		sync:status                  ap    ap      apA   -
		sync:status/b2               -     -       apA   -
		system:notification          ap    ap      apA   -
		system:notification/b2       ap    ap      apA   -
		user:updated                 a     a       aA    -
		user:updated/colleague       -     a       aA    -
		user:updated/stranger        -     -       aA    -
		user:updated/leaver          -     a       aA    -
		user:updated/branchless      -     -       aA    -
		transfer:dispatched          -     -       -     -
		transfer:dispatched/b2       -     -       -     -
		transfer:announced           -     -       -     -
		transfer:announced/b2        -     -       -     -
		transfer:refused             -     -       -     -
		transfer:refused/b2          -     -       -     -
		transfer:received            -     -       -     -
		transfer:received/b2         -     -       -     -
		transfer:withdrawn           -     -       -     -
		transfer:withdrawn/b2        -     -       -     -
		transfer:returned            -     -       -     -
		transfer:returned/b2         -     -       -     -
		sync:handled                 -     -       -     -
		sync:handled/b2              -     -       -     -
		notifications:acked          -     -       -     -
		notifications:acked/b2       -     -       -     -
		branch:painted               -     -       -     -`
	events := map[string]*Event{
		"user:updated/colleague":  sample("", UserUpdated{UserID: "u2", Branches: []string{"b0", "b1"}}),
		"user:updated/stranger":   sample("", UserUpdated{UserID: "u2", Branches: []string{"b2"}}),
		"user:updated/leaver":     sample("", UserUpdated{UserID: "u2", Branches: []string{"b2"}, LeftBranches: []string{"b1"}}),
		"user:updated/branchless": sample("", UserUpdated{UserID: "u2", Branches: []string{}}),
		"branch:painted":          {Type: "branch:painted", Version: 1, BranchID: "b1"},
	}
	for eventType, e := range samples() {
		events[eventType] = e
		if eventType != TypeUserUpdated {
			other := *e
			other.BranchID = "b2"
			events[eventType+"/b2"] = &other
		}
	}
	rows := strings.Split(strings.TrimSpace(table), "\n")
	names := strings.Fields(rows[0])[1:]
	for _, row := range rows[1:] {
		fields := strings.Fields(row)
		e := events[fields[0]]
		delete(events, fields[0])
		for i, name := range names {
			got := ""
			for _, ns := range []struct{ name, letter string }{{NamespaceAll, "a"}, {NamespacePOS, "p"}, {NamespaceAdmin, "A"}, {"/ws-x", "x"}, {"", "x"}} {
				if MaySee(identities[name], ns.name, e) {
					got += ns.letter
				}
			}
			if want := strings.Trim(fields[i+1], "-"); got != want {
				t.Errorf("%s sees %s in %q, want %q", name, fields[0], got, want)
			}
		}
	}
	for name := range events {
		t.Errorf("%s is not in the table", name)
	}
}

// Test_who_may_do_what spells the command table out: S staff, M manager,
// A admin, in the branch of theirs and in another one.
func Test_who_may_do_what(t *testing.T) {
	table := map[string]string{
		CommandOpenBranch:           "A A",
		CommandChangeBranch:         "A A",
		CommandCreateProduct:        "MA A",
		CommandChangeProduct:        "MA A",
		CommandDeleteProduct:        "MA A",
		CommandCountStock:           "SMA A",
		CommandAdjustStock:          "SMA A",
		CommandCreateTransaction:    "SMA A",
		CommandSetTransactionStatus: "SMA A",
		CommandAdjustStockBulk:      "MA A",
		CommandDispatchTransfer:     "MA A",
		CommandReceiveTransfer:      "MA A",
		CommandCancelTransfer:       "MA A",
		CommandSubmitSync:           "SMA A",
		CommandAnnounceTransfer:     " ", // the system's
		CommandReturnTransfer:       " ",
		CommandSetUser:              "A A",
		CommandChangeUser:           "A A",
		CommandSendNotification:     "MA MA", // its audience is judged, not a branch
		CommandAckNotifications:     "SMA SMA",
	}
	for commandType := range bodies {
		var got []string
		for _, branch := range []string{"b1", "b2"} {
			may := ""
			for _, role := range []string{RoleStaff, RoleManager, RoleAdmin} {
				r := MayCommand(who(role), commandType, branch)
				if r == nil {
					may += strings.ToUpper(role[:1])
				} else if r.Code != CodeRoleForbidden && (r.Code != CodeBranchForbidden || branch == "b1") {
					t.Errorf("%s by %s in %s: %v", commandType, role, branch, r)
				}
			}
			got = append(got, may)
		}
		if g, want := strings.Join(got, " "), table[commandType]; g != want {
			t.Errorf("%s may be given by %q, want %q", commandType, g, want)
		}
	}
	for _, c := range []struct {
		id          Identity
		commandType string
		code        string
	}{
		{Identity{UserID: "u1", Role: RoleAdmin, Disabled: true}, CommandOpenBranch, CodeUnauthorized},
		{Identity{UserID: "u1", Role: "boss", Branches: []string{"b1"}}, CommandCountStock, CodeRoleForbidden},
		{Identity{UserID: "u1"}, CommandSendNotification, CodeRoleForbidden},
		{SystemIdentity(), CommandAdjustStock, CodeRoleForbidden},
		{SystemIdentity(), CommandOpenBranch, CodeRoleForbidden},
		{Identity{UserID: "u1", Role: SystemIdentity().Role}, CommandReturnTransfer, CodeRoleForbidden},
		{Identity{Role: RoleAdmin}, CommandReturnTransfer, CodeRoleForbidden},
		{Identity{Role: RoleAdmin, UserID: "u1", Disabled: true}, CommandReturnTransfer, CodeUnauthorized},
		{who(RoleAdmin), "stock.burn", CodeValidation},
		{who(RoleStaff), "stock.burn", CodeValidation},
	} {
		if r := MayCommand(c.id, c.commandType, "b1"); r == nil || r.Code != c.code {
			t.Errorf("%s by %+v: %v, want %s", c.commandType, c.id, r, c.code)
		}
	}
}

func Test_the_system_gives_what_follows_from_events(t *testing.T) {
	for _, commandType := range []string{CommandAnnounceTransfer, CommandReturnTransfer} {
		if r := MayCommand(SystemIdentity(), commandType, "b1"); r != nil {
			t.Errorf("%s by the system: %v", commandType, r)
		}
		if !OfSystem(commandType) {
			t.Errorf("%s is not the system's", commandType)
		}
	}
}

func Test_what_users_give_is_not_the_system_s(t *testing.T) {
	for commandType := range bodies {
		if r := MayCommand(who(RoleAdmin), commandType, "b1"); OfSystem(commandType) == (r == nil) {
			t.Errorf("%s is the system's: %t; by an admin: %v", commandType, OfSystem(commandType), r)
		}
	}
	if OfSystem("stock.burn") {
		t.Error("an unknown command is the system's")
	}
}

func Test_who_may_join_what(t *testing.T) {
	const ok = ""
	for room, want := range map[string]map[string]string{
		"branch:b1":            {RoleStaff: ok, RoleManager: ok, RoleAdmin: ok},
		"branch:b2":            {RoleStaff: CodeBranchForbidden, RoleManager: CodeBranchForbidden, RoleAdmin: ok},
		"user-role:staff":      {RoleStaff: ok, RoleManager: CodeRoleForbidden, RoleAdmin: ok},
		"user-role:manager":    {RoleStaff: CodeRoleForbidden, RoleManager: ok, RoleAdmin: ok},
		"user-role:admin":      {RoleStaff: CodeRoleForbidden, RoleManager: CodeRoleForbidden, RoleAdmin: ok},
		"user:other":           {RoleStaff: CodeRoleForbidden, RoleManager: CodeRoleForbidden, RoleAdmin: ok},
		"user:staff":           {RoleStaff: ok, RoleManager: CodeRoleForbidden, RoleAdmin: ok},
		"notifications:other":  {RoleStaff: CodeRoleForbidden, RoleManager: CodeRoleForbidden, RoleAdmin: ok},
		"notifications:staff":  {RoleStaff: ok, RoleManager: CodeRoleForbidden, RoleAdmin: ok},
		"system:notifications": {RoleStaff: ok, RoleManager: ok, RoleAdmin: ok},
		"system:alerts":        {RoleStaff: CodeRoleForbidden, RoleManager: ok, RoleAdmin: ok},
	} {
		for role, code := range want {
			got := ""
			if r := MayJoin(who(role), room); r != nil {
				got = r.Code
			}
			if got != code {
				t.Errorf("%s joins %s: %q, want %q", role, room, got, code)
			}
			disabledOne := who(role)
			disabledOne.Disabled = true
			if r := MayJoin(disabledOne, room); r == nil || r.Code != CodeUnauthorized {
				t.Errorf("a disabled %s joins %s: %v", role, room, r)
			}
		}
	}
	for _, room := range []string{
		"", ":", "branch", "branch:", "branch:*", "branch:b1\x00", "branch:b1 ", " branch:b1", "Branch:b1", "branch:b1:x", "branch::b1",
		"branch:ｂ1", "bránch:b1", "user-role:boss", "user-role:*", "user:", "notifications:*", "system:", "system:other", "__proto__", "branch:" + strings.Repeat("x", 65),
	} {
		for _, role := range []string{RoleStaff, RoleManager, RoleAdmin} {
			if r := MayJoin(who(role), room); r == nil || r.Code != CodeValidation {
				t.Errorf("%s joins %q: %v, want %s", role, room, r, CodeValidation)
			}
		}
	}
}

func Test_who_may_connect_where(t *testing.T) {
	branchless := func(role string) Identity { return Identity{UserID: "u1", Role: role} }
	for _, c := range []struct {
		id   Identity
		want string // namespaces it may open
	}{
		{who(RoleStaff), "/ws /ws-pos"},
		{branchless(RoleStaff), "/ws"},
		{who(RoleManager), "/ws /ws-pos"},
		{branchless(RoleManager), "/ws"},
		{who(RoleAdmin), "/ws /ws-pos /ws-admin"},
		{branchless(RoleAdmin), "/ws /ws-pos /ws-admin"},
		{who("boss"), ""},
		{branchless(""), ""},
	} {
		var got []string
		for _, ns := range []string{NamespaceAll, NamespacePOS, NamespaceAdmin, "/", "", "/ws/../ws-admin", "/WS"} {
			if r := MayConnect(c.id, ns); r == nil {
				got = append(got, ns)
			} else if r.Code != CodeForbiddenNamespace {
				t.Errorf("%+v opens %q: %v", c.id, ns, r)
			}
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%+v may open %q, want %q", c.id, g, c.want)
		}
		c.id.Disabled = true
		if r := MayConnect(c.id, NamespaceAll); r == nil || r.Code != CodeUnauthorized {
			t.Errorf("disabled: %v, want %s", r, CodeUnauthorized)
		}
	}
}

// Test_reading_the_log_shows_what_the_rooms_would compares MayRead with the
// rooms themselves, for every role, type and branch.
func Test_reading_the_log_shows_what_the_rooms_would(t *testing.T) {
	events := []*Event{
		sample("b2", SystemNotification{Audience: "branch:b2", Severity: SeverityInfo}),
		sample("b2", SystemNotification{Audience: "branch:b2", Severity: SeverityCritical}),
		sample("", SystemNotification{Audience: "notifications:staff", Severity: SeverityInfo}),
		sample("", SystemNotification{Audience: "user-role:manager", Severity: SeverityInfo}),
		sample("", UserUpdated{UserID: "staff", Branches: []string{"b2"}}),
	}
	for _, e := range samples() {
		other := *e
		other.BranchID = "b2"
		events = append(events, e, &other)
	}
	for _, role := range []string{RoleStaff, RoleManager, RoleAdmin} {
		for _, e := range events {
			rooms := DefaultRooms(who(role))
			want := MaySee(who(role), NamespaceAll, e) && (role == RoleAdmin ||
				slices.ContainsFunc(AppendRooms(nil, e), func(room string) bool { return slices.Contains(rooms, room) }))
			if got := MayRead(who(role), e); got != want {
				t.Errorf("%s reads %s %s: %t, want %t", role, e.Type, fmt.Sprintf("%.60s", e.Data), got, want)
			}
		}
	}
}
