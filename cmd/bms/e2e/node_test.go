package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// secret signs the tokens of these tests.
const secret = "an end-to-end secret of 32 bytes and more"

// page is the origin of the page in the browser-like tests.
const page = "http://localhost:5173"

// node is a running `bms serve`.
type node struct {
	*process
	data  string // folder
	addr  string // host:port
	flags []string
}

// serve starts a node with a port and a data folder of its own.
func serve(t *testing.T, flags ...string) *node {
	t.Helper()
	return serveOn(t, t.TempDir(), quietAddr(t), flags...)
}

// quietAddr is an address to serve on again and again: its port is below those
// that systems give to who asks for any, so nobody takes it while no node is
// there.
func quietAddr(t *testing.T) string {
	t.Helper()
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			_ = l.Close()
			return addr
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

func serveOn(t *testing.T, data, addr string, flags ...string) *node {
	t.Helper()
	n := &node{data: data, flags: flags}
	args := append([]string{bms, "serve", "--addr", addr, "--data", data, "--cors-origins", page}, flags...)
	n.process = start(t, "bms serve", []string{"BMS_JWT_SECRET=" + secret}, args...)
	const announcement = "serving on http://"
	n.await("line that says where it serves", 0, func(line string) bool {
		_, at, found := strings.Cut(line, announcement)
		n.addr, _, _ = strings.Cut(at, " ")
		return found
	})
	return n
}

// killAndRestart kills the node with -9 and starts one on the same data and
// the same port.
func (n *node) killAndRestart() *node {
	n.t.Helper()
	n.signal(syscall.SIGKILL)
	n.exit()
	return serveOn(n.t, n.data, n.addr, n.flags...)
}

// token makes a token with `bms token`.
func token(t *testing.T, user, role string, flags ...string) string {
	t.Helper()
	args := append([]string{bms, "token", "--user", user, "--role", role}, flags...)
	p := start(t, "bms token", []string{"BMS_JWT_SECRET=" + secret}, args...)
	if code := p.exit(); code != 0 || len(p.out) != 1 {
		t.Fatalf("bms token exits %d and prints %q", code, p.out)
	}
	return p.out[0]
}

// answer is what the HTTP API said.
type answer struct {
	status int
	raw    []byte
}

// call makes a request. headers are pairs of name and value.
func (n *node) call(method, path, token string, body any, headers ...string) answer {
	n.t.Helper()
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			n.t.Fatal(err)
		}
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, "http://"+n.addr+path, content)
	if err != nil {
		n.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	return answer{res.StatusCode, raw}
}

// must is call for what has to succeed.
func (n *node) must(method, path, token string, body any, headers ...string) answer {
	n.t.Helper()
	a := n.call(method, path, token, body, headers...)
	if a.status < 200 || a.status > 299 {
		n.t.Fatalf("%s %s: %d %s", method, path, a.status, a.raw)
	}
	return a
}

// read gets a read model that has all that is in the log now, however far it is
// behind: by itself the node doesn't wait for long.
func (n *node) read(path, token, admin string) answer {
	n.t.Helper()
	var log struct{ Pos string }
	n.must("GET", "/api/events?limit=1", admin, nil).into(n.t, &log)
	at, err := url.Parse(path)
	if err != nil {
		n.t.Fatal(err)
	}
	query := at.Query()
	query.Set("minPos", log.Pos)
	at.RawQuery = query.Encode()
	for enough := time.Now().Add(patience); ; {
		a := n.call("GET", at.String(), token, nil)
		if a.status < 300 {
			return a
		}
		var p problem
		if a.into(n.t, &p); p.Code != "read_model_behind" || time.Now().After(enough) {
			n.t.Fatalf("GET %s: %d %s", at, a.status, a.raw)
		}
	}
}

// into decodes the answer.
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.raw, v); err != nil {
		t.Fatalf("answer %s: %v", a.raw, err)
	}
}

// problem is an error answer (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Lines  []struct {
		ProductID string `json:"productId"`
		Available int64  `json:"available"`
		Asked     int64  `json:"asked"`
	} `json:"lines"`
	Errors []struct {
		Field string `json:"field"`
	} `json:"errors"`
}

// refused makes a request that has to be refused with the status.
func (n *node) refused(status int, method, path, token string, body any) problem {
	n.t.Helper()
	a := n.call(method, path, token, body)
	if a.status != status {
		n.t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.raw, status)
	}
	var p problem
	a.into(n.t, &p)
	return p
}

// event is an envelope as it came, with what the tests look at.
type event struct {
	ID       string         `json:"id"`
	Type     string         `json:"type"`
	BranchID *string        `json:"branchId"`
	Pos      string         `json:"pos"`
	Data     map[string]any `json:"data"`
}

func (e event) branch() string {
	if e.BranchID == nil {
		return ""
	}
	return *e.BranchID
}

// log reads the whole log over HTTP, in order: envelopes byte for byte as the
// server wrote them.
func (n *node) log(admin string) []json.RawMessage {
	n.t.Helper()
	var all []json.RawMessage
	query := url.Values{"limit": {"100"}}
	for {
		var list struct {
			Items      []json.RawMessage `json:"items"`
			NextCursor string            `json:"nextCursor"`
		}
		n.must("GET", "/api/events?"+query.Encode(), admin, nil).into(n.t, &list)
		all = append(all, list.Items...)
		if list.NextCursor == "" {
			return all
		}
		query.Set("after", list.NextCursor)
	}
}
