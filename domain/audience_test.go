package domain

import (
	"slices"
	"strings"
	"testing"
)

// samples has an event of each type, of branch b1 where it is of one.
func samples() map[string]*Event {
	return map[string]*Event{
		TypeInventoryUpdated:         sample("b1", InventoryUpdated{ProductID: "tea"}),
		TypeProductUpdated:           sample("b1", ProductUpdated{ProductID: "tea"}),
		TypeTransactionCreated:       sample("b1", TransactionCreated{TransactionID: "t1"}),
		TypeTransactionStatusChanged: sample("b1", TransactionStatusChanged{TransactionID: "t1"}),
		TypeLowStockAlert:            sample("b1", LowStockAlert{ProductID: "tea"}),
		TypeBranchUpdated:            sample("b1", BranchUpdated{Name: "One"}),
		TypeUserUpdated:              sample("", UserUpdated{UserID: "u1", Branches: []string{"b1"}}),
		TypeSyncStatus:               sample("b1", SyncStatus{DeviceID: "till-1"}),
		TypeSystemNotification:       sample("", SystemNotification{Audience: RoomNotifications, Severity: SeverityInfo}),
		TypeTransferDispatched:       sample("b1", TransferDispatched{TransferID: "x"}),
		TypeTransferAnnounced:        sample("b1", TransferAnnounced{TransferID: "x"}),
		TypeTransferRefused:          sample("b1", TransferRefused{TransferID: "x"}),
		TypeTransferReceived:         sample("b1", TransferReceived{TransferID: "x"}),
		TypeTransferWithdrawn:        sample("b1", TransferWithdrawn{TransferID: "x"}),
		TypeTransferReturned:         sample("b1", TransferReturned{TransferID: "x"}),
		TypeSyncHandled:              sample("b1", SyncHandled{DeviceID: "till-1"}),
		TypeNotificationsAcked:       sample("", NotificationsAcked{UserID: "u1"}),
	}
}

// sample is an event as read from disk: its payload is not decoded.
func sample(branchID string, p Payload) *Event {
	data, err := encode(p)
	if err != nil {
		panic(err)
	}
	return &Event{ID: "e1", Type: p.EventType(), Version: currentVersion(p.EventType()), BranchID: branchID, UserID: "u9", Data: data}
}

func Test_every_event_type_has_a_row_in_each_table(t *testing.T) {
	for eventType := range schemas {
		if _, ok := audience[eventType]; !ok {
			t.Errorf("%s has no audience", eventType)
		}
		if _, ok := visibility[eventType]; !ok {
			t.Errorf("%s has no visibility", eventType)
		}
		if _, ok := samples()[eventType]; !ok {
			t.Errorf("%s has no sample", eventType)
		}
	}
	if len(audience) != len(schemas) || len(visibility) != len(schemas) {
		t.Errorf("%d types, %d rows of audience, %d of visibility", len(schemas), len(audience), len(visibility))
	}
}

func Test_audience(t *testing.T) {
	of := samples()
	for name, c := range map[string]struct {
		event *Event
		want  string
	}{
		"inventory":                {of[TypeInventoryUpdated], "branch:b1 branch:*"},
		"product":                  {of[TypeProductUpdated], "branch:b1 branch:*"},
		"transaction":              {of[TypeTransactionCreated], "branch:b1 branch:*"},
		"status":                   {of[TypeTransactionStatusChanged], "branch:b1 branch:*"},
		"low_stock":                {of[TypeLowStockAlert], "branch:b1 branch:* system:alerts"},
		"branch":                   {of[TypeBranchUpdated], "branch:b1 branch:*"},
		"user":                     {of[TypeUserUpdated], "user:u1 user-role:admin user-role:manager"},
		"sync":                     {of[TypeSyncStatus], "branch:b1 branch:*"},
		"notification_to_all":      {of[TypeSystemNotification], "system:notifications"},
		"notification_to_a_branch": {sample("b2", SystemNotification{Audience: "branch:b2", Severity: SeverityWarning}), "branch:b2 branch:*"},
		"notification_to_a_role":   {sample("", SystemNotification{Audience: "user-role:staff"}), "user-role:staff"},
		"notification_to_a_user":   {sample("", SystemNotification{Audience: "notifications:u1"}), "notifications:u1"},
		"critical_to_a_branch":     {sample("b2", SystemNotification{Audience: "branch:b2", Severity: SeverityCritical}), "branch:b2 branch:* system:alerts"},
		"critical_to_a_user":       {sample("", SystemNotification{Audience: "notifications:u1", Severity: SeverityCritical}), "notifications:u1 system:alerts"},
		"transfer_dispatched":      {of[TypeTransferDispatched], ""},
		"transfer_announced":       {of[TypeTransferAnnounced], ""},
		"transfer_refused":         {of[TypeTransferRefused], ""},
		"transfer_received":        {of[TypeTransferReceived], ""},
		"transfer_withdrawn":       {of[TypeTransferWithdrawn], ""},
		"transfer_returned":        {of[TypeTransferReturned], ""},
		"sync_handled":             {of[TypeSyncHandled], ""},
		"notifications_acked":      {of[TypeNotificationsAcked], ""},
		"unknown_type":             {&Event{Type: "branch:painted", BranchID: "b1"}, ""},
		"newer_user_version":       {&Event{Type: TypeUserUpdated, Version: 99}, "user-role:admin user-role:manager"},
	} {
		got := strings.Join(AppendRooms(nil, c.event), " ")
		if got != c.want {
			t.Errorf("rooms of %s are %q, want %q", name, got, c.want)
		}
	}
}

