package domain

import (
	"strings"
	"sync/atomic"
)

// Rooms that have one name. The others are made by the RoomOf… functions.
const (
	// RoomNotifications is for messages to everybody.
	RoomNotifications = "system:notifications"
	// RoomAlerts is for low stock and critical messages; managers and admins.
	RoomAlerts = "system:alerts"
	// RoomAllBranches gets what any branch:{b} gets. Admins are in it instead
	// of in every single branch, so that a new branch is theirs at once. It
	// is internal: no client can join it by name, none is shown it.
	RoomAllBranches = "branch:*"
)

const (
	prefixBranch        = "branch:"
	prefixUser          = "user:"
	prefixRole          = "user-role:"
	prefixNotifications = "notifications:"
)

// audience is the table of who is told: for each event type the rooms that an
// event goes to. Who of a room's members may see it is permission's table.
var audience = map[string][]addressee{
	TypeInventoryUpdated:         {itsBranch},
	TypeProductUpdated:           {itsBranch},
	TypeTransactionCreated:       {itsBranch},
	TypeTransactionStatusChanged: {itsBranch},
	TypeBranchUpdated:            {itsBranch},
	TypeSyncStatus:               {itsBranch},
	TypeLowStockAlert:            {itsBranch, alerts},
	TypeUserUpdated:              {theUser, admins, managers},
	TypeSystemNotification:       {itsAudience, alertsIfCritical},
	TypeTransferDispatched:       {},
	TypeTransferAnnounced:        {},
	TypeTransferRefused:          {},
	TypeTransferReceived:         {},
	TypeTransferWithdrawn:        {},
	TypeTransferReturned:         {},
	TypeSyncHandled:              {},
	TypeNotificationsAcked:       {},
}

// Internal reports whether events of a type are the write side's own: nobody
// is told of them, they are not in answers, nobody may read them in the log.
func Internal(eventType string) bool {
	rooms, known := audience[eventType]
	return known && len(rooms) == 0
}

// addressee appends rooms of an event.
type addressee func(dst []string, e *Event) []string

// AppendRooms appends the rooms that an event goes to, each once. An event of
// a type that this program doesn't know goes to none. It decodes the payload
// of user:updated and system:notification only (none if that fails), and
// allocates for no other type.
func AppendRooms(dst []string, e *Event) []string {
	for _, a := range audience[e.Type] {
		dst = a(dst, e)
	}
	return dst
}

func itsBranch(dst []string, e *Event) []string {
	return append(dst, RoomOfBranch(e.BranchID), RoomAllBranches)
}

func alerts(dst []string, _ *Event) []string   { return append(dst, RoomAlerts) }
func admins(dst []string, _ *Event) []string   { return append(dst, prefixRole+RoleAdmin) }
func managers(dst []string, _ *Event) []string { return append(dst, prefixRole+RoleManager) }

func theUser(dst []string, e *Event) []string {
	if p, ok := payloadOf[UserUpdated](e); ok {
		dst = append(dst, RoomOfUser(p.UserID))
	}
	return dst
}

func itsAudience(dst []string, e *Event) []string {
	p, ok := payloadOf[SystemNotification](e)
	if !ok {
		return dst
	}
	dst = append(dst, p.Audience)
	if strings.HasPrefix(p.Audience, prefixBranch) {
		dst = append(dst, RoomAllBranches)
	}
	return dst
}

func alertsIfCritical(dst []string, e *Event) []string {
	if p, ok := payloadOf[SystemNotification](e); ok && p.Severity == SeverityCritical {
		dst = append(dst, RoomAlerts)
	}
	return dst
}

func payloadOf[P Payload](e *Event) (P, bool) {
	decoded, err := e.Payload()
	if err != nil {
		var none P
		return none, false
	}
	p, ok := decoded.(P)
	return p, ok
}

// DefaultRooms returns the rooms joined on connect, RoomAllBranches for an
// admin among them. The caller owns the slice.
func DefaultRooms(id Identity) []string {
	rooms := make([]string, 0, len(id.Branches)+5)
	if id.Role == RoleAdmin {
		rooms = append(rooms, RoomAllBranches)
	} else {
		for _, b := range id.Branches {
			rooms = append(rooms, RoomOfBranch(b))
		}
	}
	rooms = append(rooms, RoomOfRole(id.Role), RoomOfUser(id.UserID), RoomOfUserNotifications(id.UserID), RoomNotifications)
	if id.Role == RoleAdmin || id.Role == RoleManager {
		rooms = append(rooms, RoomAlerts)
	}
	return rooms
}

// RoomOfRole names the room of everybody with a role.
func RoomOfRole(role string) string { return prefixRole + role }

// RoomOfUser names the room for changes of a user's rights.
func RoomOfUser(userID string) string { return prefixUser + userID }

// RoomOfUserNotifications names the room for messages to one user.
func RoomOfUserNotifications(userID string) string { return prefixNotifications + userID }

// UserOfNotifications returns the user whose notifications go to a room; false
// for a room of another kind.
func UserOfNotifications(room string) (userID string, ok bool) {
	return strings.CutPrefix(room, prefixNotifications)
}

// RoomOfBranch names the room of a branch.
func RoomOfBranch(branchID string) string {
	// FNV-1a. Two branches in one slot cost an allocation, nothing else.
	h := uint32(2166136261)
	for i := range len(branchID) {
		h = (h ^ uint32(branchID[i])) * 16777619
	}
	slot := &branchRooms[h%uint32(len(branchRooms))]
	if room := slot.Load(); room != nil && (*room)[len(prefixBranch):] == branchID {
		return *room
	}
	room := prefixBranch + branchID
	slot.Store(&room)
	return room
}

// branchRooms remembers names made before, so that the fan-out of an event
// allocates nothing. It is bounded and has no effect on any result.
var branchRooms [1024]atomic.Pointer[string]
