package main

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"bms/domain"
	"bms/transport/auth"
)

const (
	// maxClients bounds the clients of this node, of both protocols. Beyond, one
	// more is overloaded. At some 25 KB each they take 1.3 GB when idle.
	maxClients = 50_000

	// What those that are refused are told to wait.
	userClientsRetry = 30 * time.Second
	clientsRetry     = 5 * time.Second
)

// peer is a client connection: a plain WebSocket, or an Engine.IO session, on
// which several namespaces, and by several users, may be open. Its zero value
// is nobody's yet. It ends with the connection, whose it is.
type peer struct{ users map[string]*admitted } // guarded by admission.mu

// admitted is what a peer's user has: the number of open namespaces, and which
// it has asked for so far.
type admitted struct {
	open int
	had  map[string]struct{}
}

// admission bounds how often users connect and how many are connected, for
// both protocols alike. A peer counts once for each of its users, however many
// namespaces it has, or has asked for.
//
// # Concurrency properties
//
// All methods are safe for concurrent use.
type admission struct {
	limiter                *auth.ConnectLimiter
	maxUser, maxAltogether int

	mu       sync.Mutex // guards the following
	open     int        // peers with a namespace, once for each of their users
	users    map[string]int
	sessions map[string]int // connections of each session that may be resumed
}

// parseUserClients reads a number of connections.
func parseUserClients(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxClients {
		return 0, fmt.Errorf("want a whole number from 1 to %d", maxClients)
	}
	return n, nil
}

// newAdmission makes an admission. maxUser bounds the clients that a user has
// connected at a time, on this node: beyond, one more is rate_limited.
func newAdmission(limiter *auth.ConnectLimiter, maxUser int) *admission {
	return &admission{
		limiter: limiter, maxUser: maxUser, maxAltogether: maxClients,
		users: map[string]int{}, sessions: map[string]int{},
	}
}

// admit lets a peer's user into a namespace, or says when to come back
// (rate_limited, overloaded). Who is admitted is released once. sid is the
// user's session that is resumed, if any: its connection, which may only not
// have been found dead yet, makes room for the new one. Who is admitted for
// that, with instead, needs a place of its own once it has become something
// else: see stay.
func (a *admission) admit(p *peer, userID, namespace, sid string, resuming bool) (instead bool, no *domain.Rejection) {
	a.mu.Lock()
	defer a.mu.Unlock()
	own := p.users[userID]
	if own == nil || own.open == 0 {
		if no := a.roomFor(userID, 1); no != nil {
			if instead = resuming && a.sessions[sid] > 0; !instead {
				return false, no
			}
		}
	}
	// Further namespaces are free, but not to come and go in them.
	again := own == nil
	if own != nil {
		_, again = own.had[namespace]
	}
	if again {
		if wait, ok := a.limiter.Allow(userID, resuming); !ok {
			return false, comeBack(domain.CodeRateLimited, wait, "too many connections")
		}
	}
	if own == nil {
		own = &admitted{had: make(map[string]struct{}, 1)}
		if p.users == nil {
			p.users = make(map[string]*admitted, 1)
		}
		p.users[userID] = own
	}
	if own.open == 0 {
		a.open++
		a.users[userID]++
	}
	own.open++
	own.had[namespace] = struct{}{}
	return instead, nil
}

// roomFor reports whether there are places for so many clients of a user more;
// a.mu must be held.
func (a *admission) roomFor(userID string, more int) *domain.Rejection {
	switch {
	case a.open+more > a.maxAltogether:
		return comeBack(domain.CodeOverloaded, clientsRetry, "the server has all the connections that it takes")
	case a.users[userID]+more > a.maxUser:
		return comeBack(domain.CodeRateLimited, userClientsRetry, "too many connections of one user at a time")
	}
	return nil
}

// stay judges a client again that has been admitted instead of another, which
// it then did not replace.
func (a *admission) stay(userID string) *domain.Rejection {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.roomFor(userID, 0)
}

// hold notes a session that may be resumed while it is connected; letGo ends
// that.
func (a *admission) hold(sid string) {
	a.mu.Lock()
	a.sessions[sid]++
	a.mu.Unlock()
}

func (a *admission) letGo(sid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sessions[sid]--; a.sessions[sid] == 0 {
		delete(a.sessions, sid)
	}
}

// comeBack is a refusal with retryAfter, in whole seconds.
func comeBack(code string, wait time.Duration, why string) *domain.Rejection {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	no := domain.Reject(code, "%s, come back in %d s", why, seconds)
	no.Details = map[string]any{"retryAfter": seconds}
	return no
}

// release lets a namespace of a peer's user go. What it has asked for so far is
// remembered as long as the peer is there.
func (a *admission) release(p *peer, userID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	own := p.users[userID]
	if own.open--; own.open > 0 {
		return
	}
	a.open--
	if a.users[userID]--; a.users[userID] == 0 {
		delete(a.users, userID)
	}
}
