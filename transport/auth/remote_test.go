package auth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"bms/domain"
)

// keyServer answers a verifier's reads of its key set without a network, so
// that time can be a bubble's.
type keyServer struct {
	mu     sync.Mutex
	reads  int
	answer func(*http.Request) (*http.Response, error)
}

func newKeyServer(testing.TB) *keyServer { return &keyServer{} }

func (s *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.reads++
	answer := s.answer
	s.mu.Unlock()
	return answer(r)
}

func (s *keyServer) do(answer func(*http.Request) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *keyServer) serve(keys ...map[string]any) {
	if keys == nil {
		keys = []map[string]any{}
	}
	document, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	s.do(func(*http.Request) (*http.Response, error) { return response(200, string(document)), nil })
}

func (s *keyServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

func response(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: readCloser{strings.NewReader(body)}}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// verifier is running and ends with the test.
func (s *keyServer) verifier(t testing.TB, change func(*Config)) *Verifier {
	t.Helper()
	cfg := Config{JWKSURL: "https://idp.example/keys", Transport: s, Now: func() time.Time { return noon }}
	if change != nil {
		change(&cfg)
	}
	v, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := v.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return v
}

// bubble runs f in fake time, with a key, its server and a running verifier.
func bubble(t *testing.T, f func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey)) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := newKeyServer(t)
		s.serve(jwkOf(t, "k1", &key.PublicKey))
		f(t, s, s.verifier(t, func(c *Config) { c.Now = time.Now }), key)
	})
}

func lasting(kid string, t testing.TB, key *ecdsa.PrivateKey) string {
	return signed(t, jwt.SigningMethodES256, kid, key, good("exp", time.Now().Add(1000*time.Hour).Unix()))
}

