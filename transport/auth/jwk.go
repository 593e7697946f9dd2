package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// The algorithms of public keys.
const (
	algRS256 = "RS256"
	algES256 = "ES256"
	algEdDSA = "EdDSA"
)

const (
	maxKeys    = 64
	minRSABits = 2048
	maxRSABits = 8192
)

// publicKey is a usable key of a set.
type publicKey struct {
	id  string
	alg string
	key verificationKey
}

// verificationKey is an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey.
type verificationKey interface{ Equal(crypto.PublicKey) bool }

// jwk is the part of RFC 7517 that matters here. Certificates (x5c, x5u) are
// left out on purpose.
type jwk struct {
	Type      string   `json:"kty"`
	ID        string   `json:"kid"`
	Algorithm string   `json:"alg"`
	Use       string   `json:"use"`
	Ops       []string `json:"key_ops"`
	Curve     string   `json:"crv"`
	N         string   `json:"n"`
	E         string   `json:"e"`
	X         string   `json:"x"`
	Y         string   `json:"y"`
}

// parseKeySet reads a JWKS document. Keys for something else (encryption, other
// algorithms, shared secrets) are passed by. It returns an error for what is
// not a key set, and for a set with keys of which none is usable.
func parseKeySet(document []byte) ([]publicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, errors.New("not a JSON key set")
	}
	if set.Keys == nil {
		return nil, errors.New("the key set has no keys member")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	keys := make([]publicKey, 0, len(set.Keys))
	var last error
	for _, raw := range set.Keys {
		k, err := parseKey(raw)
		if err != nil {
			last = err
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 && last != nil {
		return nil, fmt.Errorf("no key of the set is usable: %w", last)
	}
	return keys, nil
}

func parseKey(raw json.RawMessage) (publicKey, error) {
	var j jwk
	if err := json.Unmarshal(raw, &j); err != nil {
		return publicKey{}, errors.New("a key is not a JSON object of texts")
	}
	if j.Use != "" && j.Use != "sig" || j.Ops != nil && !slices.Contains(j.Ops, "verify") {
		return publicKey{}, errors.New("a key is not for signatures")
	}
	if len(j.ID) > maxKeyID {
		return publicKey{}, fmt.Errorf("a kid has more than %d bytes", maxKeyID)
	}
	key, err := j.key()
	if err != nil {
		return publicKey{}, err
	}
	alg := algFor(key)
	if j.Algorithm != "" && j.Algorithm != alg && !(j.Algorithm == "Ed25519" && alg == algEdDSA) {
		return publicKey{}, fmt.Errorf("a key is for an algorithm other than %s", alg)
	}
	return publicKey{id: j.ID, alg: alg, key: key}, nil
}

func (j *jwk) key() (verificationKey, error) {
	switch {
	case j.Type == "RSA":
		n, err := number(j.N)
		if err != nil {
			return nil, err
		}
		e, err := number(j.E)
		if err != nil {
			return nil, err
		}
		if bits := n.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key has %d bits, want %d to %d", bits, minRSABits, maxRSABits)
		}
		if e.BitLen() > 31 || e.Int64() < 3 || e.Int64()%2 == 0 {
			return nil, errors.New("an RSA exponent is out of range")
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	case j.Type == "EC" && j.Curve == "P-256":
		x, errX := base64.RawURLEncoding.DecodeString(j.X)
		y, errY := base64.RawURLEncoding.DecodeString(j.Y)
		if errX != nil || errY != nil || len(x) != 32 || len(y) != 32 {
			return nil, errors.New("an EC point is not 2 × 32 bytes")
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if err != nil {
			return nil, errors.New("an EC point is not on P-256")
		}
		return key, nil
	case j.Type == "OKP" && j.Curve == "Ed25519":
		x, err := base64.RawURLEncoding.DecodeString(j.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("an Ed25519 key is not %d bytes", ed25519.PublicKeySize)
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, errors.New("a key is none of RSA, EC P-256 and OKP Ed25519")
}

func number(s string) (*big.Int, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return nil, errors.New("a number of a key is not base64url")
	}
	return new(big.Int).SetBytes(b), nil
}
