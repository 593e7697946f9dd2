package main

import (
	"math"
	"sync"
	"time"

	"bms/domain"
	"bms/transport/auth"
)

const (
	// maxUserClients bounds the clients that a user has connected at a time, on
	// this node. Beyond, one more is rate_limited.
	maxUserClients = 20
	// maxClients bounds the clients of this node, of both protocols. Beyond, one
	// more is overloaded. At some 25 KB each they take 1.3 GB when idle.
	maxClients = 50_000

	// What those that are refused are told to wait.
	userClientsRetry = 30 * time.Second
	clientsRetry     = 5 * time.Second
)

// clientKey is a user on one client connection: a plain WebSocket, or an
// Engine.IO session, on which several namespaces, and by several users, may be
// open.
type clientKey struct {
	protocol string
	number   uint64
	userID   string
}

// admission bounds how often users connect and how many are connected, for
// both protocols alike. A client counts once, however many namespaces it has
// at a time.
//
// # Concurrency properties
//
// All methods are safe for concurrent use.
type admission struct {
	limiter                *auth.ConnectLimiter
	maxUser, maxAltogether int

	mu      sync.Mutex // guards the following
	clients map[clientKey]*admitted
	users   map[string]int // clients of each
}

// admitted is what a client has: the number of open namespaces, and which it
// had so far.
type admitted struct {
	open int
	had  map[string]struct{}
}

func newAdmission(limiter *auth.ConnectLimiter) *admission {
	return &admission{
		limiter: limiter, maxUser: maxUserClients, maxAltogether: maxClients,
		clients: map[clientKey]*admitted{}, users: map[string]int{},
	}
}

// admit lets a client into a namespace, or says when to come back
// (rate_limited, overloaded). Who is admitted is released once.
func (a *admission) admit(key clientKey, namespace string, resuming bool) *domain.Rejection {
	a.mu.Lock()
	defer a.mu.Unlock()
	client := a.clients[key]
	switch {
	case client != nil:
	case len(a.clients) >= a.maxAltogether:
		return comeBack(domain.CodeOverloaded, clientsRetry, "the server has all the connections that it takes")
	case a.users[key.userID] >= a.maxUser:
		return comeBack(domain.CodeRateLimited, userClientsRetry, "too many connections of one user at a time")
	}
	// Further namespaces are free, but not to come and go in them.
	again := client == nil
	if client != nil {
		_, again = client.had[namespace]
	}
	if again {
		if wait, ok := a.limiter.Allow(key.userID, resuming); !ok {
			return comeBack(domain.CodeRateLimited, wait, "too many connections")
		}
	}
	if client == nil {
		client = &admitted{had: make(map[string]struct{}, 1)}
		a.clients[key] = client
		a.users[key.userID]++
	}
	client.open++
	client.had[namespace] = struct{}{}
	return nil
}

// comeBack is a refusal with retryAfter, in whole seconds.
func comeBack(code string, wait time.Duration, why string) *domain.Rejection {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	no := domain.Reject(code, "%s, come back in %d s", why, seconds)
	no.Details = map[string]any{"retryAfter": seconds}
	return no
}

// release lets a namespace of a client go.
func (a *admission) release(key clientKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	client := a.clients[key]
	if client.open--; client.open > 0 {
		return
	}
	delete(a.clients, key)
	if a.users[key.userID]--; a.users[key.userID] == 0 {
		delete(a.users, key.userID)
	}
}
