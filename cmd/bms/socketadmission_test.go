package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
	"bms/transport/auth"
	"bms/transport/telemetry"
)

// testAdmission allows 3 new clients a minute, and 5 that resume.
func testAdmission() *admission {
	return newAdmission(auth.NewConnectLimiter(auth.LimiterConfig{
		New: auth.Rate{Count: 3, Per: time.Minute}, Resuming: auth.Rate{Count: 5, Per: time.Minute},
	}), 20)
}

// let is admit for those who care only whether they are let in.
func let(a *admission, p *peer, userID, namespace, sid string, resuming bool) *domain.Rejection {
	_, no := a.admit(p, userID, namespace, sid, resuming)
	return no
}

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
		peers := make([]peer, 3)
		for i := range peers {
			for _, ns := range namespaces {
				wantCode(t, let(a, &peers[i], "u1", ns, "", false), "", 0)
			}
		}
		var next peer
		wantCode(t, let(a, &next, "u1", namespaces[0], "", false), domain.CodeRateLimited, 60)
		// Coming and going in a namespace is not free.
		a.release(&peers[1], "u1")
		wantCode(t, let(a, &peers[1], "u1", namespaces[0], "", false), domain.CodeRateLimited, 60)
		// Nor is another user on the same connection.
		wantCode(t, let(a, &peers[1], "u2", namespaces[0], "", false), "", 0)
		<-time.After(45 * time.Second)
		wantCode(t, let(a, &next, "u1", namespaces[0], "", false), domain.CodeRateLimited, 15)
		<-time.After(15 * time.Second)
		wantCode(t, let(a, &next, "u1", namespaces[0], "", false), "", 0)
	})
}

// A client is let in and released again when the namespace then refuses it.
func TestAdmission_counts_a_client_once_whose_first_namespace_refuses_it(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes
		a := testAdmission()
		peers := make([]peer, 3)
		for i := range peers {
			wantCode(t, let(a, &peers[i], "u1", "/ws-admin", "", false), "", 0)
			a.release(&peers[i], "u1")
			wantCode(t, let(a, &peers[i], "u1", "/ws", "", false), "", 0)
		}
		wantCode(t, let(a, &peers[0], "u1", "/ws-admin", "", false), domain.CodeRateLimited, 60)
		wantCode(t, let(a, &peer{}, "u1", "/ws", "", false), domain.CodeRateLimited, 60)
	})
}

func TestAdmission_of_those_who_resume_is_counted_apart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes
		a := testAdmission()
		for range 3 {
			wantCode(t, let(a, &peer{}, "u1", "/ws", "", false), "", 0)
		}
		for range 5 {
			wantCode(t, let(a, &peer{}, "u1", "/ws", "", true), "", 0)
		}
		wantCode(t, let(a, &peer{}, "u1", "/ws", "", true), domain.CodeRateLimited, 60)
	})
}

func TestAdmission_bounds_the_clients_of_a_user_and_of_the_node(t *testing.T) {
	a := newAdmission(auth.NewConnectLimiter(auth.LimiterConfig{New: auth.Rate{Count: 1000, Per: time.Minute}}), 2)
	a.maxAltogether = 5
	var first, second, others [3]peer
	for i := range 2 {
		wantCode(t, let(a, &first[i], "u1", "/ws", "", false), "", 0)
	}
	wantCode(t, let(a, &first[2], "u1", "/ws", "", false), domain.CodeRateLimited, 30)
	wantCode(t, let(a, &first[1], "u1", "/ws-pos", "", false), "", 0) // a namespace more is no client more
	for i := range others {
		wantCode(t, let(a, &others[i], "u"+strconv.Itoa(i+2), "/ws", "", false), "", 0)
	}
	wantCode(t, let(a, &second[0], "u9", "/ws", "", false), domain.CodeOverloaded, 5)
	// The client goes with its last namespace, and leaves nothing behind.
	a.release(&first[1], "u1")
	wantCode(t, let(a, &second[0], "u9", "/ws", "", false), domain.CodeOverloaded, 5)
	a.release(&first[1], "u1")
	wantCode(t, let(a, &second[0], "u9", "/ws", "", false), "", 0)
	a.release(&first[0], "u1")
	a.release(&second[0], "u9")
	for i := range others {
		a.release(&others[i], "u"+strconv.Itoa(i+2))
	}
	if a.open != 0 || len(a.users) != 0 {
		t.Errorf("%d and %v are left, want nothing", a.open, a.users)
	}
}

