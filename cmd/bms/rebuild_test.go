package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bms/domain"
	"bms/projections"
)

func TestRebuild_all_and_verify_on_a_node_that_serves(t *testing.T) {
	clearEnvironment(t)
	node := startNode(t, t.TempDir())
	node.do(t, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	url, token := "http://"+node.addr, signed("bench", domain.RoleAdmin)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := bms(t, "rebuild", "all", "--url", url, "--token", token)
	if code != exitOK {
		t.Fatalf("code %d, %q", code, stderr)
	}
	for _, name := range node.app.projections.Names() {
		if !strings.Contains(stdout, name+": rebuilt, ") {
			t.Errorf("stdout %q does not say that %s is rebuilt", stdout, name)
		}
	}
	t.Setenv("BMS_TOKEN_FILE", file)
	code, stdout, stderr = bms(t, "rebuild", "--verify", "inventory", "--url", url+"/")
	if code != exitOK || !strings.Contains(stdout, "inventory: verified") {
		t.Errorf("code %d, stdout %q, stderr %q; want that it is verified", code, stdout, stderr)
	}
	if err := os.Unsetenv("BMS_TOKEN_FILE"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BMS_TOKEN", token)
	code, _, stderr = bms(t, "rebuild", "--cancel", "--url", url, "inventory")
	if code != exitFailed || !strings.Contains(stderr, "no_rebuild") {
		t.Errorf("cancel with nothing under way: code %d, %q", code, stderr)
	}
	if code, _, stderr = bms(t, "rebuild", "--cancel", "--url", url, "all"); code != exitOK {
		t.Errorf("cancel all with nothing under way: code %d, %q", code, stderr)
	}
	code, _, stderr = bms(t, "rebuild", "nonsense", "--url", url)
	if code != exitFailed || !strings.Contains(stderr, "unknown_projection") {
		t.Errorf("unknown projection: code %d, %q", code, stderr)
	}
	code, _, stderr = bms(t, "rebuild", "stats", "--url", url, "--token", "x.y.z")
	if code != exitFailed || !strings.Contains(stderr, "unauthorized") {
		t.Errorf("bad token: code %d, %q", code, stderr)
	}
}

// Whoever runs it beside the node, with the node's flags or variables, is let in.
func TestRebuild_signs_as_the_node_wants_it(t *testing.T) {
	clearEnvironment(t)
	node := startNode(t, t.TempDir(), "--jwt-issuer", "shops", "--jwt-audience", "tills")
	t.Setenv("BMS_JWT_ISSUER", "shops")
	code, _, stderr := bms(t, "rebuild", "stats", "--url", "http://"+node.addr, "--jwt-secret", testSecret, "--jwt-audience", "tills")
	if code != exitOK {
		t.Errorf("code %d, %q, want it rebuilt", code, stderr)
	}
}

func TestRebuild_mistakes_are_named(t *testing.T) {
	clearEnvironment(t)
	for name, c := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"no_name":   {[]string{"rebuild"}, exitUsage, "NAME|all is missing"},
		"two_names": {[]string{"rebuild", "stats", "users"}, exitUsage, `"users"`},
		"no_token":  {[]string{"rebuild", "stats", "--data", t.TempDir()}, exitUsage, "--token"},
		"short_key": {[]string{"rebuild", "stats", "--jwt-secret", "short"}, exitUsage, "bytes"},
		"bad_url":   {[]string{"rebuild", "stats", "--url", "localhost:3001", "--token", "x"}, exitUsage, "--url"},
		"nobody":    {[]string{"rebuild", "stats", "--url", "http://127.0.0.1:1", "--token", "x"}, exitFailed, "ask the node"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, _, stderr := bms(t, c.args...); code != c.code || !strings.Contains(stderr, c.stderr) {
				t.Errorf("code %d, stderr %q; want %d, %q", code, stderr, c.code, c.stderr)
			}
		})
	}
}

