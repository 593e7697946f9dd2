package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
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
		ask := func() {
			var all sync.WaitGroup
			for i := range 1000 {
				token := lasting(kids[i%len(kids)]+fmt.Sprint(i), t, key)
				all.Go(func() {
					if _, err := v.Verify(t.Context(), token); code(err) != domain.CodeUnauthorized {
						t.Errorf("Verify: %v, want %s", err, domain.CodeUnauthorized)
					}
				})
			}
			all.Wait()
		}
		ask()
		if got := s.count(); got != 1 {
			t.Errorf("%d reads within the first interval, want 1", got)
		}
		time.Sleep(10 * time.Second)
		ask()
		ask()
		if got := s.count(); got != 2 {
			t.Errorf("%d reads within two intervals, want 2", got)
		}
	})
}

func Test_kid_of_a_megabyte_is_refused(t *testing.T) {
	bubble(t, func(t *testing.T, s *keyServer, v *Verifier, key *ecdsa.PrivateKey) {
		for _, n := range []int{300, 1 << 20} {
			if _, err := v.Verify(t.Context(), lasting(strings.Repeat("k", n), t, key)); code(err) != domain.CodeUnauthorized {
				t.Errorf("kid of %d bytes: %v, want %s", n, err, domain.CodeUnauthorized)
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
		if v.Ready() == nil {
			t.Error("Ready: nil, want an error before the first good set")
		}
		down.serve(jwkOf(t, "k1", &key.PublicKey))
		time.Sleep(11 * time.Second)
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Errorf("once the server is back: %v, want none", err)
		}
	})
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
