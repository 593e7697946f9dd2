package httpapi

import (
	"testing"

	"bms/domain"
)

// Who may give a command is said in words of the one table there is, which is
// domain's.
func Test_roles_of_commands_are_those_of_domain(t *testing.T) {
	want := map[string]string{
		domain.CommandOpenBranch:           "admin",
		domain.CommandCreateProduct:        "manager of the branch, admin",
		domain.CommandAdjustStock:          "any role of the branch",
		domain.CommandSetTransactionStatus: "any role of the branch; refunds and voids: manager, admin",
		domain.CommandSendNotification:     "manager, admin; managers to the rooms of their branches",
		domain.CommandSetUser:              "admin",
	}
	for _, row := range commandRoutes {
		if text, ok := want[row.command]; ok && row.roles() != text {
			t.Errorf("%s is for %q, want %q", row.command, row.roles(), text)
		}
		delete(want, row.command)
	}
	if len(want) > 0 {
		t.Errorf("no route for %v", want)
	}
}
