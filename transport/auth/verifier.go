package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"bms/domain"
)

const (
	// MinSecretBytes is the least length of an HS256 secret.
	MinSecretBytes = 32
	// MaxTokenBytes bounds a token before anything of it is parsed.
	MaxTokenBytes = 8 << 10
	maxKeyID      = 256
)

// Config says which tokens are good. At least one of Secret and JWKSURL must
// be set; both may be.
type Config struct {
	// Secret is the HS256 key, at least MinSecretBytes long.
	Secret []byte
	// JWKSURL gives RS256, ES256 and EdDSA keys; http or https. Verifier.Run
	// must be running for it.
	JWKSURL string
	// JWKSRefresh is how old the key set may get before it is read again.
	// Zero value means 5 minutes.
	JWKSRefresh time.Duration
	// JWKSMinInterval is the least time between two reads of the key set,
	// whatever tokens ask for. Zero value means 10 seconds.
	JWKSMinInterval time.Duration
	// JWKSTimeout bounds one read of the key set. Zero value means 5 seconds.
	JWKSTimeout time.Duration
	// Issuer and Audience are checked when set.
	Issuer   string
	Audience string
	// Leeway is how far in the future nbf and iat may lie, for clocks that
	// differ. Zero value means 5 seconds. An exp has no leeway: a connection
	// ends when its token does.
	Leeway time.Duration
	// Transport reads the key set. Nil means a transport of its own.
	Transport http.RoundTripper
	// Logger gets a line when the key set changes or can't be read, without
	// what the address has of user, password and query. Nil means none.
	Logger *slog.Logger
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Token is what a good token says. It is shared: its branches must not be
// changed.
type Token struct {
	Identity  domain.Identity
	ExpiresAt time.Time
}

// Verifier tells good tokens from bad ones.
type Verifier struct {
	cfg     Config
	parser  *jwt.Parser
	keys    *remoteKeys // nil without a JWKSURL
	good    *remembered
	methods []string
}

// New checks the configuration; the error names the field. It reads nothing
// from the network.
func New(cfg Config) (*Verifier, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Leeway == 0 {
		cfg.Leeway = 5 * time.Second
	}
	v := &Verifier{cfg: cfg, good: newRemembered()}
	if len(cfg.Secret) == 0 && cfg.JWKSURL == "" {
		return nil, errors.New("neither Secret nor JWKSURL is set: no token could be checked")
	}
	if len(cfg.Secret) > 0 {
		if len(cfg.Secret) < MinSecretBytes {
			return nil, fmt.Errorf("the Secret has %d bytes, at least %d are needed", len(cfg.Secret), MinSecretBytes)
		}
		v.methods = append(v.methods, jwt.SigningMethodHS256.Alg())
	}
	if cfg.JWKSURL != "" {
		keys, err := newRemoteKeys(cfg)
		if err != nil {
			return nil, err
		}
		v.keys = keys
		v.methods = append(v.methods, algRS256, algES256, algEdDSA)
	}
	v.parser = jwt.NewParser(jwt.WithValidMethods(v.methods), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	return v, nil
}

// Run reads the key set at once and then keeps it fresh, until the context
// ends. It returns nil then, and at once when there is no JWKSURL.
func (v *Verifier) Run(ctx context.Context) error {
	if v.keys == nil {
		return nil
	}
	v.keys.run(ctx)
	return nil
}

// Ready returns nil unless tokens can't be checked because the key set has
// never been read. Its text is for anyone; why it is so is in the log.
func (v *Verifier) Ready() error {
	if v.keys == nil {
		return nil
	}
	return v.keys.ready()
}

// Verify checks a token. The error is always a *domain.Rejection: token_expired
// for a token that is good but for its time, overloaded (with retryAfter) when
// it names a key that is not held and no key set was read since the token first
// came, so that the key may be a new one, unauthorized for all else. Verify
// waits for the key server, for a bounded time, only when such a token comes
// and a read is due.
func (v *Verifier) Verify(ctx context.Context, token string) (Token, error) {
	if token == "" {
		return Token{}, domain.Reject(domain.CodeUnauthorized, "a token is needed")
	}
	if len(token) > MaxTokenBytes {
		return Token{}, domain.Reject(domain.CodeUnauthorized, "the token is longer than %d bytes", MaxTokenBytes)
	}
	if strings.Count(token, ".") != 2 {
		return Token{}, domain.Reject(domain.CodeUnauthorized, "the token is not a JWT")
	}
	hash, set := tokenHash(sha256.Sum256([]byte(token))), v.keys.set()
	if t, ok := v.good.find(hash, set); ok {
		return v.unexpired(t)
	}
	var c claims
	if _, err := v.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) { return v.keyFor(ctx, t, hash) }); err != nil {
		if r, ok := errors.AsType[*domain.Rejection](err); ok {
			return Token{}, r
		}
		return Token{}, domain.Reject(domain.CodeUnauthorized, "the token is not valid: %s", reason(err))
	}
	t, err := v.judge(&c)
	if err != nil {
		return Token{}, err
	}
	v.good.add(hash, set, t)
	return v.unexpired(t)
}

// reason says what is wrong with a token without repeating any of it.
func reason(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return "not a well-formed JWT of this API"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return "its signature or algorithm is wrong"
	default:
		return "it can't be checked"
	}
}

// keyFor gives the key or keys to try. The parser has let only v.methods
// through; the key decides which of them it is good for.
func (v *Verifier) keyFor(ctx context.Context, t *jwt.Token, hash tokenHash) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("critical header extensions are not understood")
	}
	alg := t.Method.Alg()
	if alg == jwt.SigningMethodHS256.Alg() {
		if len(v.cfg.Secret) == 0 { // anybody can sign with that
			return nil, errors.New("there is no secret")
		}
		return v.cfg.Secret, nil
	}
	kid := ""
	if raw, ok := t.Header["kid"]; ok {
		kid, ok = raw.(string)
		if !ok || kid == "" || len(kid) > maxKeyID {
			return nil, errors.New("kid is not a short text")
		}
	}
	keys, err := v.keys.lookup(ctx, alg, kid, hash)
	if err != nil {
		return nil, err
	}
	set := jwt.VerificationKeySet{Keys: make([]jwt.VerificationKey, len(keys))}
	for i, k := range keys {
		set.Keys[i] = k
	}
	return set, nil
}

// algFor is the one algorithm a public key is good for.
func algFor(key any) string {
	switch key.(type) {
	case *rsa.PublicKey:
		return algRS256
	case *ecdsa.PublicKey:
		return algES256
	case ed25519.PublicKey:
		return algEdDSA
	}
	return ""
}