func Test_each_kind_of_public_key(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := newKeyServer(t)
	s.serve(jwkOf(t, "r", &rsaKey.PublicKey), jwkOf(t, "e", &ecKey.PublicKey), jwkOf(t, "d", edPublic),
		map[string]any{"kty": "oct", "kid": "s", "k": "c2VjcmV0"}, map[string]any{"kty": "RSA", "use": "enc"})
	v := s.verifier(t, nil)
	tests := []struct {
		name, kid string
		method    jwt.SigningMethod
		key       any
		want      string
	}{
		{"RS256", "r", jwt.SigningMethodRS256, rsaKey, ""},
		{"ES256", "e", jwt.SigningMethodES256, ecKey, ""},
		{"EdDSA", "d", jwt.SigningMethodEdDSA, edKey, ""},
		{"ES256_without_kid", "", jwt.SigningMethodES256, ecKey, ""},
		{"PS256_with_the_RS256_key", "r", jwt.SigningMethodPS256, rsaKey, domain.CodeUnauthorized},
		{"RS512_with_the_RS256_key", "r", jwt.SigningMethodRS512, rsaKey, domain.CodeUnauthorized},
		{"ES256_under_the_id_of_another_key", "r", jwt.SigningMethodES256, ecKey, domain.CodeUnauthorized},
		{"HS256_under_a_shared_key_of_the_set", "s", jwt.SigningMethodHS256, []byte("secret"), domain.CodeUnauthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), signed(t, tt.method, tt.kid, tt.key, good()))
			if got := code(err); got != tt.want {
				t.Fatalf("Verify: %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func Test_unknown_key_ids_cause_one_read_per_interval(t *testing.T) {
	bubble(t, func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey) {
		synctest.Wait()
		kids := []string{"../../etc/passwd", "' OR 1=1 --", "k2", strings.Repeat("k", 200)}
		tokens := make([]string, 1000)
		for i := range tokens {
			tokens[i] = lasting(kids[i%len(kids)]+fmt.Sprint(i), t, key)
		}
		ask := func(want string) {
			t.Helper()
			var all sync.WaitGroup
			for _, token := range tokens {
				all.Go(func() {
					if _, err := v.Verify(t.Context(), token); code(err) != want {
						t.Errorf("Verify: %v, want %s", err, want)
					}
				})
			}
			all.Wait()
		}
		ask(domain.CodeOverloaded) // the keys may be new ones
		if got := s.count(); got != 1 {
			t.Errorf("%d reads within the first interval, want 1", got)
		}
		time.Sleep(10 * time.Second)
		ask(domain.CodeUnauthorized) // a set that was read since doesn't have them
		ask(domain.CodeUnauthorized)
		if got := s.count(); got != 2 {
			t.Errorf("%d reads within two intervals, want 2", got)
		}
	})
}

// What is signed with a key that was just rotated in is never refused for good,
// whatever else is going on: 401 and 4401 mean "don't come back".
func Test_token_under_a_fresh_key_is_told_to_come_back(t *testing.T) {
	rotate := func(t *testing.T, s *keyServer, key *ecdsa.PrivateKey) (token string) {
		next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.serve(jwkOf(t, "k1", &key.PublicKey), jwkOf(t, "k2", &next.PublicKey))
		return lasting("k2", t, next)
	}
	comesBack := func(t *testing.T, v *Verifier, token string) (wait time.Duration) {
		t.Helper()
		_, err := v.Verify(t.Context(), token)
		r, ok := errors.AsType[*domain.Rejection](err)
		if !ok || r.Code != domain.CodeOverloaded {
			t.Fatalf("Verify: %v, want %s", err, domain.CodeOverloaded)
		}
		seconds, _ := r.Details["retryAfter"].(int)
		if seconds < 1 || seconds > 10 {
			t.Fatalf("retryAfter %v, want 1 to 10 seconds", r.Details["retryAfter"])
		}
		return time.Duration(seconds) * time.Second
	}
	t.Run("in_a_flood_of_unknown_keys", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey) {
			synctest.Wait()
			time.Sleep(time.Minute)
			flood := func() { _, _ = v.Verify(t.Context(), lasting(fmt.Sprint("x", s.count()), t, key)) }
			flood()
			time.Sleep(3 * time.Second)
			token := rotate(t, s, key)
			if wait := comesBack(t, v, token); wait != 7*time.Second {
				t.Errorf("retryAfter %s, want the 7 s after which the keys may be read", wait)
			} else {
				time.Sleep(wait)
			}
			flood()
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Errorf("when it comes back: %v, want none", err)
			}
		})
	})
	t.Run("while_the_key_server_is_down", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey) {
			synctest.Wait()
			token := rotate(t, s, key)
			up := s.answer
			s.do(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
			for range 100 {
				time.Sleep(comesBack(t, v, token))
			}
			s.do(up)
			time.Sleep(10 * time.Second)
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Errorf("when it is back: %v, want none", err)
			}
		})
	})
	t.Run("published_during_a_slow_read", func(t *testing.T) {
		bubble(t, func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey) {
			synctest.Wait()
			before := s.answer
			s.do(func(r *http.Request) (*http.Response, error) {
				time.Sleep(2 * time.Second)
				return before(r)
			})
			time.Sleep(5*time.Minute + time.Second) // within the refresh
			token := rotate(t, s, key)
			time.Sleep(comesBack(t, v, token))
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Errorf("when it comes back: %v, want none", err)
			}
		})
	})
}

func Test_a_hanging_key_server_holds_a_bounded_number_of_tokens(t *testing.T) {
	bubble(t, func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey) {
		synctest.Wait()
		time.Sleep(time.Minute)
		s.do(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		const asked = 3000
		var answered atomic.Int64
		var all sync.WaitGroup
		for i := range asked {
			token := lasting(fmt.Sprint("x", i), t, key)
			all.Go(func() {
				if _, err := v.Verify(t.Context(), token); code(err) != domain.CodeOverloaded {
					t.Errorf("Verify: %v, want %s", err, domain.CodeOverloaded)
				}
				answered.Add(1)
			})
		}
		synctest.Wait()
		if got := answered.Load(); got != asked-maxWaiting {
			t.Errorf("%d of %d are answered at once, want all but %d", got, asked, maxWaiting)
		}
		if _, err := v.Verify(t.Context(), lasting("k1", t, key)); err != nil {
			t.Errorf("a token under a known key: %v, want none", err)
		}
		began := time.Now()
		all.Wait()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the last is answered after %s, want 5 s at most", took)
		}
		if got := s.count(); got != 2 {
			t.Errorf("%d reads, want one at the start and one for all of them", got)
		}
	})
}

