package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// browser is Chromium with members in its pages.
type browser struct{ *crowd }

// chromium finds the browser under test.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("these tests need a browser: run make test as root, or install Chromium (Debian's package chromium)")
	return ""
}

// pages serves the page of the members, on an origin of its own.
func pages(t *testing.T) (origin string) {
	t.Helper()
	mux := http.NewServeMux()
	for _, library := range libraries {
		mux.Handle("GET /"+library+"/", http.FileServer(http.Dir("node_modules")))
	}
	mux.Handle("GET /", http.FileServer(http.Dir("programs")))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// browse opens members in pages of an origin.
func browse(t *testing.T, origin string, members ...*member) *browser {
	t.Helper()
	p := start(t, "Chromium", nil, "node", "programs/matrix-browser.mjs", chromium(t), origin, encode(t, members))
	t.Cleanup(func() {
		_ = p.in.Close() // else the browser would outlive the program
		p.exit()
	})
	return &browser{newCrowd(p, members)}
}

// do makes something happen to the browser, and waits until it has.
func (b *browser) do(action string, args ...string) {
	b.t.Helper()
	out, _, _ := b.snapshot()
	if _, err := fmt.Fprintln(b.in, strings.Join(append([]string{action}, args...), " ")); err != nil {
		b.t.Fatal(err)
	}
	b.await(action, len(out), func(line string) bool { return b.parse(line).On == action })
}

// preflights are the URLs that the pages asked permission for.
func (b *browser) preflights() []string {
	b.t.Helper()
	out, _, _ := b.snapshot()
	var urls []string
	for _, line := range out {
		if s := b.parse(line); s.On == "preflight" {
			urls = append(urls, s.URL)
		}
	}
	return urls
}

// Invariant 4 in a browser, for a page of another origin, every version of the
// stock client and every transport: across kill -9, a laptop that sleeps until
// the server has given it up, and a network that is gone for a while. Browsers
// offer permessage-deflate, and nearly everything is compressed here.
func TestMatrix_of_clients_in_a_browser(t *testing.T) {
	origin := pages(t)
	n := serve(t, "--cors-origins", origin, "--ping-interval", "2s", "--ping-timeout", "3s", "--compress-from", "64B")
	admin := token(t, "root", "admin")
	office := nodeCrowd(t, "office", &member{
		Name: "office", Library: libraries["newest"], URL: "http://" + n.addr + "/ws-admin", Token: admin, Options: []byte(`{}`),
	})
	members := matrix(t, n, "page", false)
	b := browse(t, origin, members...)
	b.arrive()
	openShops(n, admin)
	b.awaitAlerts(trade(n, admin, "b1"))
	trade(n, admin, "b2")
	b.check(n, admin)

	n, missed := n.killAndMiss(admin)
	b.leave(members...)
	b.comeBack(missed, members...)
	b.check(n, admin)

	// Who sleeps is given up, and wakes to what it has slept through.
	b.do("sleep")
	out, _, _ := office.snapshot()
	office.await("statistics without the pages", len(out), func(line string) bool {
		s := office.parse(line)
		return s.On == "stats" && s.Stats.Namespaces["/ws"] == 0
	})
	missed = lastly(n, admin, "b1")
	b.do("wake")
	b.leave(members...)
	b.comeBack(missed, members...)
	b.check(n, admin)

	// Without a network requests fail: polling ends when it has to ask again.
	// WebSockets that are open go on unless the client closes them.
	polling := slices.DeleteFunc(slices.Clone(members), func(m *member) bool { return m.transport != "polling" })
	b.do("offline")
	lastly(n, admin, "b1")
	b.leave(polling...)
	missed = lastly(n, admin, "b1")
	b.do("online")
	b.comeBack(missed, polling...)
	b.check(n, admin)

	// Polling never asks permission first; what carries a header does.
	b.do("fetch", "http://"+n.addr+"/api/branches", admin)
	asked := b.preflights()
	if len(asked) == 0 {
		t.Error("no preflight was seen, not even the API's")
	}
	for _, url := range asked {
		if !strings.HasSuffix(url, "/api/branches") {
			t.Errorf("preflight for %s", url)
		}
	}
}

func TestPages_are_refused_by_token_and_by_origin(t *testing.T) {
	origin := pages(t)
	n := serve(t, "--cors-origins", origin)
	members := matrix(t, n, "page", false)
	refused := refusedOnes(members)
	b := browse(t, origin, refused...)
	for _, m := range refused {
		if s := b.next(m.Name, "connect_error"); s.Data.Code != "unauthorized" || s.Message == "" {
			t.Errorf("%s: connect_error %q with code %q, want a message and unauthorized", m.Name, s.Message, s.Data.Code)
		}
	}
	// The same page elsewhere: another port is another origin.
	for _, m := range members {
		m.Once = true
	}
	stranger := browse(t, pages(t), members...)
	for _, m := range members {
		if s := stranger.next(m.Name, "connect_error"); s.Data.Code != "" {
			t.Errorf("%s of another origin: connect_error %q with code %q, want no answer at all", m.Name, s.Message, s.Data.Code)
		}
	}
	out, _, _ := stranger.snapshot()
	for _, line := range out {
		if s := stranger.parse(line); s.On == "connect" || s.On == "session" {
			t.Errorf("%s of another origin has connected", s.Client)
		}
	}
}