// A client whose line broke comes back before its old connection is found dead.
func TestAdmission_who_resumes_takes_the_place_of_the_connection_it_replaces(t *testing.T) {
	a := newAdmission(auth.NewConnectLimiter(auth.LimiterConfig{New: auth.Rate{Count: 1000, Per: time.Minute}}), 2)
	a.maxAltogether = 2
	var halfOpen, other, back peer
	for p, sid := range map[*peer]string{&halfOpen: "s1", &other: "s2"} {
		wantCode(t, let(a, p, "u1", "/ws", "", false), "", 0)
		a.hold(sid)
	}
	wantCode(t, let(a, &back, "u1", "/ws", "s3", true), domain.CodeOverloaded, 5)  // gone long ago
	wantCode(t, let(a, &back, "u1", "/ws", "s1", false), domain.CodeOverloaded, 5) // not to be gone on with
	if instead, no := a.admit(&back, "u1", "/ws", "s1", true); no != nil || !instead {
		t.Fatalf("admitted %v, instead %t, want it let in instead", no, instead)
	}
	wantCode(t, a.stay("u1"), domain.CodeOverloaded, 5) // if it is another session all the same
	a.hold("s1")
	a.release(&halfOpen, "u1") // by the hub, as it is replaced
	a.letGo("s1")
	wantCode(t, a.stay("u1"), "", 0)
	wantCode(t, let(a, &peer{}, "u1", "/ws", "", true), domain.CodeOverloaded, 5)
	a.release(&back, "u1")
	a.letGo("s1")
	a.release(&other, "u1")
	a.letGo("s2")
	if a.open != 0 || len(a.users) != 0 || len(a.sessions) != 0 {
		t.Errorf("%d, %v and %v are left, want nothing", a.open, a.users, a.sessions)
	}
}

// One's own private id makes room for who goes on with that session, and for
// nobody else: not with an offset that isn't one, nor where there is no going on.
func TestAdmission_is_not_bypassed_with_ones_own_session(t *testing.T) {
	n := startNode(t, t.TempDir(), "--connect-rate", "1000/1m", "--user-connections", "2")
	token := signed("clerk", domain.RoleStaff, "b1")
	start := n.app.log.Head().String()
	auth := func(pid, offset string) string {
		text, err := json.Marshal(map[string]string{"token": token, "pid": pid, "offset": offset})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first := n.say(t, auth("", ""))
	var connected struct{ PID string }
	for connected.PID == "" {
		if answer, ok := strings.CutPrefix(first.raw(), "40/ws,"); ok {
			if err := json.Unmarshal([]byte(answer), &connected); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.connect(t, telemetry.ProtocolSocketIO, domain.NamespaceAll, token, "")
	refused := func(offset string) {
		t.Helper()
		if e, err := n.say(t, auth(connected.PID, offset)).tryNext(); err == nil || !strings.HasPrefix(err.Error(), domain.CodeRateLimited) {
			t.Errorf("offset %q: %+v, %v, want %s", offset, e, err, domain.CodeRateLimited)
		}
	}
	for range 3 {
		refused("x")
	}
	if err := n.app.sockets.sessions.Close(); err != nil { // no rooms, no going on
		t.Fatal(err)
	}
	for range 3 {
		refused(start)
	}
	if got := n.app.sockets.hub.Stats().Connections; got > 2 {
		t.Errorf("%d connections, want 2 at most", got)
	}
}