func Test_kid_that_is_too_long_is_refused_and_reads_nothing(t *testing.T) {
	bubble(t, func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey) {
		synctest.Wait()
		for _, n := range []int{300, 4096, 1 << 20} {
			time.Sleep(time.Minute) // a read may begin
			before := s.count()
			if _, err := v.Verify(t.Context(), lasting(strings.Repeat("k", n), t, key)); code(err) != domain.CodeUnauthorized {
				t.Errorf("kid of %d bytes: %v, want %s", n, err, domain.CodeUnauthorized)
			}
			synctest.Wait()
			if got := s.count() - before; got != 0 {
				t.Errorf("kid of %d bytes: %d reads, want none", n, got)
			}
		}
	})
}

func Test_rotated_key_is_found_at_once(t *testing.T) {
	bubble(t, func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey) {
		synctest.Wait()
		time.Sleep(time.Minute)
		next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.serve(jwkOf(t, "k1", &key.PublicKey), jwkOf(t, "k2", &next.PublicKey))
		if _, err := v.Verify(t.Context(), lasting("k2", t, next)); err != nil {
			t.Errorf("token under the new key: %v, want none", err)
		}
		if _, err := v.Verify(t.Context(), lasting("k1", t, key)); err != nil {
			t.Errorf("token under the old key: %v, want none", err)
		}
	})
}

func Test_removed_key_is_refused_after_the_refresh(t *testing.T) {
	bubble(t, func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey) {
		token := lasting("k1", t, key)
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		s.serve()
		time.Sleep(5*time.Minute + time.Second)
		if _, err := v.Verify(t.Context(), token); code(err) != domain.CodeOverloaded {
			t.Errorf("token under a removed key: %v, want %s: it may be one that is new", err, domain.CodeOverloaded)
		}
		time.Sleep(10 * time.Second)
		if _, err := v.Verify(t.Context(), token); code(err) != domain.CodeUnauthorized {
			t.Errorf("token under a removed key: %v, want %s", err, domain.CodeUnauthorized)
		}
	})
}

func Test_last_good_set_is_kept(t *testing.T) {
	answers := map[string]func(*http.Request) (*http.Response, error){
		"down":        func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"status_500":  func(*http.Request) (*http.Response, error) { return response(500, `{"keys":[]}`), nil },
		"not_JSON":    func(*http.Request) (*http.Response, error) { return response(200, `<html>`), nil },
		"no_keys":     func(*http.Request) (*http.Response, error) { return response(200, `{}`), nil },
		"broken_keys": func(*http.Request) (*http.Response, error) { return response(200, `{"keys":[{"kty":"EC"}]}`), nil },
		"too_long":    func(*http.Request) (*http.Response, error) { return response(200, strings.Repeat(" ", 2<<20)), nil },
		"slow": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"redirecting": func(*http.Request) (*http.Response, error) {
			res := response(302, "")
			res.Header.Set("Location", "https://elsewhere.example/keys")
			return res, nil
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey) {
				token := lasting("k1", t, key)
				if _, err := v.Verify(t.Context(), token); err != nil {
					t.Fatal(err)
				}
				s.do(answer)
				time.Sleep(time.Hour)
				if _, err := v.Verify(t.Context(), token); err != nil {
					t.Errorf("after an hour without a good answer: %v, want none", err)
				}
				if got := s.count(); got > 3600/10+2 {
					t.Errorf("%d reads in an hour, want one per 10 s at most", got)
				}
				if err := v.Ready(); err != nil {
					t.Errorf("Ready: %v, want nil while a good set is held", err)
				}
			})
		})
	}
}

func Test_without_any_key_set_the_answer_is_overloaded_and_heals(t *testing.T) {
	bubble(t, func(t *testing.T, s *keyServer, _ *Verifier, key *ecdsa.PrivateKey) {
		down := newKeyServer(t)
		down.do(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		v := down.verifier(t, func(c *Config) { c.Now = time.Now })
		token := lasting("k1", t, key)
		_, err := v.Verify(t.Context(), token)
		if code(err) != domain.CodeOverloaded {
			t.Fatalf("Verify: %v, want %s", err, domain.CodeOverloaded)
		}
		if err := v.Ready(); err == nil || err.Error() != "no key set" {
			t.Errorf("Ready: %v, want an error before the first good set that says no more than that", err)
		}
		down.serve(jwkOf(t, "k1", &key.PublicKey))
		time.Sleep(11 * time.Second)
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Errorf("once the server is back: %v, want none", err)
		}
	})
}

