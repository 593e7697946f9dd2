package main

import (
	"time"

	"bms/domain"
	"bms/transport/auth"
)

// signed is a token that is good for an hour.
func signed(user, role string, branches ...string) string {
	return signedFor(time.Hour, user, role, branches...)
}

// signedFor is a token that was issued an hour ago and is good for a time from
// now on, which may be over.
func signedFor(life time.Duration, user, role string, branches ...string) string {
	now := time.Now()
	return signedUntil(now.Add(-time.Hour), now.Add(life), user, role, branches...)
}

// signedUntil panics for a grant that is not a good one: it is the test's own,
// and processes beside the test sign, too.
func signedUntil(issued, expires time.Time, user, role string, branches ...string) string {
	token, err := auth.Sign([]byte(testSecret), auth.Grant{
		Identity: domain.Identity{UserID: user, Role: role, Branches: branches}, IssuedAt: issued, ExpiresAt: expires,
	})
	if err != nil {
		panic(err)
	}
	return token
}

// staffToken is a token of staff of branch b1.
func staffToken(user string) string { return signed(user, domain.RoleStaff, "b1") }
