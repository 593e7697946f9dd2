package domain

import (
	"strings"
	"testing"
)

func Test_notification_ack(t *testing.T) {
	at := func(seq uint64, index uint32) Position { return Position{Epoch: 1767225600000, Seq: seq, Index: index} }
	ack := func(seq uint64, index uint32) AckNotifications { return AckNotifications{Pos: at(seq, index).String()} }
	acked := func(seq uint64, index uint32) []Payload {
		return []Payload{NotificationsAcked{UserID: RoleAdmin, Pos: at(seq, index)}}
	}
	later := at(7, 0)
	later.Epoch++ // epochs follow from the sequence
	fresh := func() State { return &Inbox{UserID: RoleAdmin} }
	runSpecs(t, fresh, map[string]spec{
		"the_first":           {role: RoleAdmin, when: ack(5, 2), then: acked(5, 2), result: AckResult{at(5, 2)}},
		"a_later_one":         {role: RoleAdmin, given: []any{ack(5, 2)}, when: ack(6, 0), then: acked(6, 0), result: AckResult{at(6, 0)}},
		"later_in_the_commit": {role: RoleAdmin, given: []any{ack(5, 2)}, when: ack(5, 3), then: acked(5, 3), result: AckResult{at(5, 3)}},
		"of_a_later_epoch":    {role: RoleAdmin, given: []any{ack(5, 2)}, when: AckNotifications{Pos: later.String()}, then: []Payload{NotificationsAcked{UserID: RoleAdmin, Pos: later}}},
		"the_same_again":      {role: RoleAdmin, given: []any{ack(5, 2)}, when: ack(5, 2), result: AckResult{at(5, 2)}},
		"an_earlier_one":      {role: RoleAdmin, given: []any{ack(5, 2)}, when: ack(4, 9), result: AckResult{at(5, 2)}},
		"of_nothing":          {role: RoleAdmin, when: AckNotifications{Pos: Position{}.String()}, result: AckResult{}},
		"no_position":         {role: RoleAdmin, when: AckNotifications{}, code: CodeValidation, detail: invalid("pos", msgPosition)},
		"a_number":            {role: RoleAdmin, when: AckNotifications{Pos: "42"}, code: CodeValidation, detail: invalid("pos", msgPosition)},
		"upper_case":          {role: RoleAdmin, when: AckNotifications{Pos: strings.ToUpper(at(5, 2).String())}, code: CodeValidation, detail: invalid("pos", msgPosition)},
		"another_user's":      {role: RoleManager, when: ack(5, 2), code: CodeValidation},
		"another_command":     {role: RoleAdmin, when: SendNotification{Audience: RoomNotifications, Severity: SeverityInfo, Title: "T", Message: "M"}, code: CodeValidation},
	})
}

func Test_every_role_acknowledges_its_own(t *testing.T) {
	for _, role := range []string{RoleStaff, RoleManager, RoleAdmin} {
		c := command(role, AckNotifications{Pos: Position{Epoch: 1, Seq: 1}.String()})
		stream, err := StreamOf(c)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewState(stream)
		if err != nil {
			t.Fatal(err)
		}
		if made := commit(t, s, c); len(made.Events) != 1 || made.Events[0].BranchID != "" {
			t.Errorf("%s: events %+v, want one of no branch", role, made.Events)
		}
	}
	c := command(RoleStaff, AckNotifications{Pos: Position{Epoch: 1, Seq: 1}.String()})
	c.Identity.Disabled = true
	if _, r := (&Inbox{UserID: RoleStaff}).Decide(c); r == nil || r.Code != CodeUnauthorized {
		t.Errorf("a disabled user: %v, want %s", r, CodeUnauthorized)
	}
}

func Test_an_inbox_does_not_evolve_by_what_it_did_not_decide(t *testing.T) {
	for name, e := range map[string]*Event{
		"another_user's":  sample("", NotificationsAcked{UserID: "u2", Pos: Position{Seq: 9}}),
		"going_back":      sample("", NotificationsAcked{UserID: "u1", Pos: Position{Seq: 4}}),
		"going_nowhere":   sample("", NotificationsAcked{UserID: "u1", Pos: Position{Seq: 5}}),
		"another_type":    sample("", SystemNotification{Audience: RoomNotifications}),
		"an_unknown_type": {Type: "notifications:burnt", Version: 1},
	} {
		i := &Inbox{UserID: "u1", Acked: Position{Seq: 5}}
		if err := i.Evolve(e); err == nil || i.Acked.Seq != 5 {
			t.Errorf("%s: %v, acknowledged up to %s; want an error and no change", name, err, i.Acked)
		}
	}
}