// Names and addresses of the inside, and secrets in an address, are for nobody.
func Test_the_log_shows_no_secret_of_the_address(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newKeyServer(t)
		s.do(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })
		var lines bytes.Buffer
		s.verifier(t, func(c *Config) {
			c.Now, c.Logger = time.Now, slog.New(slog.NewTextHandler(&lines, nil))
			c.JWKSURL = "https://user:hunter2@idp.example/keys?api_key=hunter3"
		})
		synctest.Wait()
		s.serve()
		time.Sleep(time.Minute)
		synctest.Wait()
		got := lines.String()
		if strings.Count(got, "url=https://idp.example/keys ") != 2 || strings.Contains(got, "hunter") || !strings.Contains(got, "connection refused") {
			t.Errorf("log\n%s\nwant a line of the failure and one of success, with the address but for user and query", got)
		}
	})
}

func Test_keys_that_are_not_taken(t *testing.T) {
	rsaJWK := func(bits int, e string, more ...any) map[string]any {
		n := make([]byte, (bits+7)/8)
		for i := range n {
			n[i] = 0xff
		}
		n[0] >>= (8 - bits%8) % 8
		b64 := base64.RawURLEncoding.EncodeToString
		key := map[string]any{"kty": "RSA", "kid": "r", "n": b64(n), "e": e}
		for i := 0; i < len(more); i += 2 {
			key[more[i].(string)] = more[i+1]
		}
		return key
	}
	for name, tt := range map[string]struct {
		key   map[string]any
		taken bool
	}{
		"2048_bits":                  {rsaJWK(2048, "AQAB"), true},
		"2047_bits":                  {rsaJWK(2047, "AQAB"), false},
		"512_bits":                   {rsaJWK(512, "AQAB"), false},
		"8192_bits":                  {rsaJWK(8192, "AQAB"), true},
		"8193_bits":                  {rsaJWK(8193, "AQAB"), false},
		"a_million_bits":             {rsaJWK(1<<20, "AQAB"), false},
		"exponent_1":                 {rsaJWK(2048, "AQ"), false},
		"exponent_2":                 {rsaJWK(2048, "Ag"), false},
		"exponent_3":                 {rsaJWK(2048, "Aw"), true},
		"exponent_65536":             {rsaJWK(2048, "AQAA"), false},
		"exponent_of_31_bits":        {rsaJWK(2048, "f____w"), true},
		"exponent_of_32_bits":        {rsaJWK(2048, "_____w"), false},
		"exponent_of_65_bits":        {rsaJWK(2048, "AQAAAAAAAAAD"), false},
		"for_encryption":             {rsaJWK(2048, "AQAB", "use", "enc"), false},
		"for_signatures":             {rsaJWK(2048, "AQAB", "use", "sig"), true},
		"to_wrap_keys":               {rsaJWK(2048, "AQAB", "key_ops", []string{"wrapKey", "encrypt"}), false},
		"to_sign_only":               {rsaJWK(2048, "AQAB", "key_ops", []string{"sign"}), false},
		"for_nothing":                {rsaJWK(2048, "AQAB", "key_ops", []string{}), false},
		"to_verify":                  {rsaJWK(2048, "AQAB", "key_ops", []string{"sign", "verify"}), true},
		"for_another_algorithm":      {rsaJWK(2048, "AQAB", "alg", "PS256"), false},
		"with_a_kid_of_257_bytes":    {rsaJWK(2048, "AQAB", "kid", strings.Repeat("k", 257)), false},
		"an_EC_point_not_on_a_curve": {map[string]any{"kty": "EC", "crv": "P-256", "x": strings.Repeat("A", 42) + "E", "y": strings.Repeat("A", 42) + "E"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			document, err := json.Marshal(map[string]any{"keys": []any{tt.key}})
			if err != nil {
				t.Fatal(err)
			}
			keys, err := parseKeySet(document)
			if taken := len(keys) == 1; taken != tt.taken || taken == (err != nil) {
				t.Errorf("%d keys and error %v, want it taken: %v", len(keys), err, tt.taken)
			}
		})
	}
}

func Fuzz_key_set(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","x":""}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := parseKeySet(document)
		if err != nil && keys != nil {
			t.Fatalf("keys %v and error %v", keys, err)
		}
		for _, k := range keys {
			if algFor(k.key) != k.alg || k.alg == "" {
				t.Fatalf("key %+v has no algorithm of its own", k)
			}
		}
	})
}
