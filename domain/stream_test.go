package domain

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func Test_streams_of_commands(t *testing.T) {
	for name, c := range map[string]struct {
		command Command
		want    string
	}{
		"branch":                    {command(RoleStaff, AdjustStock{}), "branch/b1"},
		"branch_open":               {command(RoleAdmin, opened), "branch/b1"},
		"branch_open_in_body_alone": {Command{Type: CommandOpenBranch, Body: OpenBranch{BranchID: "b2"}}, "branch/b2"},
		"user":                      {command(RoleAdmin, SetUser{UserID: "u1"}), "user/u1"},
		"user_change":               {command(RoleAdmin, ChangeUser{UserID: "u1"}), "user/u1"},
		"notification":              {command(RoleAdmin, SendNotification{}), "notifications"},
		"transfer_dispatch":         {command(RoleAdmin, DispatchTransfer{ToBranchID: "b2"}), "branch/b1"},
		"transfer_receive":          {command(RoleAdmin, ReceiveTransfer{TransferID: comes}), "branch/b1"},
		"transfer_cancel":           {command(RoleAdmin, CancelTransfer{TransferID: goes}), "branch/b2"},
		"transfer_announce":         {command(RoleAdmin, announced()), "branch/b1"},
		"transfer_return":           {command(RoleAdmin, ReturnTransfer{TransferID: goes}), "branch/b1"},
		"cancel_of_no_id":           {command(RoleAdmin, CancelTransfer{TransferID: "b2"}), ""},
		"cancel_in_no_branch":       {Command{Type: CommandCancelTransfer, Body: CancelTransfer{TransferID: goes}}, ""},
		"ack":                       {command(RoleStaff, AckNotifications{}), "inbox/staff"},
		"ack_by_nobody":             {Command{Type: CommandAckNotifications, Body: AckNotifications{}}, ""},
		"sync":                      {command(RoleStaff, SubmitSync{}), "branch/b1"},
		"unknown_type":              {Command{Type: "stock.burn", BranchID: "b1"}, ""},
		"no_branch":                 {Command{Type: CommandAdjustStock, Body: AdjustStock{}}, ""},
		"no_branch_id":              {Command{Type: CommandAdjustStock, BranchID: "b/1", Body: AdjustStock{}}, ""},
		"no_user_id":                {command(RoleAdmin, SetUser{UserID: "../b1"}), ""},
		"no_body":                   {Command{Type: CommandSetUser}, ""},
	} {
		got, err := StreamOf(c.command)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: stream %q, %v; want %q", name, got, err, c.want)
		}
		var r *Rejection
		if err != nil && (!errors.As(err, &r) || r.Code != CodeValidation) {
			t.Errorf("%s: %v, want a rejection with %s", name, err, CodeValidation)
		}
	}
}

func Test_states_of_streams(t *testing.T) {
	for stream, want := range map[string]State{
		"branch/b1": NewBranch("b1"), "user/u1": &User{ID: "u1"}, "notifications": &Notifications{}, "inbox/u1": &Inbox{UserID: "u1"},
		"alerts/b1": nil, "inbox/": nil, "branch/": nil, "branch/b 1": nil, "user/": nil, "": nil, "notifications/x": nil, "messages/x": nil,
	} {
		got, err := NewState(stream)
		if (err == nil) != (want != nil) || want != nil && !reflect.DeepEqual(got, want) {
			t.Errorf("state of %q is %#v, %v; want %#v", stream, got, err, want)
		}
	}
	if got, want := StreamOfAlerts("b1"), "alerts/b1"; got != want {
		t.Errorf("alerts of b1 go to %q, want %q", got, want)
	}
}

func Test_state_survives_a_round_trip(t *testing.T) {
	b := NewBranch("b1")
	given(t, b, RoleAdmin, opened, tea, cup, usd, DeleteProduct{ProductID: "cup"}, sale("t1", line("tea", 2)), pendingSale("t2", line("usd", 1)),
		SetTransactionStatus{TransactionID: "t1", Status: StatusPartiallyRefunded, Reason: "x", Lines: []RefundRequestLine{{ProductID: "tea", Quantity: 1}}},
		announced(send("tea", 5)), receive(ReceivedLine{"tea", 2, 1}), DispatchTransfer{ToBranchID: "b2", Lines: []TransferLine{{"tea", 1}}},
		batch(1, offline(1, line("tea", 1)), offline(4, line("tea", 1))))
	u := &User{ID: "u1"}
	given(t, u, RoleAdmin, SetUser{UserID: "u1", Role: RoleStaff, Branches: []string{"b1"}, Name: "Ann"})
	n := &Notifications{}
	given(t, n, RoleAdmin, SendNotification{Audience: RoomNotifications, Severity: SeverityInfo, Title: "T", Message: "M"})
	i := &Inbox{UserID: RoleStaff}
	commit(t, i, command(RoleStaff, AckNotifications{Pos: Position{Epoch: 7, Seq: 3}.String()}))
	for stream, s := range map[string]State{"branch/b1": b, "user/u1": u, "notifications": n, "inbox/staff": i} {
		raw := stateJSON(t, s)
		back, err := readState(stream, []byte(raw))
		if err != nil || !reflect.DeepEqual(back, s) {
			t.Errorf("%s reads\n     %+v, %v\nwant %+v", raw, back, err, s)
		}
		if again := stateJSON(t, back); again != raw {
			t.Errorf("%s encodes as %s the second time, %s the first", stream, again, raw)
		}
	}
}

func Test_rules_of_every_command(t *testing.T) {
	for name, change := range map[string]func(*Command){
		"no_id":              func(c *Command) { c.ID = "" },
		"a_long_id":          func(c *Command) { c.ID = strings.Repeat("x", 256) },
		"an_id_with_control": func(c *Command) { c.ID = "a\x00b" },
		"an_id_not_of_ascii": func(c *Command) { c.ID = "é" },
		"no_type":            func(c *Command) { c.Type = "" },
		"another_body":       func(c *Command) { c.Body = CountStock{} },
		"a_pointer_body":     func(c *Command) { c.Body = &AdjustStock{ProductID: "tea", Delta: 1, Reason: "x"} },
		"no_body":            func(c *Command) { c.Body = nil },
		"no_branch":          func(c *Command) { c.BranchID = "" },
		"a_branch_of_none":   func(c *Command) { c.BranchID = "b1/../b2" },
	} {
		c := command(RoleStaff, AdjustStock{ProductID: "tea", Delta: 1, Reason: "x"})
		if r := Validate(c); r != nil {
			t.Fatalf("valid: %v", r)
		}
		change(&c)
		if r := Validate(c); r == nil || r.Code != CodeValidation {
			t.Errorf("%s: %v, want %s", name, r, CodeValidation)
		}
	}
	c := command(RoleStaff, CreateTransaction{Lines: make([]TransactionLine, MaxLines)})
	r := Validate(c)
	if n := len(r.Details["errors"].([]FieldError)); n != 2*maxFieldErrors {
		t.Errorf("%d complaints, want %d of fields and as many of quantities", n, maxFieldErrors)
	}
}
