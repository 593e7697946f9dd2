package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"bms/domain"
)

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func newVerifier(t testing.TB, change func(*Config)) *Verifier {
	t.Helper()
	cfg := Config{Secret: secret, Now: func() time.Time { return noon }}
	if change != nil {
		change(&cfg)
	}
	v, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// raw makes a token of any header and claims, signed with HS256 under key.
func raw(t testing.TB, header, claims map[string]any, key []byte) string {
	t.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	sig, err := jwt.SigningMethodHS256.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func hs256() map[string]any { return map[string]any{"alg": "HS256", "typ": "JWT"} }

// good is the claims of a good token, with changes; a nil value takes a claim
// out.
func good(changes ...any) map[string]any {
	c := map[string]any{"sub": "u1", "role": "staff", "branchId": "b1", "exp": noon.Add(time.Hour).Unix()}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(c, changes[i].(string))
		} else {
			c[changes[i].(string)] = changes[i+1]
		}
	}
	return c
}

func code(err error) string {
	if r, ok := errors.AsType[*domain.Rejection](err); ok {
		return r.Code
	}
	if err != nil {
		return "not a rejection: " + err.Error()
	}
	return ""
}

func Test_claims(t *testing.T) {
	tests := []struct {
		name   string
		claims map[string]any
		want   string
	}{
		{"a_good_token", good(), ""},
		{"no_exp", good("exp", nil), domain.CodeUnauthorized},
		{"exp_as_string", good("exp", "4102444800"), domain.CodeUnauthorized},
		{"exp_1e300", good("exp", 1e300), domain.CodeUnauthorized},
		{"exp_negative", good("exp", -1), domain.CodeUnauthorized},
		{"exp_true", good("exp", true), domain.CodeUnauthorized},
		{"exp_passed", good("exp", noon.Add(-time.Second).Unix()), domain.CodeTokenExpired},
		{"exp_now", good("exp", noon.Unix()), domain.CodeTokenExpired},
		{"exp_fraction_to_come", good("exp", float64(noon.Unix())+0.5), ""},
		{"exp_passed_and_no_rights", good("exp", noon.Unix(), "role", "root"), domain.CodeUnauthorized},
		{"nbf_in_the_future", good("nbf", noon.Add(time.Minute).Unix()), domain.CodeUnauthorized},
		{"nbf_within_leeway", good("nbf", noon.Add(3*time.Second).Unix()), ""},
		{"nbf_as_string", good("nbf", "x"), domain.CodeUnauthorized},
		{"iat_in_the_future", good("iat", noon.Add(time.Minute).Unix()), domain.CodeUnauthorized},
		{"no_sub", good("sub", nil), domain.CodeUnauthorized},
		{"sub_with_a_slash", good("sub", "a/b"), domain.CodeUnauthorized},
		{"sub_a_number", good("sub", 7), domain.CodeUnauthorized},
		{"no_role", good("role", nil), domain.CodeUnauthorized},
		{"role_unknown", good("role", "Admin"), domain.CodeUnauthorized},
		{"branch_with_nul", good("branchId", "b1\x00"), domain.CodeUnauthorized},
		{"branch_star", good("branches", []string{"*"}), domain.CodeUnauthorized},
		{"branches_not_a_list", good("branches", "b1"), domain.CodeUnauthorized},
		{"branch_empty", good("branchId", ""), ""},
		{"name_with_newline", good("name", "a\nb"), domain.CodeUnauthorized},
		{"name_too_long", good("name", strings.Repeat("n", 300)), domain.CodeUnauthorized},
		{"device_not_an_id", good("deviceId", "till 1"), domain.CodeUnauthorized},
		{"claims_a_list", nil, domain.CodeUnauthorized},
	}
	v := newVerifier(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), raw(t, hs256(), tt.claims, secret))
			if got := code(err); got != tt.want {
				t.Fatalf("Verify: %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

// A claim has one name and one value, also for those who read JSON otherwise.
func Test_claims_are_read_strictly(t *testing.T) {
	v := newVerifier(t, nil)
	for name, tt := range map[string]struct{ claims, want string }{
		"role_in_another_case":     {`{"sub":"u1","role":"staff","Role":"admin","exp":4102444800}`, domain.RoleStaff},
		"only_in_another_case":     {`{"sub":"u1","ROLE":"admin","exp":4102444800}`, ""},
		"role_twice":               {`{"sub":"u1","role":"staff","role":"admin","exp":4102444800}`, ""},
		"role_twice_the_same":      {`{"sub":"u1","role":"staff","role":"staff","exp":4102444800}`, ""},
		"role_twice_by_an_escape":  {`{"sub":"u1","role":"staff","r\u006fle":"admin","exp":4102444800}`, ""},
		"role_twice_in_another":    {`{"sub":"u1","role":"staff","x":{"role":"admin"},"exp":4102444800}`, domain.RoleStaff},
		"exp_twice":                {`{"sub":"u1","role":"staff","exp":1,"exp":4102444800}`, ""},
		"a_foreign_claim_twice":    {`{"sub":"u1","role":"staff","x":1,"x":2,"exp":4102444800}`, ""},
		"a_letter_that_folds_to_s": {`{"sub":"u1","role":"staff","ſub":"boss","exp":4102444800}`, domain.RoleStaff},
		"trailing_data":            {`{"sub":"u1","role":"staff","exp":4102444800}{}`, ""},
		"null":                     {`null`, ""},
		"role_null":                {`{"sub":"u1","role":null,"exp":4102444800}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := v.Verify(t.Context(), withClaims(t, tt.claims))
			if got.Identity.Role != tt.want || err == nil == (tt.want == "") {
				t.Errorf("role %q (%v), want %q", got.Identity.Role, err, tt.want)
			}
			if err == nil && got.Identity.UserID != "u1" {
				t.Errorf("user %q, want u1", got.Identity.UserID)
			}
		})
	}
}

// withClaims is a token with a good signature over a text.
func withClaims(t testing.TB, claims string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	sig, err := jwt.SigningMethodHS256.Sign(text, secret)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func Test_identity_is_what_the_claims_say(t *testing.T) {
	v := newVerifier(t, nil)
	got, err := v.Verify(t.Context(), raw(t, hs256(), good("role", "manager", "branches", []string{"b3", "b2", "b3"}, "name", "Ann", "deviceId", "till-1"), secret))
	if err != nil {
		t.Fatal(err)
	}
	id := got.Identity
	if id.UserID != "u1" || id.Role != domain.RoleManager || id.Name != "Ann" || id.DeviceID != "till-1" || id.Disabled {
		t.Errorf("identity %+v", id)
	}
	if want := []string{"b1", "b2", "b3"}; !slices.Equal(id.Branches, want) {
		t.Errorf("branches %v, want %v", id.Branches, want)
	}
	if want := noon.Add(time.Hour); !got.ExpiresAt.Equal(want) {
		t.Errorf("expires %s, want %s", got.ExpiresAt, want)
	}
}

func Test_issuer_and_audience(t *testing.T) {
	v := newVerifier(t, func(c *Config) { c.Issuer, c.Audience = "https://idp", "bms" })
	tests := []struct {
		name     string
		iss, aud any
		want     string
	}{
		{"both_right", "https://idp", "bms", ""},
		{"audience_in_a_list", "https://idp", []string{"x", "bms"}, ""},
		{"wrong_issuer", "https://idp/", "bms", domain.CodeUnauthorized},
		{"no_issuer", nil, "bms", domain.CodeUnauthorized},
		{"wrong_audience", "https://idp", "bms2", domain.CodeUnauthorized},
		{"wrong_audience_list", "https://idp", []string{"x"}, domain.CodeUnauthorized},
		{"no_audience", "https://idp", nil, domain.CodeUnauthorized},
		{"audience_an_object", "https://idp", map[string]any{"bms": 1}, domain.CodeUnauthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), raw(t, hs256(), good("iss", tt.iss, "aud", tt.aud), secret))
			if got := code(err); got != tt.want {
				t.Fatalf("Verify: %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func Test_forms_that_are_no_token(t *testing.T) {
	v := newVerifier(t, nil)
	sound := raw(t, hs256(), good(), secret)
	tests := map[string]string{
		"empty":                  "",
		"two_parts":              sound[:strings.LastIndexByte(sound, '.')],
		"no_signature":           sound[:strings.LastIndexByte(sound, '.')+1],
		"other_secret":           raw(t, hs256(), good(), []byte("ffffffffffffffffffffffffffffffff")),
		"space_in_front":         " " + sound,
		"padded":                 sound + "=",
		"loose_last_bits":        loosen(sound),
		"alg_none":               raw(t, map[string]any{"alg": "none"}, good(), secret),
		"alg_None":               raw(t, map[string]any{"alg": "None"}, good(), secret),
		"alg_nOnE":               raw(t, map[string]any{"alg": "nOnE"}, good(), secret),
		"alg_NONE_without_sig":   cutSignature(raw(t, map[string]any{"alg": "NONE"}, good(), secret)),
		"alg_none_without_sig":   cutSignature(raw(t, map[string]any{"alg": "none"}, good(), secret)),
		"alg_missing":            raw(t, map[string]any{"typ": "JWT"}, good(), secret),
		"alg_a_number":           raw(t, map[string]any{"alg": 256}, good(), secret),
		"alg_HS512":              raw(t, map[string]any{"alg": "HS512"}, good(), secret),
		"alg_RS256_without_jwks": raw(t, map[string]any{"alg": "RS256"}, good(), secret),
		"critical_extension":     raw(t, map[string]any{"alg": "HS256", "crit": []string{"b64"}, "b64": false}, good(), secret),
	}
	for name, token := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), token)
			if got := code(err); got != domain.CodeUnauthorized {
				t.Fatalf("Verify: %q (%v), want %q", got, err, domain.CodeUnauthorized)
			}
			if len(token) > 20 && strings.Contains(err.Error(), token[:20]) {
				t.Errorf("the answer repeats the token: %v", err)
			}
		})
	}
}

// What is bounded is refused by its bound, before anything of it is parsed.
func Test_tokens_are_bounded_before_they_are_parsed(t *testing.T) {
	v := newVerifier(t, nil)
	sound := raw(t, hs256(), good(), secret)
	for name, tt := range map[string]struct{ token, reason string }{
		"a_megabyte_of_dots":    {strings.Repeat(".", 1<<20), "longer than 8192 bytes"},
		"too_long":              {sound + strings.Repeat("A", MaxTokenBytes), "longer than 8192 bytes"},
		"too_long_but_all_good": {raw(t, hs256(), good("padding", strings.Repeat("x", MaxTokenBytes)), secret), "longer than 8192 bytes"},
		"as_many_dots_as_fit":   {strings.Repeat(".", MaxTokenBytes), "not a JWT"},
		"encrypted":             {sound + ".AAAA.AAAA", "not a JWT"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), tt.token)
			if code(err) != domain.CodeUnauthorized || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("Verify: %v, want %s because it is %s", err, domain.CodeUnauthorized, tt.reason)
			}
		})
	}
}

func cutSignature(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }

// loosen changes the bits of the last character that belong to no byte: the
// same signature in another text.
func loosen(token string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(digits, token[len(token)-1])
	return token[:len(token)-1] + string(digits[last^1])
}

func Test_headers_that_point_at_keys_are_ignored(t *testing.T) {
	v := newVerifier(t, nil)
	header := map[string]any{"alg": "HS256", "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/cert", "x5c": []string{"x"}, "jwk": map[string]any{"kty": "oct", "k": "AAAA"}, "kid": "../../dev/null"}
	if _, err := v.Verify(t.Context(), raw(t, header, good(), secret)); err != nil {
		t.Errorf("a good signature with such headers: %v, want none", err)
	}
	if _, err := v.Verify(t.Context(), raw(t, header, good(), make([]byte, 3))); code(err) != domain.CodeUnauthorized {
		t.Errorf("signed with the key of its own header: %v, want %s", err, domain.CodeUnauthorized)
	}
}

func Test_public_key_is_no_secret(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	server := newKeyServer(t)
	server.serve(jwkOf(t, "k1", &key.PublicKey))
	v := server.verifier(t, nil)
	for name, key := range map[string][]byte{"pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "der": der, "modulus": key.N.Bytes(), "nothing": {}} {
		_, err := v.Verify(t.Context(), raw(t, map[string]any{"alg": "HS256", "kid": "k1"}, good(), key))
		if code(err) != domain.CodeUnauthorized {
			t.Errorf("HS256 under the public key as %s: %v, want %s", name, err, domain.CodeUnauthorized)
		}
	}
	// Two guards, each enough by itself: who takes one out is told.
	if slices.Contains(v.methods, "HS256") {
		t.Errorf("a verifier without a secret lets %v through, want no HS256", v.methods)
	}
	if got, err := v.keyFor(t.Context(), &jwt.Token{Method: jwt.SigningMethodHS256, Header: hs256()}, tokenHash{}); err == nil {
		t.Errorf("a verifier without a secret gives HS256 the key %v, want an error", got)
	}
}

func Test_a_remembered_token_still_expires(t *testing.T) {
	now := noon
	v := newVerifier(t, func(c *Config) { c.Now = func() time.Time { return now } })
	token := raw(t, hs256(), good("exp", noon.Add(time.Minute).Unix()), secret)
	for range 3 {
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		now = now.Add(29 * time.Second)
	}
	if _, err := v.Verify(t.Context(), token); code(err) != domain.CodeTokenExpired {
		t.Errorf("after its time: %v, want %s", err, domain.CodeTokenExpired)
	}
	if _, err := v.Verify(t.Context(), token[:len(token)-4]+"AAAA"); code(err) != domain.CodeUnauthorized {
		t.Errorf("with another signature: %v, want %s", err, domain.CodeUnauthorized)
	}
}

func Test_config_is_checked(t *testing.T) {
	for name, cfg := range map[string]Config{
		"neither": {}, "Secret": {Secret: make([]byte, 31)}, "JWKSURL": {JWKSURL: "ftp://host/keys"},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New: %v, want an error that names %s", err, name)
		}
	}
}

func Test_sign_makes_what_verify_takes(t *testing.T) {
	id := domain.Identity{UserID: "u9", Role: domain.RoleManager, Branches: []string{"b1", "b2"}, Name: "Ben", DeviceID: "till"}
	token, err := Sign(secret, Grant{Identity: id, IssuedAt: noon, ExpiresAt: noon.Add(time.Minute), Issuer: "me", Audience: "bms"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := newVerifier(t, func(c *Config) { c.Issuer, c.Audience = "me", "bms" }).Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if got.Identity.UserID != id.UserID || got.Identity.Role != id.Role || !slices.Equal(got.Identity.Branches, id.Branches) || got.Identity.Name != id.Name || got.Identity.DeviceID != id.DeviceID {
		t.Errorf("identity %+v, want %+v", got.Identity, id)
	}
	for name, g := range map[string]Grant{
		"no user":  {Identity: domain.Identity{Role: domain.RoleStaff}, IssuedAt: noon, ExpiresAt: noon.Add(time.Minute)},
		"no time":  {Identity: id, IssuedAt: noon, ExpiresAt: noon},
		"bad role": {Identity: domain.Identity{UserID: "u", Role: "boss"}, IssuedAt: noon, ExpiresAt: noon.Add(time.Minute)},
	} {
		if _, err := Sign(secret, g); err == nil {
			t.Errorf("%s: signed, want an error", name)
		}
	}
	if _, err := Sign(secret[:31], Grant{Identity: id, IssuedAt: noon, ExpiresAt: noon.Add(time.Minute)}); err == nil {
		t.Error("short secret: signed, want an error")
	}
}

func Fuzz_verify(f *testing.F) {
	v, err := New(Config{Secret: secret, Now: func() time.Time { return noon }})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw(f, hs256(), good(), secret))
	f.Add(raw(f, map[string]any{"alg": "none", "kid": 7}, good("exp", "x"), secret))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		got, err := v.Verify(context.Background(), token)
		if err != nil {
			if c := code(err); c != domain.CodeUnauthorized && c != domain.CodeTokenExpired {
				t.Fatalf("Verify: %v, want unauthorized or token_expired", err)
			}
			return
		}
		if !domain.ValidID(got.Identity.UserID) || !got.ExpiresAt.After(noon) {
			t.Fatalf("accepted %+v", got)
		}
	})
}

// Fuzz_claims looks behind the signature.
func Fuzz_claims(f *testing.F) {
	v, err := New(Config{Secret: secret, Now: func() time.Time { return noon }})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"sub":"u1","role":"staff","branchId":"b1","exp":4102444800,"aud":["x"]}`))
	f.Add([]byte(`{"sub":"u1","role":"admin","branches":[null],"exp":1e300,"nbf":{}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := v.Verify(context.Background(), withClaims(t, string(payload)))
		if err == nil && checkIdentity(got.Identity) != nil {
			t.Fatalf("accepted %+v", got)
		}
	})
}

func Benchmark_verify(b *testing.B) {
	b.Run("HS256", func(b *testing.B) {
		v := newVerifier(b, nil)
		token := raw(b, hs256(), good("name", "Ann", "iat", noon.Unix()), secret)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ES256", func(b *testing.B) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		server := newKeyServer(b)
		server.serve(jwkOf(b, "k1", &key.PublicKey))
		v := server.verifier(b, nil)
		token := signed(b, jwt.SigningMethodES256, "k1", key, good())
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func signed(t testing.TB, method jwt.SigningMethod, kid string, key any, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func jwkOf(t testing.TB, kid string, key any) map[string]any {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := key.(type) {
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "kid": kid, "use": "sig", "n": b64(k.N.Bytes()), "e": "AQAB"}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "x": b64(point[1:33]), "y": b64(point[33:])}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(k)}
	}
	t.Fatalf("no JWK for %T", key)
	return nil
}
