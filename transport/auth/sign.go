package auth

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"bms/domain"
)

// Grant is what Sign puts into a token.
type Grant struct {
	Identity domain.Identity
	// IssuedAt and ExpiresAt are cut to whole seconds. ExpiresAt must be the
	// later one.
	IssuedAt  time.Time
	ExpiresAt time.Time
	// Issuer and Audience are left out when empty.
	Issuer   string
	Audience string
}

// Sign makes an HS256 token: for the command line and for development. It
// returns an error for a secret that is too short and for a grant that no
// Verifier would accept.
func Sign(secret []byte, g Grant) (string, error) {
	if len(secret) < MinSecretBytes {
		return "", fmt.Errorf("sign a token: the secret has %d bytes, at least %d are needed", len(secret), MinSecretBytes)
	}
	if err := checkIdentity(g.Identity); err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	if !g.ExpiresAt.After(g.IssuedAt) {
		return "", fmt.Errorf("sign a token: it would expire at %s, before it is issued", g.ExpiresAt.UTC().Format(time.RFC3339))
	}
	c := &claims{
		Subject: g.Identity.UserID, Role: g.Identity.Role, Branches: g.Identity.Branches, Name: g.Identity.Name,
		Issuer: g.Issuer, IssuedAt: &unixTime{g.IssuedAt}, ExpiresAt: &unixTime{g.ExpiresAt},
	}
	if g.Identity.DeviceID != "" {
		c.DeviceID = &g.Identity.DeviceID
	}
	if g.Audience != "" {
		c.Audience = audience{g.Audience}
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	if len(token) > MaxTokenBytes {
		return "", fmt.Errorf("sign a token: it has %d bytes, more than %d", len(token), MaxTokenBytes)
	}
	return token, nil
}
