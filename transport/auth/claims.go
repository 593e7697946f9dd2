package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"

	"bms/domain"
)

const maxNameBytes = 256

// claims is the payload of a token. Its times are judged by Verifier.judge and
// not by the jwt package, whose answer to a claim that is there but odd differs
// from claim to claim.
type claims struct {
	Subject   string    `json:"sub"`
	Role      string    `json:"role"`
	BranchID  *string   `json:"branchId,omitempty"`
	Branches  []string  `json:"branches,omitempty"`
	Name      string    `json:"name,omitempty"`
	DeviceID  *string   `json:"deviceId,omitempty"`
	Issuer    string    `json:"iss,omitempty"`
	Audience  audience  `json:"aud,omitempty"`
	ExpiresAt *unixTime `json:"exp,omitempty"`
	NotBefore *unixTime `json:"nbf,omitempty"`
	IssuedAt  *unixTime `json:"iat,omitempty"`
}

// UnmarshalJSON reads an object's members under their exact names, each at most
// once. Claims that are not in the table are passed by.
func (c *claims) UnmarshalJSON(b []byte) error {
	members, err := domain.Members(b)
	if err != nil {
		return fmt.Errorf("the claims: %w", err)
	}
	for name, value := range members {
		if field := c.field(name); field != nil {
			if err := json.Unmarshal(value, field); err != nil {
				return fmt.Errorf("the claim %s: %w", name, err)
			}
		}
	}
	return nil
}

// field is where a claim goes; nil for one that doesn't matter here.
func (c *claims) field(name string) any {
	switch name {
	case "sub":
		return &c.Subject
	case "role":
		return &c.Role
	case "branchId":
		return &c.BranchID
	case "branches":
		return &c.Branches
	case "name":
		return &c.Name
	case "deviceId":
		return &c.DeviceID
	case "iss":
		return &c.Issuer
	case "aud":
		return &c.Audience
	case "exp":
		return &c.ExpiresAt
	case "nbf":
		return &c.NotBefore
	case "iat":
		return &c.IssuedAt
	}
	return nil
}

// unixTime is a NumericDate: a JSON number of seconds between the years 1970
// and 9999.
type unixTime struct{ time.Time }

func (u *unixTime) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return errors.New("a time is not a number")
	}
	const year9999 = 253402300799
	if !(seconds >= 0 && seconds <= year9999) {
		return errors.New("a time is out of range")
	}
	whole, fraction := math.Modf(seconds)
	u.Time = time.Unix(int64(whole), int64(fraction*1e9)).UTC()
	return nil
}

func (u unixTime) MarshalJSON() ([]byte, error) { return json.Marshal(u.Unix()) }

// audience is a text or a list of texts.
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*a = make(audience, 1)
		return json.Unmarshal(b, &(*a)[0])
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// judge decides on a token whose signature is good, but for its expiry. That
// comes last, so that only a token that was good once is called expired.
func (v *Verifier) judge(c *claims) (Token, error) {
	now := v.cfg.Now()
	if v.cfg.Issuer != "" && c.Issuer != v.cfg.Issuer {
		return Token{}, domain.Reject(domain.CodeUnauthorized, "the token is of another issuer")
	}
	if v.cfg.Audience != "" && !slices.Contains(c.Audience, v.cfg.Audience) {
		return Token{}, domain.Reject(domain.CodeUnauthorized, "the token is for another audience")
	}
	latest := now.Add(v.cfg.Leeway)
	if c.NotBefore != nil && c.NotBefore.After(latest) {
		return Token{}, domain.Reject(domain.CodeUnauthorized, "the token is not valid yet")
	}
	if c.IssuedAt != nil && c.IssuedAt.After(latest) {
		return Token{}, domain.Reject(domain.CodeUnauthorized, "the token is issued in the future")
	}
	if c.ExpiresAt == nil {
		return Token{}, domain.Reject(domain.CodeUnauthorized, "the token has no exp")
	}
	id, err := c.identity()
	if err != nil {
		return Token{}, domain.Reject(domain.CodeUnauthorized, "the token's claims are not valid: %s", err)
	}
	return Token{Identity: id, ExpiresAt: c.ExpiresAt.Time}, nil
}

func (v *Verifier) unexpired(t Token) (Token, error) {
	if !t.ExpiresAt.After(v.cfg.Now()) {
		return Token{}, domain.Reject(domain.CodeTokenExpired, "the token has expired, get a new one")
	}
	return t, nil
}

// identity reads who the token is about. Its errors name the claim and repeat
// nothing of it.
func (c *claims) identity() (domain.Identity, error) {
	id := domain.Identity{UserID: c.Subject, Role: c.Role, Name: c.Name}
	if c.DeviceID != nil {
		id.DeviceID = *c.DeviceID
	}
	if len(c.Branches) > 0 || c.BranchID != nil && *c.BranchID != "" {
		id.Branches = slices.Clone(c.Branches)
		if c.BranchID != nil && *c.BranchID != "" {
			id.Branches = append(id.Branches, *c.BranchID)
		}
		slices.Sort(id.Branches)
		id.Branches = slices.Compact(id.Branches)
	}
	return id, checkIdentity(id)
}

func checkIdentity(id domain.Identity) error {
	if !domain.ValidID(id.UserID) {
		return errors.New("sub is not an id ([A-Za-z0-9_-], 1 to 64)")
	}
	switch id.Role {
	case domain.RoleAdmin, domain.RoleManager, domain.RoleStaff:
	default:
		return errors.New("role is none of admin, manager, staff")
	}
	for _, b := range id.Branches {
		if !domain.ValidID(b) {
			return errors.New("a branch is not an id ([A-Za-z0-9_-], 1 to 64)")
		}
	}
	if id.DeviceID != "" && !domain.ValidID(id.DeviceID) {
		return errors.New("deviceId is not an id ([A-Za-z0-9_-], 1 to 64)")
	}
	if len(id.Name) > maxNameBytes || strings.ContainsFunc(id.Name, unicode.IsControl) {
		return fmt.Errorf("name has control characters or more than %d bytes", maxNameBytes)
	}
	return nil
}

// The methods of jwt.Claims; unused, see claims.
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings(c.Audience), nil }
