package auth

import (
	"fmt"
	"testing"
	"time"
)

func newLimiter(cfg LimiterConfig) (*ConnectLimiter, *time.Time) {
	now := noon
	cfg.Now = func() time.Time { return now }
	return NewConnectLimiter(cfg), &now
}

func Test_sixth_connection_of_a_minute_waits(t *testing.T) {
	l, now := newLimiter(LimiterConfig{})
	for i := range 5 {
		if _, ok := l.Allow("u1", false); !ok {
			t.Fatalf("connection %d refused, want 5 allowed", i+1)
		}
		*now = now.Add(time.Second)
	}
	retry, ok := l.Allow("u1", false)
	if ok || retry != 55*time.Second {
		t.Fatalf("sixth: allowed %t, retry after %s, want refused for 55s", ok, retry)
	}
	if _, ok := l.Allow("u2", false); !ok {
		t.Error("another user is refused")
	}
	if _, ok := l.Allow("u1", true); !ok {
		t.Error("a resuming connection is refused, it has an allowance of its own")
	}
	*now = now.Add(retry)
	if _, ok := l.Allow("u1", false); !ok {
		t.Error("refused after the wait it was told")
	}
	if retry, ok := l.Allow("u1", false); ok || retry != time.Second {
		t.Errorf("next: allowed %t, retry after %s, want refused for 1s", ok, retry)
	}
}

func Test_resuming_has_sixty_a_minute(t *testing.T) {
	l, now := newLimiter(LimiterConfig{})
	for i := range 60 {
		if _, ok := l.Allow("u1", true); !ok {
			t.Fatalf("connection %d refused, want 60 allowed", i+1)
		}
	}
	if retry, ok := l.Allow("u1", true); ok || retry != time.Minute {
		t.Errorf("61st: allowed %t, retry after %s, want refused for 1m", ok, retry)
	}
	*now = now.Add(time.Minute)
	if _, ok := l.Allow("u1", true); !ok {
		t.Error("refused a minute later")
	}
}

func Test_memory_is_bounded_by_users_and_time(t *testing.T) {
	l, now := newLimiter(LimiterConfig{Users: 100})
	for i := range 10_000 {
		l.Allow(fmt.Sprint("u", i), false)
	}
	if got := l.fresh.users.Len(); got != 100 {
		t.Errorf("%d users remembered, want 100", got)
	}
	*now = now.Add(time.Minute)
	l.Allow("u", false)
	if got := l.fresh.users.Len(); got != 1 {
		t.Errorf("%d users remembered a minute later, want 1", got)
	}
}

func Test_rates(t *testing.T) {
	r, err := ParseRate("5/1m")
	if err != nil || r != (Rate{5, time.Minute}) {
		t.Errorf("5/1m: %v, %v", r, err)
	}
	if again, err := ParseRate(r.String()); err != nil || again != r {
		t.Errorf("%s: %v, %v", r, again, err)
	}
	for _, bad := range []string{"", "5", "5/", "/1m", "0/1m", "-1/1m", "5/1", "5/-1m", "5/25h", "10001/1m", "5/1m/1m", "x/1m"} {
		if r, err := ParseRate(bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, r)
		}
	}
}
