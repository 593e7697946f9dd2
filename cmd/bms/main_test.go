package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bms/transport/auth"
)

// bms runs a command in this process.
func bms(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommands_help_and_exit_codes(t *testing.T) {
	clearEnvironment(t)
	for name, c := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string // parts
	}{
		"nothing":          {nil, exitUsage, "", "bms serve"},
		"help":             {[]string{"help"}, exitOK, "bms serve", ""},
		"help_of_a_flag":   {[]string{"serve", "-h"}, exitOK, "--durability when", ""},
		"unknown_command":  {[]string{"sevre"}, exitUsage, "", `"sevre"`},
		"unknown_flag":     {[]string{"log", "--form", "x"}, exitUsage, "", "--form"},
		"bad_position":     {[]string{"log", "--from", "x"}, exitUsage, "", "from"},
		"unknown_type":     {[]string{"log", "--type", "sale"}, exitUsage, "", "type"},
		"no_log":           {[]string{"log", "--data", t.TempDir()}, exitFailed, "", "log"},
		"no_key":           {[]string{"serve", "--data", t.TempDir()}, exitUsage, "", "--jwt-secret"},
		"token_for_nobody": {[]string{"token"}, exitUsage, "", "--user"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := bms(t, c.args...)
			if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
				t.Errorf("code %d, stdout %q, stderr %q; want %d, %q, %q", code, stdout, stderr, c.code, c.stdout, c.stderr)
			}
			if (stdout == "") == (c.stdout != "") || (stderr == "") == (c.stderr != "") {
				t.Errorf("stdout %q and stderr %q, want only one of them", stdout, stderr)
			}
		})
	}
}

func TestToken_is_what_a_node_accepts(t *testing.T) {
	clearEnvironment(t)
	dir := t.TempDir()
	key, err := makeDevKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args   []string
		secret []byte
	}{
		"of_a_secret":     {[]string{"--jwt-secret", testSecret}, []byte(testSecret)},
		"of_a_dev_folder": {[]string{"--data", dir}, key},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := bms(t, append([]string{"token", "--user", "u1", "--role", "manager", "--branch", "b2,b1,b2", "--ttl", "2h", "--name", "Ada", "--device", "d1"}, c.args...)...)
			if code != exitOK {
				t.Fatalf("code %d: %s", code, stderr)
			}
			verifier, err := auth.New(auth.Config{Secret: c.secret})
			if err != nil {
				t.Fatal(err)
			}
			token, err := verifier.Verify(context.Background(), strings.TrimSpace(stdout))
			if err != nil {
				t.Fatal(err)
			}
			id := token.Identity
			if id.UserID != "u1" || id.Role != "manager" || strings.Join(id.Branches, " ") != "b1 b2" || id.Name != "Ada" || id.DeviceID != "d1" {
				t.Errorf("identity %+v", id)
			}
			if left := time.Until(token.ExpiresAt); left < time.Hour || left > 2*time.Hour {
				t.Errorf("it expires in %v, want 2h", left)
			}
		})
	}
}

func TestToken_refuses_what_no_node_would_accept(t *testing.T) {
	clearEnvironment(t)
	for name, args := range map[string][]string{
		"id":                     {"--user", "a b", "--role", "admin"},
		"role":                   {"--user", "u1", "--role", "boss"},
		"staff_without_a_branch": {"--user", "u1", "--role", "staff"},
		"branch":                 {"--user", "u1", "--branch", "b1,*"},
		"ttl":                    {"--user", "u1", "--branch", "b1", "--ttl", "-1h"},
		"device":                 {"--user", "u1", "--branch", "b1", "--device", "d 1"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := bms(t, append([]string{"token", "--jwt-secret", testSecret}, args...)...)
			if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 {
				t.Errorf("code %d, stdout %q, stderr %q; want %d and one line", code, stdout, stderr, exitUsage)
			}
		})
	}
	t.Run("short_secret", func(t *testing.T) {
		if code, _, stderr := bms(t, "token", "--jwt-secret", "short", "--user", "u1", "--role", "admin"); code != exitUsage || strings.Contains(stderr, `"short"`) {
			t.Errorf("code %d, stderr %q; want %d and not the secret", code, stderr, exitUsage)
		}
	})
}

func TestDevKey_is_made_once_and_for_its_owner_only(t *testing.T) {
	dir := t.TempDir()
	key, err := makeDevKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := makeDevKey(dir)
	if err != nil || !bytes.Equal(again, key) {
		t.Errorf("the second key is %q, %v; want the first", again, err)
	}
	info, err := os.Stat(filepath.Join(dir, devKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file %v, %v; want mode 0600", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, devKeyFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := makeDevKey(dir); err == nil {
		t.Error("a damaged key is used")
	}
}

func TestAllowOrigin_dev_adds_this_machine_and_nothing_else(t *testing.T) {
	origins := []string{"https://shop.example"}
	production := App{cfg: &serveConfig{corsOrigins: origins}}
	dev := App{cfg: &serveConfig{corsOrigins: origins, dev: true}}
	for origin, want := range map[string]struct{ production, dev bool }{
		"https://shop.example":          {true, true},
		"https://shop.example:8443":     {false, false},
		"http://shop.example":           {false, false},
		"https://shop.example.evil":     {false, false},
		"https://evil.shop.example":     {false, false},
		"http://localhost:5173":         {false, true},
		"http://localhost":              {false, true},
		"https://127.0.0.1:3000":        {false, true},
		"http://[::1]:3000":             {false, true},
		"http://localhost.evil":         {false, false},
		"http://evil.example/localhost": {false, false},
		"http://u@localhost":            {false, false},
		"null":                          {false, false},
		"file://localhost":              {false, false},
		"":                              {false, false},
	} {
		if got := production.allowOrigin(origin); got != want.production {
			t.Errorf("origin %q allowed %v, want %v", origin, got, want.production)
		}
		if got := dev.allowOrigin(origin); got != want.dev {
			t.Errorf("origin %q with --dev allowed %v, want %v", origin, got, want.dev)
		}
	}
}
