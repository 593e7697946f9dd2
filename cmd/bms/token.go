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
	signer                   signer
}

// signer signs tokens as a node's flags have it.
type signer struct {
	dataDir, jwtSecret, issuer, audience string
}

func (s *signer) define(f *flagSet) {
	f.StringVar(&s.dataDir, "data", "./data", "data `folder` whose development key signs if there is no --jwt-secret")
	f.secret(&s.jwtSecret, "jwt-secret", "HS256 `key` to sign with, at least 32 bytes")
	f.StringVar(&s.issuer, "jwt-issuer", "", "`iss` of the token")
	f.StringVar(&s.audience, "jwt-audience", "", "`aud` of the token")
}

// sign signs a token for a time from now on. The error wraps fs.ErrNotExist if
// there is no key.
func (s *signer) sign(id domain.Identity, ttl time.Duration) (string, error) {
	secret := []byte(s.jwtSecret)
	if len(secret) == 0 {
		key, err := readDevKey(s.dataDir)
		if err != nil {
			return "", err
		}
		secret = key
	}
	now := time.Now()
	token, err := auth.Sign(secret, auth.Grant{Identity: id, IssuedAt: now, ExpiresAt: now.Add(ttl), Issuer: s.issuer, Audience: s.audience})
	if err != nil {
		return "", usagef("%v", err)
	}
	return token, nil
}

func tokenCommand() (*flagSet, runFunc) {
	f, c := newFlagSet("token"), &tokenConfig{}
	f.StringVar(&c.user, "user", "", "`id` of the user")
	define(f, &c.role, "role", domain.RoleStaff, oneOf(domain.RoleAdmin, domain.RoleManager, domain.RoleStaff), "`role`: admin, manager or staff")
	defineList(f, &c.branches, "branch", parseID, "the user's `branches`, comma list; an admin needs none")
	f.StringVar(&c.name, "name", "", "`name` of the user, for people")
	f.StringVar(&c.device, "device", "", "`id` of the device that will use the token")
	define(f, &c.ttl, "ttl", "1h", parseDuration, "`time` until it expires")
	c.signer.define(f)
	return f, func(_ context.Context, stdout, _ io.Writer) error { return printToken(c, stdout) }
}

func printToken(c *tokenConfig, stdout io.Writer) error {
	if c.user == "" {
		return usagef("--user is empty: whose token is it to be?")
	}
	if c.role != domain.RoleAdmin && len(c.branches) == 0 {
		return usagef("--branch is empty: %s belongs to at least one branch", c.role)
	}
	slices.Sort(c.branches)
	id := domain.Identity{UserID: c.user, Role: c.role, Branches: slices.Compact(c.branches), Name: c.name, DeviceID: c.device}
	token, err := c.signer.sign(id, c.ttl)
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("no signing key: give --jwt-secret (BMS_JWT_SECRET, BMS_JWT_SECRET_FILE), or --data of a node that runs with --dev")
	}
	if err != nil {
		return err
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
