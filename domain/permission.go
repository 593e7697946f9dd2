package domain

import (
	"slices"
	"strings"
)

// visibility is the table of who may see: for each event type and role which
// members of its rooms, and whether it is for tills. /ws shows all of it,
// /ws-pos the rows with pos, /ws-admin admins everything.
var visibility = map[string]struct {
	staff, manager, admin sight
	pos                   bool
}{
	//                            staff      manager      admin     pos
	TypeInventoryUpdated:         {ofBranch, ofBranch, everyone, true},
	TypeProductUpdated:           {ofBranch, ofBranch, everyone, true},
	TypeTransactionCreated:       {ofBranch, ofBranch, everyone, true},
	TypeTransactionStatusChanged: {ofBranch, ofBranch, everyone, true},
	TypeLowStockAlert:            {ofBranch, ofBranch, everyone, true},
	TypeBranchUpdated:            {ofBranch, ofBranch, everyone, true},
	TypeSyncStatus:               {ofBranch, ofBranch, everyone, true},
	TypeSystemNotification:       {everyone, everyone, everyone, true},
	TypeUserUpdated:              {oneself, ownStaff, everyone, false},
	TypeTransferDispatched:       {nobody, nobody, nobody, false},
	TypeTransferAnnounced:        {nobody, nobody, nobody, false},
	TypeTransferRefused:          {nobody, nobody, nobody, false},
	TypeTransferReceived:         {nobody, nobody, nobody, false},
	TypeTransferWithdrawn:        {nobody, nobody, nobody, false},
	TypeTransferReturned:         {nobody, nobody, nobody, false},
	TypeSyncHandled:              {nobody, nobody, nobody, false},
	TypeNotificationsAcked:       {nobody, nobody, nobody, false},
}

// sight says which members of an event's rooms see it.
type sight int

const (
	nobody   sight = iota
	everyone       // who is in one of its rooms
	ofBranch       // whose branch the event's is
	oneself        // the user whom it is about
	ownStaff       // oneself, and whoever has one of that user's branches, before the change or after
)

// commands is the table of who may do what. An admin may do all that is not
// the system's.
var commands = map[string]struct {
	staff, manager bool
	inBranch       bool // in the name of a branch: one's own
	system         bool // by the system alone, see SystemIdentity
}{
	//                           staff  manager  inBranch  system
	CommandOpenBranch:           {false, false, true, false},
	CommandChangeBranch:         {false, false, true, false},
	CommandCreateProduct:        {false, true, true, false},
	CommandChangeProduct:        {false, true, true, false},
	CommandDeleteProduct:        {false, true, true, false},
	CommandCountStock:           {true, true, true, false},
	CommandAdjustStock:          {true, true, true, false},
	CommandAdjustStockBulk:      {false, true, true, false},
	CommandCreateTransaction:    {true, true, true, false},
	CommandSetTransactionStatus: {true, true, true, false}, // see managersStatus
	CommandDispatchTransfer:     {false, true, true, false},
	CommandReceiveTransfer:      {false, true, true, false},
	CommandCancelTransfer:       {false, true, true, false},
	CommandSubmitSync:           {true, true, true, false}, // see maySync
	CommandSetUser:              {false, false, false, false},
	CommandChangeUser:           {false, false, false, false},
	CommandSendNotification:     {false, true, false, false}, // see mayAddress
	CommandAckNotifications:     {true, true, false, false},  // one's own
	CommandAnnounceTransfer:     {false, false, true, true},
	CommandReturnTransfer:       {false, false, true, true},
}

// managersStatus lists the statuses that staff may not give a transaction.
var managersStatus = []string{StatusVoided, StatusPartiallyRefunded, StatusRefunded}

// OfSystem reports whether commands of a type are the system's alone: what
// follows from events (FollowUps).
func OfSystem(commandType string) bool { return commands[commandType].system }

// MaySee reports whether a member of one of the event's rooms sees it in a
// namespace. It decodes the payload of user:updated only, and does not
// allocate for any other type. An event of an unknown type is seen by nobody.
func MaySee(id Identity, namespace string, e *Event) bool {
	row := visibility[e.Type]
	switch namespace {
	case NamespaceAll:
	case NamespacePOS:
		if !row.pos {
			return false
		}
	case NamespaceAdmin:
		if id.Role != RoleAdmin {
			return false
		}
	default:
		return false
	}
	var s sight
	switch id.Role {
	case RoleStaff:
		s = row.staff
	case RoleManager:
		s = row.manager
	case RoleAdmin:
		s = row.admin
	}
	switch s {
	case everyone:
		return true
	case ofBranch:
		return id.OfBranch(e.BranchID)
	case oneself, ownStaff:
		p, ok := payloadOf[UserUpdated](e)
		return ok && (p.UserID == id.UserID || s == ownStaff &&
			(slices.ContainsFunc(p.Branches, id.OfBranch) || slices.ContainsFunc(p.LeftBranches, id.OfBranch)))
	default:
		return false
	}
}

// MayRead reports whether an identity may see an event in the log itself:
// it could be in one of its rooms, and may see it there.
func MayRead(id Identity, e *Event) bool {
	if !MaySee(id, NamespaceAll, e) {
		return false
	}
	var buf [4]string
	return slices.ContainsFunc(AppendRooms(buf[:0], e), func(room string) bool {
		return room != RoomAllBranches && MayJoin(id, room) == nil
	})
}

