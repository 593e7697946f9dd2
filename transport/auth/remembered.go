package auth

import (
	"crypto/sha256"

	lru "github.com/hashicorp/golang-lru/v2"
)

// maxRemembered is how many good tokens are remembered, at about 500 bytes.
const maxRemembered = 8192

// tokenHash stands for a token; no token is kept.
type tokenHash [sha256.Size]byte

// remembered holds the tokens that were found good, by their hash, under the
// key set of the time: an ES256 signature takes 50 µs to check, and a client
// sends the same one with every request. Only the expiry is left to judge.
type remembered struct {
	tokens *lru.Cache[tokenHash, rememberedToken]
}

type rememberedToken struct {
	token Token
	set   uint64 // the number of the key set it was good under
}

func newRemembered() *remembered {
	cache, err := lru.New[tokenHash, rememberedToken](maxRemembered)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return &remembered{tokens: cache}
}

func (r *remembered) find(hash tokenHash, set uint64) (Token, bool) {
	t, ok := r.tokens.Get(hash)
	return t.token, ok && t.set == set
}

func (r *remembered) add(hash tokenHash, set uint64, t Token) {
	r.tokens.Add(hash, rememberedToken{t, set})
}
