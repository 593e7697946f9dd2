package main

import (
	"encoding/json"
	"strings"
	"testing"

	"bms/cmd/bms/bench"
)

// benchArgs is a short run against a node.
func benchArgs(n *testNode, more ...string) []string {
	return append([]string{
		"bench", "--url", "http://" + n.addr, "--jwt-secret", testSecret,
		"--sockets", "20", "--transport", "mixed", "--clients", "4", "--branches", "2", "--products", "10", "--duration", "500ms",
	}, more...)
}

func TestBench_measures_and_checks_a_node(t *testing.T) {
	clearEnvironment(t)
	n := startNode(t, t.TempDir())
	code, stdout, stderr := bms(t, benchArgs(n, "--check", "--json")...)
	if code != exitOK {
		t.Fatalf("code %d: %s\n%s", code, stderr, stdout)
	}
	var r bench.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if r.Commands == 0 || r.Events == 0 || r.Answers.Count == 0 || r.Deliveries.Count == 0 || r.Verdict.Answered < int(r.Commands) || r.Verdict.Events != int(r.Events) {
		t.Errorf("the report is %s", stdout)
	}
	if code, stdout, _ = bms(t, benchArgs(n, "--rate", "100")...); code != exitOK || !strings.Contains(stdout, "command to socket") {
		t.Errorf("without --json: code %d, %s", code, stdout)
	}
}

// A node that alerts at every change is none that does so only when it gets
// worse: the check has to say so.
func TestBench_finds_a_node_that_does_otherwise(t *testing.T) {
	clearEnvironment(t)
	n := startNode(t, t.TempDir(), "--alerts-repeat", "every")
	code, stdout, stderr := bms(t, benchArgs(n, "--products", "1", "--duration", "2s", "--check", "--alerts-repeat", "escalation", "--grace", "10s")...)
	if code != exitFailed || !strings.Contains(stdout, "BROKEN") || !strings.Contains(stdout, "alert: ") || !strings.Contains(stderr, "promises") {
		t.Errorf("code %d, stderr %q\n%s", code, stderr, stdout)
	}
}

func TestBench_says_what_is_wrong(t *testing.T) {
	clearEnvironment(t)
	n := startNode(t, t.TempDir())
	for name, c := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"no_key":      {[]string{"bench", "--data", t.TempDir()}, exitUsage, "--jwt-secret"},
		"no_url":      {[]string{"bench", "--url", "localhost", "--jwt-secret", testSecret}, exitUsage, "http://host:port"},
		"no_node":     {[]string{"bench", "--url", "http://127.0.0.1:1", "--jwt-secret", testSecret}, exitFailed, "refused"},
		"another_key": {benchArgs(n, "--jwt-secret", strings.Repeat("x", 32)), exitFailed, "401"},
		"no_clients":  {benchArgs(n, "--clients", "0"), exitUsage, "--clients"},
		"transport":   {benchArgs(n, "--transport", "pigeon"), exitUsage, "mixed"},
		"rate":        {benchArgs(n, "--rate", "-1"), exitUsage, "rate"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := bms(t, c.args...)
			if code != c.code || !strings.Contains(stderr, c.stderr) {
				t.Errorf("code %d, stderr %q; want %d, %q", code, stderr, c.code, c.stderr)
			}
		})
	}
}
