package main

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
	"bms/transport/auth"
)

// testAdmission allows 3 new clients a minute, and 5 that resume.
func testAdmission() *admission {
	return newAdmission(auth.NewConnectLimiter(auth.LimiterConfig{
		New: auth.Rate{Count: 3, Per: time.Minute}, Resuming: auth.Rate{Count: 5, Per: time.Minute},
	}))
}

func key(user string, client uint64) clientKey { return clientKey{"test", client, user} }

// wantCode checks an answer of admit: its code, "" for in, and after how many
// seconds to come back.
func wantCode(t *testing.T, no *domain.Rejection, code string, retryAfter int) {
	t.Helper()
	switch {
	case no == nil && code != "" || no != nil && no.Code != code:
		t.Fatalf("admitted with %v, want %q", no, code)
	case no != nil && no.Details["retryAfter"] != retryAfter:
		t.Errorf("retryAfter %v, want %d", no.Details["retryAfter"], retryAfter)
	}
}

func TestAdmission_counts_a_client_once_for_all_its_namespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testAdmission()
		for client := range uint64(3) {
			for _, ns := range namespaces {
				wantCode(t, a.admit(key("u1", client), ns, false), "", 0)
			}
		}
		wantCode(t, a.admit(key("u1", 4), namespaces[0], false), domain.CodeRateLimited, 60)
		// Coming and going in a namespace is not free.
		a.release(key("u1", 1))
		wantCode(t, a.admit(key("u1", 1), namespaces[0], false), domain.CodeRateLimited, 60)
		// Nor is another user on the same connection.
		wantCode(t, a.admit(key("u2", 1), namespaces[0], false), "", 0)
		<-time.After(45 * time.Second)
		wantCode(t, a.admit(key("u1", 4), namespaces[0], false), domain.CodeRateLimited, 15)
		<-time.After(15 * time.Second)
		wantCode(t, a.admit(key("u1", 4), namespaces[0], false), "", 0)
	})
}

func TestAdmission_of_those_who_resume_is_counted_apart(t *testing.T) {
	a := testAdmission()
	for client := range uint64(3) {
		wantCode(t, a.admit(key("u1", client), "/ws", false), "", 0)
	}
	for client := range uint64(5) {
		wantCode(t, a.admit(key("u1", 10+client), "/ws", true), "", 0)
	}
	wantCode(t, a.admit(key("u1", 20), "/ws", true), domain.CodeRateLimited, 60)
}

func TestAdmission_bounds_the_clients_of_a_user_and_of_the_node(t *testing.T) {
	a := newAdmission(auth.NewConnectLimiter(auth.LimiterConfig{New: auth.Rate{Count: 1000, Per: time.Minute}}))
	a.maxUser, a.maxAltogether = 2, 5
	for client := range uint64(2) {
		wantCode(t, a.admit(key("u1", client), "/ws", false), "", 0)
	}
	wantCode(t, a.admit(key("u1", 2), "/ws", false), domain.CodeRateLimited, 30)
	wantCode(t, a.admit(key("u1", 1), "/ws-pos", false), "", 0) // a namespace more is no client more
	for client := range uint64(3) {
		wantCode(t, a.admit(key("u"+strconv.Itoa(int(client)+2), 10+client), "/ws", false), "", 0)
	}
	wantCode(t, a.admit(key("u9", 20), "/ws", false), domain.CodeOverloaded, 5)
	// The client goes with its last namespace, and leaves nothing behind.
	a.release(key("u1", 1))
	wantCode(t, a.admit(key("u9", 20), "/ws", false), domain.CodeOverloaded, 5)
	a.release(key("u1", 1))
	wantCode(t, a.admit(key("u9", 20), "/ws", false), "", 0)
	a.release(key("u1", 0))
	a.release(key("u9", 20))
	for client := range uint64(3) {
		a.release(key("u"+strconv.Itoa(int(client)+2), 10+client))
	}
	if len(a.clients) != 0 || len(a.users) != 0 {
		t.Errorf("%v and %v are left, want nothing", a.clients, a.users)
	}
}
