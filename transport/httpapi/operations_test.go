package httpapi

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"bms/actors"
	"bms/domain"
	"bms/projections"
	"bms/transport/eventlog/eventlogtest"
)

// kicked counts who was disconnected; all are here.
type kicked struct {
	noSockets
	mu   sync.Mutex
	sids []string
}

func (k *kicked) Connections() []actors.ConnectionInfo { return nil }

func (k *kicked) Kick(sid string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.sids) > 0 && k.sids[len(k.sids)-1] == sid {
		return false // gone
	}
	k.sids = append(k.sids, sid)
	return true
}

// Invariant 3, for what operators ask of a node.
func Test_a_keyed_operation_has_one_effect_and_one_answer(t *testing.T) {
	sockets := &kicked{}
	s := newShop(t, func(c *Config) { c.Sockets = sockets })
	const path = "/api/connections/s1"
	s.send("admin", "DELETE", path, "", "Idempotency-Key", "k\x01").refused(t, domain.CodeValidation)
	s.send("manager", "DELETE", path, "", "Idempotency-Key", "k1").refused(t, domain.CodeRoleForbidden)
	for _, body := range []string{"x", "{}{}", `{"sid":"s1"}`, "[]", "null"} {
		s.send("admin", "DELETE", path, body, "Idempotency-Key", "k1").refused(t, domain.CodeValidation)
	}
	for _, body := range []string{"", "{}", " {\n} ", "\t"} {
		if a := s.send("admin", "DELETE", path, body, "Idempotency-Key", "k1"); a.status != http.StatusNoContent || a.body != "" {
			t.Fatalf("%d %q, want 204", a.status, a.body)
		}
	}
	if len(sockets.sids) != 1 {
		t.Errorf("disconnected %v, want s1 once", sockets.sids)
	}
	s.send("admin", "DELETE", path, "{}x", "Idempotency-Key", "k1").refused(t, domain.CodeIdempotencyMismatch)
	s.send("admin", "DELETE", "/api/connections/s2", "", "Idempotency-Key", "k1").refused(t, domain.CodeIdempotencyMismatch)
	s.send("admin", "POST", "/api/branches", `{"branchId":"b1","name":"Mitte"}`, "Idempotency-Key", "k1").refused(t, domain.CodeIdempotencyMismatch)
	s.send("admin", "DELETE", path, "").refused(t, codeUnknownConnection)

	// One that is refused leaves its key free.
	s.send("admin", "DELETE", path, "", "Idempotency-Key", "k2").refused(t, codeUnknownConnection)
	if a := s.send("admin", "DELETE", "/api/connections/s3", "", "Idempotency-Key", "k2"); a.status != http.StatusNoContent {
		t.Errorf("%d %s, want 204", a.status, a.body)
	}
}

// The answer belongs to the user, whatever has become of his role since.
func Test_a_keyed_operation_is_answered_again_to_who_is_no_admin_any_more(t *testing.T) {
	sockets := &kicked{}
	s := newShop(t, func(c *Config) { c.Sockets = sockets })
	s.send("admin", "DELETE", "/api/connections/s1", "", "Idempotency-Key", "k1")
	s.must("admin", "PUT", "/api/users/root", `{"role":"staff","branches":["b1"],"disabled":false,"name":"Root"}`)
	if a := s.send("admin", "DELETE", "/api/connections/s1", "", "Idempotency-Key", "k1"); a.status != http.StatusNoContent {
		t.Errorf("%d %s, want the answer again", a.status, a.body)
	}
	s.send("admin", "DELETE", "/api/connections/s2", "", "Idempotency-Key", "k2").refused(t, domain.CodeRoleForbidden)
}

func Test_a_late_repeat_cancels_no_later_rebuild(t *testing.T) {
	s, g, ended := rebuilding(t)
	s.must("admin", "POST", "/api/branches", `{"branchId":"b1","name":"Mitte"}`)
	s.settle()
	const path = "/api/projections/stats/rebuild"
	g.mu.Lock()
	first := s.send("admin", "POST", path, "", "Idempotency-Key", "start")
	if first.status != http.StatusAccepted {
		t.Fatalf("%d %s, want 202", first.status, first.body)
	}
	again := s.send("admin", "POST", path, "", "Idempotency-Key", "start")
	if again.status != first.status || again.body != first.body {
		t.Errorf("again: %d %s, want the same as %s", again.status, again.body, first.body)
	}
	s.send("admin", "POST", path+"?verify=true", "", "Idempotency-Key", "start").refused(t, domain.CodeIdempotencyMismatch)
	<-g.came
	if a := s.send("admin", "DELETE", path, "", "Idempotency-Key", "stop"); a.status != http.StatusNoContent {
		t.Fatalf("%d %s, want 204", a.status, a.body)
	}
	g.mu.Unlock()
	if r := <-ended; r.State != projections.RebuildCancelled {
		t.Fatalf("it is %+v, want it cancelled", r)
	}
	g.mu.Lock()
	s.must("admin", "POST", path, "")
	if a := s.send("admin", "DELETE", path, "", "Idempotency-Key", "stop"); a.status != http.StatusNoContent {
		t.Fatalf("the repeat: %d %s, want 204", a.status, a.body)
	}
	g.mu.Unlock()
	if r := <-ended; r.State != projections.RebuildDone {
		t.Errorf("the later one is %+v, want it done", r)
	}
}

// stubborn is a log that takes nothing while shut.
type stubborn struct {
	*eventlogtest.Memory
	shut bool
}

func (l *stubborn) Append(ctx context.Context, commits ...*domain.Commit) error {
	if l.shut {
		return domain.ErrLogUnavailable
	}
	return l.Memory.Append(ctx, commits...)
}

func Test_an_operation_that_the_log_can_not_keep_is_not_answered_as_done(t *testing.T) {
	log := &stubborn{shut: true}
	s := newShop(t, func(c *Config) {
		log.Memory = c.Log.(*eventlogtest.Memory)
		c.Log, c.Sockets = log, &kicked{}
	})
	a := s.send("admin", "DELETE", "/api/connections/s1", "", "Idempotency-Key", "k1")
	if p := a.refused(t, domain.CodeLogUnavailable); !strings.Contains(p.Detail, "Idempotency-Key") {
		t.Errorf("detail %q, want what to do", p.Detail)
	}
}
