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

	lru "github.com/hashicorp/golang-lru/v2"

	"bms/domain"
)

const (
	maxKeySetBytes = 1 << 20
	// maxWaiting bounds how many tokens wait for the key server at a time;
	// those beyond are told to come back.
	maxWaiting = 1024
	// maxDoubted is how many tokens under unknown keys are remembered, at
	// about 150 bytes. One that was pushed out is told to come back again.
	maxDoubted = 8192
)

// remoteKeys is the key set of a JWKS address: read by run, kept until a newer
// one was read whole.
type remoteKeys struct {
	cfg    Config
	url    string // the address as the log may show it
	client *http.Client
	// wake asks run for a read ahead of time; one place, so that any number
	// of unknown keys ask for one read.
	wake chan struct{}

	number atomic.Uint64 // of the set: rises with each good read

	mu      sync.Mutex    // guards what follows
	keys    []publicKey   // the last good set
	begun   uint64        // reads so far, the one under way included
	good    uint64        // which of them gave keys, 0 for none yet
	failing bool          // the last read gave none
	tried   time.Time     // when the last read began
	reading chan struct{} // closed when the read under way or due ends; nil for none
	waiting int
	// doubted are tokens under unknown keys, with the reads that had begun
	// when they first came: what a later one doesn't have is no new key.
	doubted *lru.Cache[tokenHash, uint64]
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
	doubted, err := lru.New[tokenHash, uint64](maxDoubted)
	if err != nil {
		return nil, err
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return &remoteKeys{
		cfg: cfg,
		url: shown.String(),
		client: &http.Client{
			Transport:     cfg.Transport,
			Timeout:       cfg.JWKSTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirects are refused") },
		},
		wake: make(chan struct{}, 1),
		// The first read is due from the start: tokens wait for it.
		reading: make(chan struct{}),
		doubted: doubted,
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
	if wait := r.rest(); wait > 0 {
		return wait
	}
	r.tried = r.cfg.Now()
	r.begun++
	if r.reading == nil {
		r.reading = make(chan struct{})
	}
	return 0
}

// rest is how long no read may begin. Called with mu held.
func (r *remoteKeys) rest() time.Duration {
	if r.tried.IsZero() {
		return 0
	}
	return r.cfg.JWKSMinInterval - r.cfg.Now().Sub(r.tried)
}

// end takes over what was read. A set that couldn't be read leaves the last
// good one in place.
func (r *remoteKeys) end(keys []publicKey, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil && r.good == 0:
		r.cfg.Logger.Warn("the key set can't be read, so there is none", "url", r.url, "error", err)
	case err != nil:
		r.cfg.Logger.Warn("the key set can't be read, keeping the last good one", "url", r.url, "error", err, "keys", len(r.keys))
	case r.good == 0 || r.failing || !sameKeys(r.keys, keys):
		r.cfg.Logger.Info("key set read", "url", r.url, "keys", len(keys))
	}
	if r.failing = err != nil; !r.failing {
		r.keys, r.good = keys, r.begun
		r.number.Add(1)
	}
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
		if e, ok := errors.AsType[*url.Error](err); ok { // its text is the address, with all that is in it
			err = e.Err
		}
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
	if r.good == 0 {
		return errors.New("no key set")
	}
	return nil
}

// lookup gives the keys for an algorithm and key id ("" for any). When there
// are none it waits once, at most JWKSTimeout, for a read that is under way or
// due. A key that is not there is refused for good only when a read that began
// after the token had come doesn't have it: before that the key may be a new
// one, and the answer is overloaded.
func (r *remoteKeys) lookup(ctx context.Context, alg, kid string, token tokenHash) ([]any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	came, again := r.doubted.Get(token)
	if !again {
		came = r.begun
	}
	keys, taken := r.find(alg, kid)
	if len(keys) == 0 && !taken {
		r.await(ctx)
		keys, taken = r.find(alg, kid)
	}
	switch {
	case len(keys) > 0:
		return keys, nil
	case taken || r.good > came:
		return nil, errors.New("no such key")
	}
	r.doubted.Add(token, came)
	reject := domain.Reject(domain.CodeOverloaded, "the token's key is not known yet and key sets can't be read now, come back later")
	reject.Details = map[string]any{"retryAfter": max(1, int((r.rest()+time.Second-1)/time.Second))}
	return nil, reject
}

// find returns the keys that fit, and whether the id is that of a key for
// another algorithm. Called with mu held.
func (r *remoteKeys) find(alg, kid string) (found []any, taken bool) {
	for i := range r.keys {
		switch k := &r.keys[i]; {
		case k.alg == alg && (kid == "" || k.id == kid):
			found = append(found, k.key)
		case kid != "" && k.id == kid:
			taken = true
		}
	}
	return found, taken
}

// await asks for a read and waits for it, unless none may begin yet or too
// many wait. Called with mu held, which it lets go of meanwhile.
func (r *remoteKeys) await(ctx context.Context) {
	if r.reading == nil {
		select {
		case r.wake <- struct{}{}: // run reads as soon as it may
		default:
		}
		if r.rest() > 0 {
			return
		}
		r.reading = make(chan struct{})
	}
	if r.waiting >= maxWaiting {
		return
	}
	r.waiting++
	read := r.reading
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, r.cfg.JWKSTimeout)
	defer cancel()
	select {
	case <-read:
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.waiting--
}
