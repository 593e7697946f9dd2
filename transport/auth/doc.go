// Package auth turns tokens into identities and bounds how often a user may
// connect.
//
// A token is a signed JWT. [Verifier] accepts HS256 under a shared secret and
// RS256, ES256 and EdDSA under the keys of a JWKS address. What a token may be
// signed with is fixed by the key that is held, never by what the token says of
// itself: the headers jku, jwk, x5u and x5c are not looked at, and a secret is
// never tried on anything but HS256.
//
// # Concurrency properties
//
// All methods of [Verifier] and [ConnectLimiter] are safe for concurrent use.
// The only goroutine is the caller's, in [Verifier.Run].
package auth
