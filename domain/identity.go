package domain

import "slices"

// Roles.
const (
	RoleAdmin   = "admin"
	RoleManager = "manager"
	RoleStaff   = "staff"
)

// roleSystem is the role of SystemIdentity; no token can have it.
const roleSystem = "system"

// Namespaces of the socket interface.
const (
	NamespaceAll   = "/ws"
	NamespacePOS   = "/ws-pos"
	NamespaceAdmin = "/ws-admin"
)

// Identity is who asks: the token's claims, overruled by what the user's
// stream in the log says (User.Overlay).
type Identity struct {
	UserID   string
	Role     string
	Branches []string // sorted, without duplicates
	Name     string
	DeviceID string
	Disabled bool
}

// SystemIdentity is who gives the commands that follow from events. It may
// give those and no others.
func SystemIdentity() Identity { return Identity{Role: roleSystem} }

// isSystem: a user always has an id.
func (id Identity) isSystem() bool { return id.Role == roleSystem && id.UserID == "" }

// OfBranch reports whether the branch is one of the identity's own. Every
// branch is an admin's own.
func (id Identity) OfBranch(branchID string) bool {
	return id.Role == RoleAdmin || slices.Contains(id.Branches, branchID)
}

// ValidID reports whether s can be the id of a user, branch, product, device
// or transaction: [A-Za-z0-9_-]{1,64}.
func ValidID(s string) bool {
	if len(s) < 1 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
