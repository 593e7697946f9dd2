package e2e_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The README's first client and first command do what it says, on what `make
// run` starts.
func TestReadme_first_client_and_first_command_work(t *testing.T) {
	content, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	part := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindSubmatch(content)
		if m == nil {
			t.Fatalf("README.md has nothing like %s", pattern)
		}
		return string(m[1])
	}
	const there = "localhost:3001"
	program := part("(?s)```js\n(.*?)```")
	path := part(there + `(/api/\S+)`)
	key := part(`'Idempotency-Key: (\S+)'`)
	body := part(`-d '(\{.*\})'`)

	p := start(t, "bms serve --dev --demo", nil, bms, "serve", "--dev", "--demo", "--addr", "localhost:0", "--data", t.TempDir())
	n := &node{process: p}
	staff := ""
	p.await("token for staff", 0, func(line string) bool {
		if _, at, found := strings.Cut(line, "serving on http://"); found {
			n.addr, _, _ = strings.Cut(at, " ")
		}
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == "staff" {
			staff = f[1]
		}
		return staff != ""
	})
	c := start(t, "the README's client", []string{"TOKEN=" + staff}, "node", "--input-type=module", "-e", strings.ReplaceAll(program, there, n.addr))
	c.await("connection", 0, func(line string) bool { return strings.HasPrefix(line, "connected") })
	// The tills begin when all products are there.
	c.await("sale of the demo", 0, func(line string) bool { return strings.HasPrefix(line, "sold for") })
	answer := n.must("POST", path, staff, json.RawMessage(body), "Idempotency-Key", key)
	again := n.must("POST", path, staff, json.RawMessage(body), "Idempotency-Key", key)
	if string(again.raw) != string(answer.raw) {
		t.Errorf("the same key gives\n%s\nwant\n%s", again.raw, answer.raw)
	}
	c.await("sale", 0, func(line string) bool { return strings.HasPrefix(line, "sold for 2.58 EUR") })
}
