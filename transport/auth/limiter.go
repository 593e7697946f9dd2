package auth

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const maxRateCount = 10_000

// Rate is at most Count things in any stretch of Per.
type Rate struct {
	Count int
	Per   time.Duration
}

// ParseRate reads "5/1m": a count from 1 to 10,000, a stroke and a duration as
// of time.ParseDuration. The error says what is wrong with the text.
func ParseRate(s string) (Rate, error) {
	count, per, ok := strings.Cut(s, "/")
	if !ok {
		return Rate{}, fmt.Errorf("rate %q is not of the form 5/1m", s)
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxRateCount {
		return Rate{}, fmt.Errorf("rate %q: the count is not a number from 1 to %d", s, maxRateCount)
	}
	d, err := time.ParseDuration(per)
	if err != nil || d < time.Millisecond || d > 24*time.Hour {
		return Rate{}, fmt.Errorf("rate %q: the duration is not between 1ms and 24h", s)
	}
	return Rate{Count: n, Per: d}, nil
}

// String returns the form that ParseRate reads.
func (r Rate) String() string { return fmt.Sprintf("%d/%s", r.Count, r.Per) }

// LimiterConfig bounds how often a user connects.
type LimiterConfig struct {
	// New is for connections that begin afresh. Zero value means 5/1m.
	New Rate
	// Resuming is for connections that come with a valid cursor. Zero value
	// means 60/1m.
	Resuming Rate
	// Users is how many users are remembered; beyond it those who connected
	// longest ago are forgotten. Zero value means 20,000 (at most 12 MB with
	// the rates above).
	Users int
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// ConnectLimiter counts connections by user, in a sliding window: no stretch
// of Rate.Per holds more than Rate.Count. Those refused don't count.
type ConnectLimiter struct {
	now      func() time.Time
	mu       sync.Mutex // guards fresh and resuming
	fresh    *windows
	resuming *windows
}

// NewConnectLimiter makes a limiter.
func NewConnectLimiter(cfg LimiterConfig) *ConnectLimiter {
	if cfg.New.Count <= 0 || cfg.New.Per <= 0 {
		cfg.New = Rate{Count: 5, Per: time.Minute}
	}
	if cfg.Resuming.Count <= 0 || cfg.Resuming.Per <= 0 {
		cfg.Resuming = Rate{Count: 60, Per: time.Minute}
	}
	if cfg.Users <= 0 {
		cfg.Users = 20_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &ConnectLimiter{now: cfg.Now, fresh: newWindows(cfg.New, cfg.Users), resuming: newWindows(cfg.Resuming, cfg.Users)}
}

// Allow counts a connection of a user, or says when the next one is allowed
// (above zero). resuming is true for one that comes with a valid cursor.
func (l *ConnectLimiter) Allow(userID string, resuming bool) (retryAfter time.Duration, ok bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if resuming {
		return l.resuming.allow(userID, now)
	}
	return l.fresh.allow(userID, now)
}

// windows holds the times of each user's last connections.
type windows struct {
	rate  Rate
	users *simplelru.LRU[string, *window]
}

// window is a ring of the last times, oldest at next once it is full.
type window struct {
	times []time.Time
	next  int
	last  time.Time
}

func newWindows(rate Rate, users int) *windows {
	lru, err := simplelru.NewLRU[string, *window](users, nil)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return &windows{rate: rate, users: lru}
}

func (w *windows) allow(userID string, now time.Time) (time.Duration, bool) {
	w.expire(now)
	u, ok := w.users.Get(userID)
	if !ok {
		u = &window{}
		w.users.Add(userID, u)
	}
	if len(u.times) == w.rate.Count {
		if wait := w.rate.Per - now.Sub(u.times[u.next]); wait > 0 {
			return wait, false
		}
		u.times[u.next] = now
		u.next = (u.next + 1) % w.rate.Count
	} else {
		u.times = append(u.times, now)
	}
	u.last = now
	return 0, true
}

// expire forgets users, longest unseen first, whose last connection is out of
// the window.
func (w *windows) expire(now time.Time) {
	for {
		id, u, ok := w.users.GetOldest()
		if !ok || now.Sub(u.last) < w.rate.Per {
			return
		}
		w.users.Remove(id)
	}
}
