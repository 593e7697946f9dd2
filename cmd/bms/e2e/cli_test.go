package e2e_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What cannot start says why in one line, exits 1, and damages nothing.
func TestServe_that_cannot_start_says_why_in_one_line(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	openShops(n, admin)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	key := "BMS_JWT_SECRET=" + secret
	for name, c := range map[string]struct {
		environ []string
		addr    string
		data    string
		code    int
		want    []string
	}{
		"port_taken":          {[]string{key}, taken.Addr().String(), t.TempDir(), 1, []string{"--addr", taken.Addr().String(), "in use"}},
		"folder_in_use":       {[]string{key}, "127.0.0.1:0", n.data, 1, []string{"--data", n.data, "another node"}},
		"folder_not_a_folder": {[]string{key}, "127.0.0.1:0", filepath.Join(file, "data"), 1, []string{"--data", file}},
		"no_key":              {nil, "127.0.0.1:0", t.TempDir(), 2, []string{"--jwt-secret"}},
		"unknown_variable":    {[]string{key, "BMS_ADRESS=:1"}, "127.0.0.1:0", t.TempDir(), 2, []string{"BMS_ADRESS"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, name, c.environ, bms, "serve", "--addr", c.addr, "--data", c.data)
			if code := p.exit(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if len(p.errs) != 1 || len(p.out) != 0 {
				t.Fatalf("said %q on stderr and %q on stdout, want one line on stderr", p.errs, p.out)
			}
			for _, want := range c.want {
				if !strings.Contains(p.errs[0], want) {
					t.Errorf("said %q, want it to name %q", p.errs[0], want)
				}
			}
		})
	}
	lastly(n, admin, "b1") // the node that holds the folder is unharmed
}

func TestServe_dev_makes_a_key_and_prints_a_token_per_role(t *testing.T) {
	data := t.TempDir()
	dev := func() (addr string, tokens map[string]string, p *process) {
		p = start(t, "bms serve --dev", nil, bms, "serve", "--dev", "--addr", "127.0.0.1:0", "--data", data)
		tokens = map[string]string{}
		p.await("three tokens", 0, func(line string) bool {
			if _, at, found := strings.Cut(line, "serving on http://"); found {
				addr, _, _ = strings.Cut(at, " ")
			}
			if f := strings.Fields(line); len(f) == 2 && strings.Count(f[1], ".") == 2 {
				tokens[f[0]] = f[1]
			}
			return len(tokens) == 3
		})
		return addr, tokens, p
	}
	addr, tokens, p := dev()
	info, err := os.Stat(filepath.Join(data, "dev.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("development key: %v, %v; want a file with mode 0600", info, err)
	}
	n := &node{process: p, data: data, addr: addr}
	for role, tok := range tokens {
		n.must("GET", "/api/branches", tok, nil)
		if role == "admin" {
			openShops(n, tok)
		}
	}
	// A token of the command line, signed with the key in the folder.
	printed := start(t, "bms token", nil, bms, "token", "--user", "u1", "--role", "staff", "--branch", "b1", "--data", data)
	if code := printed.exit(); code != 0 {
		t.Fatalf("bms token exits %d", code)
	}
	n.must("GET", "/api/branches/b1", printed.out[0], nil)
	// A page of localhost may ask, another may not.
	for origin, want := range map[string]string{page: page, "http://evil.example": ""} {
		req, err := http.NewRequest("GET", "http://"+addr+"/api/branches", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Authorization", "Bearer "+tokens["admin"])
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("origin %s: Access-Control-Allow-Origin %q, want %q", origin, got, want)
		}
	}
	// The key stays: a token from before the restart is good after it.
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	addr, _, p = dev()
	(&node{process: p, addr: addr}).must("GET", "/api/branches", tokens["admin"], nil)
}

func TestServe_drains_on_sigterm(t *testing.T) {
	n := serve(t)
	c := dashboard(t, "dashboard", "http://"+n.addr+"/ws", token(t, "u1", "admin"), `{}`)
	c.next("session")
	n.signal(syscall.SIGTERM)
	if code := n.exit(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	// It is "transport close", or "transport error" for a client that was just
	// going over to its WebSocket.
	if s := c.next("disconnect"); s.Reason == "io server disconnect" {
		t.Errorf("disconnect for %q: it would not come back", s.Reason)
	}
	serveOn(t, n.data, n.addr)
	if s := c.next("connect"); !s.Recovered {
		t.Error("socket.recovered is false after a planned restart")
	}
}

// `bms log` reads beside the serving node.
func TestLog_prints_what_the_API_gives(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	openShops(n, admin)
	// Alerts come of themselves: once they have, the log stands still.
	expected, alerts := trade(n, admin, "b1"), 0
	start(t, "bms log --follow", nil, bms, "log", "--data", n.data, "--follow", "--type", "low-stock:alert").
		await("last alert", 0, func(string) bool { alerts++; return alerts == expected })
	all := func(args ...string) []json.RawMessage {
		p := start(t, "bms log", nil, append([]string{bms, "log", "--data", n.data}, args...)...)
		if code := p.exit(); code != 0 {
			t.Fatalf("bms log %q exits %d: %q", args, code, p.errs)
		}
		var lines []json.RawMessage
		for _, line := range p.out {
			lines = append(lines, json.RawMessage(line))
		}
		return lines
	}
	follower := start(t, "bms log --follow", nil, bms, "log", "--data", n.data, "--follow", "--branch", "b2")
	last := lastly(n, admin, "b2")
	follower.await("event just made", 0, func(line string) bool { return strings.Contains(line, last) })
	follower.signal(syscall.SIGINT)
	if code := follower.exit(); code != 0 {
		t.Errorf("bms log --follow exits %d after an interrupt, want 0", code)
	}

	log := n.log(admin)
	wantEvents(t, "bms log", all(), log)
	wantEvents(t, "bms log --branch", all("--branch", "b1"), visible(t, log, "b1"))
	wantEvents(t, "bms log --type", all("--type", "branch:updated", "--branch", "b2"), visible(t, log, "b2")[:1])
	var third event
	if err := json.Unmarshal(log[2], &third); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, "bms log --from", all("--from", third.Pos), log[3:])

	p := start(t, "bms log", nil, bms, "log", "--data", t.TempDir())
	if code := p.exit(); code != 1 || len(p.errs) != 1 {
		t.Errorf("without a log: exit code %d and %q, want 1 and one line", code, p.errs)
	}
}
