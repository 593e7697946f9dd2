package main

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"bms/domain"
)

// keyed makes a request under an Idempotency-Key and returns status and body.
func (n *testNode) keyed(t *testing.T, method, path, key, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+signed("bench", domain.RoleAdmin))
	r.Header.Set("Idempotency-Key", key)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

// Invariant 3: what an operator has done under a key is in the log, and no
// breach of it.
func TestOperation_key_gives_the_same_answer_after_a_restart(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir)
	status, body := n.keyed(t, "POST", "/api/projections/stats/rebuild", "k1", "")
	if status != http.StatusAccepted {
		t.Fatalf("%d %s, want 202", status, body)
	}
	n.stop()
	n = startNode(t, dir)
	if status, again := n.keyed(t, "POST", "/api/projections/stats/rebuild", "k1", ""); status != http.StatusAccepted || again != body {
		t.Errorf("after a restart: %d %s\nwant the same as before: %s", status, again, body)
	}
	if status, again := n.keyed(t, "POST", "/api/projections/users/rebuild", "k1", ""); status != http.StatusUnprocessableEntity {
		t.Errorf("for another: %d %s, want 422", status, again)
	}
	n.stop()
	var out bytes.Buffer
	if err := verify(t.Context(), &verifyConfig{dataDir: dir, alerts: "any"}, &out, io.Discard); err != nil {
		t.Errorf("verify: %v\n%s", err, out.String())
	}
}

// Invariant 3: an answer that is given again says how durable the commit was,
// not how durable commits are now.
func TestDurability_of_an_answer_is_that_of_its_commit(t *testing.T) {
	dir := t.TempDir()
	first := map[string]string{}
	for i, durability := range []string{"relaxed", "fsync", "relaxed"} {
		n := startNode(t, dir, "--durability", durability)
		for _, key := range []string{"relaxed", "fsync"}[:min(i+1, 2)] {
			status, answer := n.keyed(t, "POST", "/api/branches", key, `{"branchId":"`+key+`","name":"Shop"}`)
			if status != http.StatusCreated || !strings.Contains(answer, `"durability":"`+key+`"`) {
				t.Errorf("%d %s, want it %s", status, answer, key)
			}
			if first[key] == "" {
				first[key] = answer
			}
			if answer != first[key] {
				t.Errorf("with %s: %s\nwant %s", durability, answer, first[key])
			}
		}
		n.stop()
	}
}
