package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// A start that takes long is no reason to kill the node: it says from the
// beginning that it lives, what it is doing, and when to come back.
func TestOpening_is_told_and_keeps_nobody_waiting(t *testing.T) {
	flags, cfg := serveFlags()
	if err := flags.Parse([]string{"--addr", "127.0.0.1:0", "--data", t.TempDir(), "--jwt-secret", testSecret, "--cors-origins", "https://shop.example"}); err != nil {
		t.Fatal(err)
	}
	app := patientApp(cfg, slog.New(slog.DiscardHandler))
	app.front.opening("opening the log")
	for _, open := range []func(context.Context) error{app.listen, app.openTelemetry, app.openServer} {
		if err := open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	get := func(path string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+app.listener.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://shop.example")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(body)
	}
	if res, body := get("/healthz"); res.StatusCode != http.StatusOK || body != `{"status":"alive"}` {
		t.Errorf("/healthz: %d %s, want it alive", res.StatusCode, body)
	}
	if res, body := get("/readyz"); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"reasons":["opening the log"]`) {
		t.Errorf("/readyz: %d %s, want the reason", res.StatusCode, body)
	}
	for _, path := range []string{"/api/branches", "/socket.io/?EIO=4&transport=polling", "/ws", "/console"} {
		res, body := get(path)
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || res.Header.Get("Access-Control-Allow-Origin") == "" || !strings.Contains(body, `"code":"overloaded"`) {
			t.Errorf("%s: %d %v %s, want 503 with Retry-After, for pages to read", path, res.StatusCode, res.Header, body)
		}
	}
	if _, body := get("/metrics"); !strings.Contains(body, `bms_http_refusals_total{code="overloaded"} 4`) {
		t.Errorf("the refusals are not counted: %s", body)
	}
	for _, open := range []func(context.Context) error{app.openLog, app.openAuth, app.openProjections, app.openDeciders, app.openSockets, app.openHTTP} {
		if err := open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if res, body := get("/ws-status"); res.StatusCode != http.StatusOK {
		t.Errorf("/ws-status of an open node: %d %s", res.StatusCode, body)
	}
	if err := app.Close(); err != nil {
		t.Error(err)
	}
}

// A start that fails leaves nobody behind who serves.
func TestOpening_ends_with_a_start_that_fails(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir)
	flags, cfg := serveFlags()
	if err := flags.Parse([]string{"--addr", "127.0.0.1:0", "--data", dir, "--jwt-secret", testSecret}); err != nil {
		t.Fatal(err)
	}
	second := patientApp(cfg, slog.New(slog.DiscardHandler))
	if err := second.open(t.Context()); err == nil || !strings.Contains(err.Error(), "in use by another node") {
		t.Errorf("a second node on the same folder: %v", err)
	}
	<-second.served
	n.stop()
}
