package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"bms/domain"
)

const (
	maxKeySetBytes = 1 << 20
	// maxWaiting bounds how many tokens wait for the key server at a time;
	// those beyond are judged by the set as it is.
	maxWaiting = 1024
)

// remoteKeys is the key set of a JWKS address: read by run, kept until a newer
// one was read whole.
type remoteKeys struct {
	cfg    Config
	client *http.Client
	// wake asks run for a read ahead of time; one place, so that any number
	// of unknown keys ask for one read.
	wake chan struct{}

	number atomic.Uint64 // of the set: rises with each good read

	mu      sync.Mutex    // guards what follows
	keys    []publicKey   // the last good set
	loaded  bool          // a good set was read
	lastErr error         // of the last read, nil if it was good
	tried   time.Time     // when the last read began
	reading chan struct{} // closed when the read under way or due ends; nil for none
	waiting int
}

func newRemoteKeys(cfg Config) (*remoteKeys, error) {
	u, err := url.Parse(cfg.JWKSURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the JWKSURL is not an http or https address")
	}
	if cfg.JWKSRefresh == 0 {
		cfg.JWKSRefresh = 5 * time.Minute
	}
	if cfg.JWKSMinInterval == 0 {
		cfg.JWKSMinInterval = 10 * time.Second
	}
	if cfg.JWKSTimeout == 0 {
		cfg.JWKSTimeout = 5 * time.Second
	}
	if cfg.Transport == nil {
		cfg.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
			MaxIdleConns: 1, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &remoteKeys{
		cfg: cfg,
		client: &http.Client{
			Transport:     cfg.Transport,
			Timeout:       cfg.JWKSTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirects are refused") },
		},
		wake: make(chan struct{}, 1),
		// The first read is due from the start: tokens wait for it.
		reading: make(chan struct{}),
	}, nil
}

// run reads the set at once, after JWKSRefresh, and ahead of that when a token
// names an unknown key; never twice within JWKSMinInterval. A set that couldn't
// be read is tried again after JWKSMinInterval.
func (r *remoteKeys) run(ctx context.Context) {
	defer r.client.CloseIdleConnections()
	defer r.stopped()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.wake:
		}
		if wait := r.begin(); wait > 0 { // woken too early: the timer fires first
			timer.Reset(wait)
			continue
		}
		keys, err := r.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		r.end(keys, err)
		if err != nil {
			timer.Reset(r.cfg.JWKSMinInterval)
		} else {
			timer.Reset(r.cfg.JWKSRefresh)
		}
	}
}

// begin marks a read as under way, or returns how long it has to wait.
func (r *remoteKeys) begin() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Now()
	if !r.tried.IsZero() {
		if wait := r.cfg.JWKSMinInterval - now.Sub(r.tried); wait > 0 {
			return wait
		}
	}
	r.tried = now
	if r.reading == nil {
		r.reading = make(chan struct{})
	}
	return 0
}

// end takes over what was read. A set that couldn't be read leaves the last
// good one in place.
func (r *remoteKeys) end(keys []publicKey, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.cfg.Logger.Warn("the key set can't be read, keeping the last good one", "url", r.cfg.JWKSURL, "error", err, "keys", len(r.keys))
	case !r.loaded || r.lastErr != nil || !sameKeys(r.keys, keys):
		r.cfg.Logger.Info("key set read", "url", r.cfg.JWKSURL, "keys", len(keys))
	}
	if err == nil {
		r.keys, r.loaded = keys, true
		r.number.Add(1)
	}
	r.lastErr = err
	close(r.reading)
	r.reading = nil
}

// stopped lets go of who waits when run ends.
func (r *remoteKeys) stopped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reading != nil {
		close(r.reading)
		r.reading = nil
	}
	if r.lastErr == nil {
		r.lastErr = errors.New("the reading of keys has stopped")
	}
	r.tried = r.cfg.Now()
}

func sameKeys(a, b []publicKey) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].id != b[i].id || !a[i].key.Equal(b[i].key) {
			return false
		}
	}
	return true
}

func (r *remoteKeys) fetch(ctx context.Context) ([]publicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.cfg.JWKSURL, nil)
	if err != nil {
		return nil, fmt.Errorf("read the key set: %w", err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read the key set: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read the key set: status %d", res.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(res.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the key set: %w", err)
	}
	if len(document) > maxKeySetBytes {
		return nil, fmt.Errorf("read the key set: more than %d bytes", maxKeySetBytes)
	}
	return parseKeySet(document)
}

// set is the number of the key set; 0 for none, also on a nil receiver.
func (r *remoteKeys) set() uint64 {
	if r == nil {
		return 0
	}
	return r.number.Load()
}

func (r *remoteKeys) ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.loaded:
		return nil
	case r.lastErr != nil:
		return fmt.Errorf("no key set: %w", r.lastErr)
	default:
		return errors.New("no key set: not read yet")
	}
}

// lookup gives the keys for an algorithm and key id ("" for any). When there
// are none it waits once, at most JWKSTimeout, for a read that is under way or
// due.
func (r *remoteKeys) lookup(ctx context.Context, alg, kid string) ([]any, error) {
	for again := true; ; again = false {
		keys, wait := r.find(alg, kid, again)
		if len(keys) > 0 {
			return keys, nil
		}
		if wait == nil {
			break
		}
		r.await(ctx, wait)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.loaded {
		reject := domain.Reject(domain.CodeOverloaded, "the keys to check tokens with can't be read now, come back later")
		reject.Details = map[string]any{"retryAfter": max(1, int(r.cfg.JWKSMinInterval/time.Second))}
		return nil, reject
	}
	return nil, errors.New("no such key")
}

func (r *remoteKeys) await(ctx context.Context, read <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.JWKSTimeout)
	defer cancel()
	select {
	case <-read:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting--
}

// find returns the keys that fit, or what to wait for, or neither. Who is
// given something to wait for is counted in waiting.
func (r *remoteKeys) find(alg, kid string, mayWait bool) ([]any, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []any
	for i := range r.keys {
		if k := &r.keys[i]; k.alg == alg && (kid == "" || k.id == kid) {
			found = append(found, k.key)
		}
	}
	if len(found) > 0 || !mayWait || r.waiting >= maxWaiting {
		return found, nil
	}
	if r.reading == nil {
		if r.cfg.Now().Sub(r.tried) < r.cfg.JWKSMinInterval {
			return nil, nil
		}
		r.reading = make(chan struct{})
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	r.waiting++
	return nil, r.reading
}