func TestRebuildLines_are_a_bar_on_a_terminal_and_lines_elsewhere(t *testing.T) {
	eta, now := 61.0, time.Unix(0, 0)
	half := &projections.Rebuild{Position: domain.Position{Seq: 500}, Head: domain.Position{Seq: 1000}, Rate: 12345.6, ETA: &eta, Parked: 2}
	done := &projections.Rebuild{State: projections.RebuildDone, Events: 3000, Seconds: 1.5}
	show := func(terminal bool) string {
		var out bytes.Buffer
		l := newRebuildLines(&out)
		l.terminal, l.now = terminal, func() time.Time { return now }
		l.progress("stats", half)
		l.progress("stats", half) // too soon for another line
		now = now.Add(plainEvery)
		l.progress("stats", half)
		l.ended("stats", done)
		return out.String()
	}
	progress := " 50%  12346 events/s  ETA 1m1s  2 parked"
	line := "stats: " + strings.TrimSpace(progress) + "\n"
	ended := "stats: rebuilt, 3000 events in 1.5s (2000 events/s)\n"
	if got, want := show(false), line+line+ended; got != want {
		t.Errorf("plain lines are %q, want %q", got, want)
	}
	over := fmt.Sprintf("\rstats          [%s%s] %s", strings.Repeat("#", 15), strings.Repeat(".", 15), progress)
	blank := "\r" + strings.Repeat(" ", len(over)-1) + "\r"
	if got, want := show(true), over+over+over+blank+ended; got != want {
		t.Errorf("on a terminal it is\n%q, want\n%q", got, want)
	}
}

// Before the users are known nobody gets in, whatever his token says; how the
// node is, it tells at once.
func TestGate_lets_nobody_in_before_users_are_known(t *testing.T) {
	const page = "https://shop.example"
	node := startNode(t, t.TempDir(), "--cors-origins", page)
	node.do(t, domain.CommandSetUser, "", domain.SetUser{UserID: "u1", Role: domain.RoleStaff, Branches: []string{"b1"}})
	head := node.app.log.Head()
	app := &App{cfg: node.app.cfg, refusals: node.app.refusals, projections: node.app.projections, found: domain.Position{Epoch: head.Epoch, Seq: head.Seq + 1}} // never known
	gate := app.gate(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	ask := func(path, origin string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Origin", origin)
		gate.ServeHTTP(w, r)
		return w
	}
	status := func(path string) int { return ask(path, page).Code }
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if got := status(path); got != http.StatusNoContent {
			t.Errorf("%s: %d, want it answered at once", path, got)
		}
	}
	for _, path := range []string{"/api/branches", "/socket.io/", "/ws"} {
		if got := status(path); got != http.StatusServiceUnavailable {
			t.Errorf("%s before users are known: %d, want 503", path, got)
		}
		for origin, want := range map[string]string{page: page, page + ".evil": ""} {
			if got := ask(path, origin).Header().Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("%s: pages of %q may read the answer, want %q to", path, got, want)
			}
		}
	}
	app.found, app.waits = head, node.app.waits
	if got := status("/api/branches"); got != http.StatusNoContent || !app.admits.Load() {
		t.Errorf("afterwards: %d, want it let through", got)
	}
}

func TestReady_says_that_the_disk_is_nearly_full(t *testing.T) {
	if got := judgeFree(leastFree); got != "" {
		t.Errorf("with %d bytes free: %q, want nothing", leastFree, got)
	}
	if got := judgeFree(leastFree - 1); !strings.Contains(got, "disk nearly full: 255 MB") {
		t.Errorf("with %d bytes free: %q, want that it is nearly full", leastFree-1, got)
	}
	if got := nearlyFull(t.TempDir()); strings.Contains(got, "disk") != strings.Contains(got, "free") {
		t.Errorf("of a real folder: %q", got)
	}
	if got := nearlyFull(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("of no folder: %q, want nothing", got)
	}
}