func Test_default_rooms(t *testing.T) {
	for _, c := range []struct {
		id   Identity
		want string
	}{
		{Identity{UserID: "u1", Role: RoleStaff, Branches: []string{"b1", "b2"}}, "branch:b1 branch:b2 user-role:staff user:u1 notifications:u1 system:notifications"},
		{Identity{UserID: "u1", Role: RoleManager, Branches: []string{"b1"}}, "branch:b1 user-role:manager user:u1 notifications:u1 system:notifications system:alerts"},
		{Identity{UserID: "u1", Role: RoleAdmin, Branches: []string{"b1"}}, "branch:* user-role:admin user:u1 notifications:u1 system:notifications system:alerts"},
		{Identity{UserID: "u1", Role: RoleStaff}, "user-role:staff user:u1 notifications:u1 system:notifications"},
	} {
		if got := strings.Join(DefaultRooms(c.id), " "); got != c.want {
			t.Errorf("rooms of %+v are %q, want %q", c.id, got, c.want)
		}
	}
}

func Test_default_rooms_may_be_joined(t *testing.T) {
	for _, role := range []string{RoleStaff, RoleManager, RoleAdmin} {
		for _, room := range DefaultRooms(who(role)) {
			if r := MayJoin(who(role), room); r != nil && room != RoomAllBranches {
				t.Errorf("%s is in %s by default and may not join it: %v", role, room, r)
			}
		}
	}
}

func Test_branch_rooms_are_told_apart(t *testing.T) {
	// More branches than the memory of names has places, twice.
	for range 2 {
		for i := range 5000 {
			id := "b" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/700)
			if got := RoomOfBranch(id); got != "branch:"+id {
				t.Fatalf("room of %s is %s", id, got)
			}
		}
	}
}

func Test_fan_out_allocates_nothing(t *testing.T) {
	id := who(RoleStaff)
	for eventType, e := range samples() {
		if eventType == TypeUserUpdated || eventType == TypeSystemNotification {
			continue
		}
		rooms := make([]string, 0, 8)
		if n := testing.AllocsPerRun(100, func() {
			rooms = AppendRooms(rooms[:0], e)
			MaySee(id, NamespacePOS, e)
		}); n != 0 {
			t.Errorf("%s: %v allocations, want none", eventType, n)
		}
	}
}

func Test_an_event_names_a_room_once(t *testing.T) {
	for eventType, e := range samples() {
		rooms := AppendRooms(nil, e)
		slices.Sort(rooms)
		if len(slices.Compact(slices.Clone(rooms))) != len(rooms) {
			t.Errorf("%s goes to %v", eventType, rooms)
		}
	}
}

func Test_internal_events_are_those_that_nobody_is_told_of(t *testing.T) {
	for eventType, e := range samples() {
		if got, want := Internal(eventType), len(AppendRooms(nil, e)) == 0; got != want {
			t.Errorf("%s is internal: %t, want %t", eventType, got, want)
		}
		for _, role := range []string{RoleStaff, RoleManager, RoleAdmin} {
			if Internal(eventType) && MayRead(who(role), e) {
				t.Errorf("%s reads internal %s", role, eventType)
			}
		}
	}
	if Internal("branch:painted") {
		t.Error("an unknown type is internal, want not")
	}
}