// MayJoin says why an identity may not be in a room, nil if it may: "branch:"
// one's own, "user-role:" one's own, "user:" and "notifications:" oneself,
// RoomNotifications everybody, RoomAlerts manager and admin. An admin may be
// in every room. RoomAllBranches is not a name. The codes are
// branch_forbidden, role_forbidden, unauthorized for a disabled user, and
// validation for what is no room's name.
func MayJoin(id Identity, room string) *Rejection {
	if id.Disabled {
		return disabled()
	}
	if room == RoomNotifications {
		return nil
	}
	if room == RoomAlerts {
		if id.Role != RoleAdmin && id.Role != RoleManager {
			return Reject(CodeRoleForbidden, "%s is for managers and admins", room)
		}
		return nil
	}
	prefix, name, _ := strings.Cut(room, ":")
	if !ValidID(name) {
		return noRoom()
	}
	switch prefix + ":" {
	case prefixBranch:
		if !id.OfBranch(name) {
			return Reject(CodeBranchForbidden, "branch %s is not yours", name)
		}
	case prefixRole:
		if !validRole(name) {
			return noRoom()
		}
		if id.Role != RoleAdmin && name != id.Role {
			return Reject(CodeRoleForbidden, "%s is for role %s", room, name)
		}
	case prefixUser, prefixNotifications:
		if id.Role != RoleAdmin && name != id.UserID {
			return Reject(CodeRoleForbidden, "%s is another user's", room)
		}
	default:
		return noRoom()
	}
	return nil
}

func noRoom() *Rejection {
	return Invalid(FieldError{Field: "room", Message: "is not a room's name: branch:{id}, user-role:{role}, user:{id}, notifications:{id}, system:notifications, system:alerts"})
}

// MayConnect says why an identity may not open a namespace, nil if it may.
// The codes are forbidden_namespace, and unauthorized for a disabled user.
func MayConnect(id Identity, namespace string) *Rejection {
	switch {
	case id.Disabled:
		return disabled()
	case !validRole(id.Role):
		return Reject(CodeForbiddenNamespace, "role %q is none of admin, manager, staff", id.Role)
	case namespace == NamespaceAll,
		namespace == NamespacePOS && (id.Role == RoleAdmin || len(id.Branches) > 0),
		namespace == NamespaceAdmin && id.Role == RoleAdmin:
		return nil
	case namespace == NamespacePOS:
		return Reject(CodeForbiddenNamespace, "%s is for users with a branch", namespace)
	case namespace == NamespaceAdmin:
		return Reject(CodeForbiddenNamespace, "%s is for admins", namespace)
	default:
		return Reject(CodeForbiddenNamespace, "there is no such namespace; /ws, /ws-pos and /ws-admin are")
	}
}

// MayCommand says why an identity may not give a command in a branch, nil if
// it may as far as that is known before the state: who may refund, void, and
// address a notification to whom is Decide's. branchID matters only to
// commands of a branch. The codes are role_forbidden, branch_forbidden,
// unauthorized for a disabled user, and validation for an unknown type.
func MayCommand(id Identity, commandType, branchID string) *Rejection {
	row, known := commands[commandType]
	switch {
	case id.Disabled:
		return disabled()
	case !known:
		return unknownCommand()
	case row.system != id.isSystem():
		return Reject(CodeRoleForbidden, "%s is not for role %q", commandType, id.Role)
	case row.system, id.Role == RoleAdmin:
		return nil
	case id.Role == RoleManager && !row.manager, id.Role == RoleStaff && !row.staff, !validRole(id.Role):
		return Reject(CodeRoleForbidden, "%s is not for role %q", commandType, id.Role)
	case row.inBranch && !id.OfBranch(branchID):
		return Reject(CodeBranchForbidden, "branch %q is not yours", branchID)
	default:
		return nil
	}
}

// maySetStatus is the part of the table that depends on the status.
func maySetStatus(id Identity, status string) *Rejection {
	if id.Role == RoleStaff && slices.Contains(managersStatus, status) {
		return Reject(CodeRoleForbidden, "refunds and voids are for managers and admins")
	}
	return nil
}

// maySync says why an identity may not hand in a device's sales: a token that
// names a device is for that one.
func maySync(id Identity, deviceID string) *Rejection {
	if id.DeviceID != "" && id.DeviceID != deviceID {
		return Reject(CodeRoleForbidden, "the token is device %s's", id.DeviceID)
	}
	return nil
}

// mayAddress says why an identity may not send to an audience: a manager's
// are the rooms of his own branches.
func mayAddress(id Identity, audience string) *Rejection {
	if id.Role == RoleAdmin {
		return nil
	}
	branch, ok := strings.CutPrefix(audience, prefixBranch)
	if !ok {
		return Reject(CodeRoleForbidden, "a manager sends to the rooms of own branches only")
	}
	if !id.OfBranch(branch) {
		return Reject(CodeBranchForbidden, "branch %q is not yours", branch)
	}
	return nil
}

func disabled() *Rejection { return Reject(CodeUnauthorized, "the user is disabled; ask an admin") }

func validRole(role string) bool {
	return role == RoleAdmin || role == RoleManager || role == RoleStaff
}
