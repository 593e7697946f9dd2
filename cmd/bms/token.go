package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"bms/domain"
	"bms/transport/auth"
)

// tokenConfig is what `bms token` was told.
type tokenConfig struct {
	user, role, name, device string
	branches                 []string
	ttl                      time.Duration
	dataDir, jwtSecret       string
	issuer, audience         string
}

func tokenCommand() (*flagSet, runFunc) {
	f, c := newFlagSet("token"), &tokenConfig{}
	f.StringVar(&c.user, "user", "", "`id` of the user")
	define(f, &c.role, "role", domain.RoleStaff, oneOf(domain.RoleAdmin, domain.RoleManager, domain.RoleStaff), "`role`: admin, manager or staff")
	defineList(f, &c.branches, "branch", parseID, "the user's `branches`, comma list; an admin needs none")
	f.StringVar(&c.name, "name", "", "`name` of the user, for people")
	f.StringVar(&c.device, "device", "", "`id` of the device that will use the token")
	define(f, &c.ttl, "ttl", "1h", parseDuration, "`time` until it expires")
	f.StringVar(&c.dataDir, "data", "./data", "data `folder` whose development key signs if there is no --jwt-secret")
	f.secret(&c.jwtSecret, "jwt-secret", "HS256 `key` to sign with, at least 32 bytes")
	f.StringVar(&c.issuer, "jwt-issuer", "", "`iss` of the token")
	f.StringVar(&c.audience, "jwt-audience", "", "`aud` of the token")
	return f, func(_ context.Context, stdout, _ io.Writer) error { return printToken(c, stdout) }
}

func printToken(c *tokenConfig, stdout io.Writer) error {
	if c.user == "" {
		return usagef("--user is empty: whose token is it to be?")
	}
	if c.role != domain.RoleAdmin && len(c.branches) == 0 {
		return usagef("--branch is empty: %s belongs to at least one branch", c.role)
	}
	secret := []byte(c.jwtSecret)
	if len(secret) == 0 {
		key, err := readDevKey(c.dataDir)
		if errors.Is(err, fs.ErrNotExist) {
			return usagef("no signing key: give --jwt-secret (BMS_JWT_SECRET, BMS_JWT_SECRET_FILE), or --data of a node that runs with --dev")
		}
		if err != nil {
			return err
		}
		secret = key
	}
	slices.Sort(c.branches)
	now := time.Now()
	token, err := auth.Sign(secret, auth.Grant{
		Identity: domain.Identity{UserID: c.user, Role: c.role, Branches: slices.Compact(c.branches), Name: c.name, DeviceID: c.device},
		IssuedAt: now, ExpiresAt: now.Add(c.ttl),
		Issuer: c.issuer, Audience: c.audience,
	})
	if err != nil {
		return usagef("%v", err)
	}
	_, err = fmt.Fprintln(stdout, token)
	return err
}

func parseID(s string) (string, error) {
	if !domain.ValidID(s) {
		return "", errors.New("want an id: letters, digits, _ and -, at most 64")
	}
	return s, nil
}
