package main

import (
	"net/http"
	"strings"
	"testing"

	"bms/domain"
	"bms/transport/eventlog"
	"bms/transport/leaktest"
)

func TestApp_serves_and_leaves_nothing_behind(t *testing.T) {
	none := leaktest.Check(t)
	node := startNode(t, t.TempDir())
	node.do(t, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	client := &http.Client{Transport: &http.Transport{}}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/ws-status": 200, "/metrics": 200, "/openapi.json": 200, "/api/branches": 401} {
		res, err := client.Get("http://" + node.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, res.Status, want)
		}
	}
	client.CloseIdleConnections()
	node.stop()
	none()
}

func TestApp_that_fails_to_open_lets_go_of_what_it_took(t *testing.T) {
	none := leaktest.Check(t)
	dir := t.TempDir()
	node := startNode(t, dir)
	code, _, stderr := bms(t, "serve", "--jwt-secret", testSecret, "--addr", "127.0.0.1:0", "--data", dir)
	if code != exitFailed || !strings.Contains(stderr, "another node") {
		t.Errorf("code %d, %q; want %d and that another node has the folder", code, stderr, exitFailed)
	}
	node.stop()
	none()

	// The folder is free again.
	log, err := eventlog.Open(t.Context(), eventlog.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// A node that drains says so, so that no more traffic comes.
func TestApp_that_drains_is_not_ready(t *testing.T) {
	node := startNode(t, t.TempDir())
	if reasons := node.app.unready(); len(reasons) != 0 {
		t.Errorf("not ready for %q, want ready", reasons)
	}
	node.app.draining.Store(true)
	res, err := http.Get("http://" + node.addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz while draining: %s, want 503", res.Status)
	}
}
