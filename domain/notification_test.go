package domain

import (
	"strings"
	"testing"
)

func freshNotifications() State { return &Notifications{} }

func Test_notification_send(t *testing.T) {
	send := func(audience string) SendNotification {
		return SendNotification{Audience: audience, Severity: SeverityInfo, Title: "Hello", Message: "Two\nlines"}
	}
	with := func(change func(*SendNotification)) SendNotification {
		n := send("branch:b1")
		change(&n)
		return n
	}
	id := EventID(now, RoleAdmin, "c1\x00notification", 0)
	sent := func(audience string) []Payload {
		return []Payload{SystemNotification{NotificationID: id, Severity: SeverityInfo, Title: "Hello", Message: "Two\nlines", Audience: audience}}
	}
	runSpecs(t, freshNotifications, map[string]spec{
		"to_all":      {role: RoleAdmin, when: send("system:notifications"), then: sent("system:notifications"), result: NotificationResult{NotificationID: id}},
		"to_a_branch": {role: RoleAdmin, when: send("branch:b7"), then: sent("branch:b7")},
		"to_a_role":   {role: RoleAdmin, when: send("user-role:staff"), then: sent("user-role:staff")},
		"to_a_user":   {role: RoleAdmin, when: send("notifications:u1"), then: sent("notifications:u1")},
		"by_a_manager_to_an_own_branch": {
			role: RoleManager, when: with(func(n *SendNotification) { n.ExpiresAt = "2026-01-31T14:00:00+01:00" }),
			then: []Payload{SystemNotification{
				NotificationID: EventID(now, RoleManager, "c1\x00notification", 0), Severity: SeverityInfo, Title: "Hello", Message: "Two\nlines", Audience: "branch:b1", ExpiresAt: "2026-01-31T13:00:00.000Z",
			}},
		},
		"by_a_manager_to_another_branch": {role: RoleManager, when: send("branch:b2"), code: CodeBranchForbidden},
		"by_a_manager_to_all":            {role: RoleManager, when: send("system:notifications"), code: CodeRoleForbidden},
		"by_a_manager_to_a_user":         {role: RoleManager, when: send("notifications:u1"), code: CodeRoleForbidden},
		"by_staff":                       {when: send("branch:b1"), code: CodeRoleForbidden},
		"to_all_branches":                {role: RoleAdmin, when: send("branch:*"), code: CodeValidation},
		"to_the_alerts":                  {role: RoleAdmin, when: send("system:alerts"), code: CodeValidation},
		"to_a_users_rights":              {role: RoleAdmin, when: send("user:u1"), code: CodeValidation},
		"to_no_role":                     {role: RoleAdmin, when: send("user-role:boss"), code: CodeValidation},
		"to_nobody":                      {role: RoleAdmin, when: send(""), code: CodeValidation},
		"without_severity":               {role: RoleAdmin, when: with(func(n *SendNotification) { n.Severity = "" }), code: CodeValidation},
		"without_title":                  {role: RoleAdmin, when: with(func(n *SendNotification) { n.Title = "" }), code: CodeValidation},
		"with_two_lines_of_title":        {role: RoleAdmin, when: with(func(n *SendNotification) { n.Title = "a\nb" }), code: CodeValidation},
		"with_a_long_message":            {role: RoleAdmin, when: with(func(n *SendNotification) { n.Message = strings.Repeat("x", MaxMessage+1) }), code: CodeValidation},
		"that_has_expired":               {role: RoleAdmin, when: with(func(n *SendNotification) { n.ExpiresAt = nowText }), code: CodeValidation, detail: invalid("expiresAt", "must be in the future")},
		"that_expires_at_no_time":        {role: RoleAdmin, when: with(func(n *SendNotification) { n.ExpiresAt = "soon" }), code: CodeValidation, detail: invalid("expiresAt", msgTime)},
		"that_expires_beyond_the_years":  {role: RoleAdmin, when: with(func(n *SendNotification) { n.ExpiresAt = "9999-12-31T23:59:59-05:00" }), code: CodeValidation, detail: invalid("expiresAt", msgTime)},
		"that_expires_at_their_end": {
			role: RoleAdmin, when: with(func(n *SendNotification) { n.Audience, n.ExpiresAt = "branch:b1", "9999-12-31T23:59:59.9999Z" }),
			then: []Payload{SystemNotification{NotificationID: id, Severity: SeverityInfo, Title: "Hello", Message: "Two\nlines", Audience: "branch:b1", ExpiresAt: "9999-12-31T23:59:59.999Z"}},
		},
		"a_branchs_command": {role: RoleAdmin, when: opened, code: CodeValidation},
	})
}

func Test_notification_belongs_to_the_branch_that_it_is_for(t *testing.T) {
	for audience, want := range map[string]string{"branch:b7": "b7", "system:notifications": "", "user-role:staff": "", "notifications:u1": ""} {
		made := commit(t, freshNotifications(), command(RoleAdmin, SendNotification{Audience: audience, Severity: SeverityInfo, Title: "T", Message: "M"}))
		if got := made.Events[0].BranchID; got != want {
			t.Errorf("branch of a notification to %s is %q, want %q", audience, got, want)
		}
	}
}
