package actors

import (
	"context"
	"sync"
)

// keyLock is a mutex per key, which there is as long as somebody has it or waits
// for it. The zero value is ready.
type keyLock struct {
	mu   sync.Mutex // guards keys
	keys map[string]*keyLockPlace
}

type keyLockPlace struct {
	place chan struct{} // full while somebody has the key
	users int
}

// lock waits for a key; the error is the context's. Who has got it unlocks it.
func (k *keyLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	k.mu.Lock()
	if k.keys == nil {
		k.keys = map[string]*keyLockPlace{}
	}
	p := k.keys[key]
	if p == nil {
		p = &keyLockPlace{place: make(chan struct{}, 1)}
		k.keys[key] = p
	}
	p.users++
	k.mu.Unlock()
	select {
	case p.place <- struct{}{}:
		return func() { <-p.place; k.done(key, p) }, nil
	case <-ctx.Done():
		k.done(key, p)
		return nil, ctx.Err()
	}
}

func (k *keyLock) done(key string, p *keyLockPlace) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.users--; p.users == 0 {
		delete(k.keys, key)
	}
}
