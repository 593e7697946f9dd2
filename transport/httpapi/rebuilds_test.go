package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"bms/domain"
	"bms/projections"
	"bms/transport/eventlog/eventlogtest"
)

// gate is a log from which rebuilds can't read while it is shut: what follows
// the log doesn't notice.
type gate struct {
	*eventlogtest.Memory
	mu   sync.RWMutex // write-locked while it is shut
	came chan struct{}
}

func (g *gate) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	select {
	case g.came <- struct{}{}:
	default:
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Memory.Read(ctx, after, limit)
}

// rebuilding is a shop whose read models read through a gate, and tell when a
// rebuild has ended.
func rebuilding(t *testing.T) (*shop, *gate, chan projections.Rebuild) {
	t.Helper()
	g, ended := &gate{came: make(chan struct{}, 1)}, make(chan projections.Rebuild, 100)
	var set *projections.Set
	s := newShop(t, func(c *Config) {
		g.Memory = c.Log.(*eventlogtest.Memory)
		var err error
		set, err = projections.Open(t.Context(), projections.Config{
			Dir: t.TempDir(), Log: g, Append: g,
			Observe: projections.Hooks{Rebuilt: func(_ string, r projections.Rebuild) { ended <- r }},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Read = set
	})
	s.read = set
	runSet(t, set)
	return s, g, ended
}

// runSet runs read models until the end of the test.
func runSet(t *testing.T, set *projections.Set) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- set.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (a answer) row(t *testing.T) projections.Status {
	t.Helper()
	var row projections.Status
	if err := json.Unmarshal([]byte(a.body), &row); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return row
}

func Test_a_rebuild_is_started_shown_and_cancelled(t *testing.T) {
	s, g, ended := rebuilding(t)
	s.must("admin", "POST", "/api/branches", `{"branchId":"b1","name":"Mitte"}`)
	s.settle()
	g.mu.Lock()
	a := s.send("admin", "POST", "/api/projections/stats/rebuild", "")
	if a.status != http.StatusAccepted || !strings.Contains(a.body, `"name":"stats"`) || strings.Contains(a.body, `"name":"users"`) {
		t.Fatalf("%d %s, want 202 with the row of stats", a.status, a.body)
	}
	<-g.came
	s.send("admin", "POST", "/api/projections/stats/rebuild", "").refused(t, codeRebuildRunning)
	s.send("admin", "POST", "/api/projections/stats/rebuild?verify=true", "").refused(t, codeRebuildRunning)
	row := s.must("admin", "GET", "/api/projections/stats", "").row(t)
	if row.State != projections.StateRebuilding || row.Rebuild == nil || row.Rebuild.State != projections.RebuildFolding {
		t.Errorf("meanwhile it is %+v, %+v; want rebuilding", row, row.Rebuild)
	}
	s.must("staff", "GET", "/api/branches/b1", "") // it is served all the while
	if a := s.send("admin", "DELETE", "/api/projections/stats/rebuild", ""); a.status != http.StatusNoContent {
		t.Fatalf("%d %s, want 204", a.status, a.body)
	}
	g.mu.Unlock()
	if r := <-ended; r.State != projections.RebuildCancelled {
		t.Errorf("it is %+v, want it cancelled", r)
	}
	s.send("admin", "DELETE", "/api/projections/stats/rebuild", "").refused(t, codeNoRebuild)

	s.must("admin", "POST", "/api/projections/stats/rebuild?verify=true", "")
	if r := <-ended; r.State != projections.RebuildDone || !r.Verify || !r.Verification.Equal {
		t.Errorf("the verification is %+v, want equal digests", r)
	}
	row = s.must("admin", "GET", "/api/projections/stats", "").row(t)
	if row.Rebuild != nil || row.LastRebuild == nil || !row.LastRebuild.Verification.Equal {
		t.Errorf("afterwards it is %+v with %+v, want the result", row, row.LastRebuild)
	}
	a = s.must("admin", "POST", "/api/projections/all/rebuild", "")
	if n := strings.Count(a.body, `"name"`); n != len(s.read.Names()) {
		t.Errorf("%d rebuilds of all, want %d: %s", n, len(s.read.Names()), a.body)
	}
	for range s.read.Names() {
		if r := <-ended; r.State != projections.RebuildDone {
			t.Errorf("one of all is %+v, want it done", r)
		}
	}
}

func Test_rebuilds_are_for_admins_and_of_what_there_is(t *testing.T) {
	s := newShop(t, nil)
	pos := domain.Position{Epoch: s.log.Head().Epoch, Seq: 1}.String()
	for _, tt := range []struct{ method, path string }{
		{"POST", "/rebuild"},
		{"DELETE", "/rebuild"},
		{"GET", ""},
		{"GET", "/parked"},
		{"GET", "/digests"},
		{"POST", "/parked/" + pos + "/retry"},
		{"POST", "/parked/" + pos + "/skip"},
	} {
		s.send("", tt.method, "/api/projections/stats"+tt.path, "").refused(t, domain.CodeUnauthorized)
		for _, who := range []string{"manager", "staff"} {
			s.send(who, tt.method, "/api/projections/stats"+tt.path, "").refused(t, domain.CodeRoleForbidden)
		}
		s.send("admin", tt.method, "/api/projections/nonsense"+tt.path, "").refused(t, codeUnknownProjection)
	}
	s.send("admin", "POST", "/api/projections/stats/rebuild?verify=yes", "").refused(t, domain.CodeValidation)
	s.send("admin", "POST", "/api/projections/stats/rebuild?fast=true", "").refused(t, domain.CodeValidation)
	s.send("admin", "POST", "/api/projections/stats/parked/x/retry", "").refused(t, domain.CodeValidation)
	s.send("admin", "POST", "/api/projections/stats/parked/"+pos+"/skip", "").refused(t, codeUnknownParked)
}

func Test_what_is_parked_is_shown_retried_and_skipped(t *testing.T) {
	s := newShop(t, nil)
	user := func(version uint64, data string) domain.Position {
		t.Helper()
		c := &domain.Commit{Stream: "user/eve", Version: version, CommandID: data, At: noon, Events: []domain.Event{
			{ID: "e", Type: domain.TypeUserUpdated, Version: 1, At: noon, Data: json.RawMessage(data)},
		}}
		if err := s.log.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return c.Position
	}
	bad := user(1, `{"userId":7}`) // no program of ours writes that
	waits := user(2, `{"userId":"eve","action":"created","role":"staff","branches":["b2"],"disabled":true,"changes":[]}`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.read.WaitFor(ctx, projections.Users, waits); err != nil {
		t.Fatal(err)
	}
	a := s.must("admin", "GET", "/api/projections/users/parked", "")
	var page struct {
		Items []struct{ Pos, Stream, Error string }
	}
	if err := json.Unmarshal([]byte(a.body), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != 2 || page.Items[0].Pos != bad.String() || page.Items[0].Error == "" || page.Items[1].Pos != waits.String() || page.Items[1].Error != "" {
		t.Fatalf("parked are %s, want the bad one with its error and the one that waits", a.body)
	}
	if row := s.must("admin", "GET", "/api/projections/users", "").row(t); row.State != projections.StateParked || row.Parked != 2 {
		t.Errorf("it is %s with %d parked, want parked, 2", row.State, row.Parked)
	}
	at := "/api/projections/users/parked/"
	s.send("admin", "POST", at+waits.String()+"/retry", "").refused(t, codeParkedBehind)
	s.send("admin", "POST", at+bad.String()+"/retry", "").refused(t, codeStillFailing)
	if row := s.must("admin", "POST", at+bad.String()+"/skip", "").row(t); row.State != projections.StateLive || row.Parked != 0 {
		t.Errorf("after the skip it is %s with %d parked, want live, 0", row.State, row.Parked)
	}
	s.send("stranger", "GET", "/api/branches", "").refused(t, domain.CodeUnauthorized) // what waited is folded: eve is disabled
}
