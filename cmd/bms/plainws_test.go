package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"bms/domain"
	"bms/transport/auth"
	"bms/transport/plainws"
	"bms/transport/telemetry"
)

// upgrade asks for a WebSocket, with further headers, and returns the answer
// without its body, and its problem.
func (n *testNode) upgrade(t *testing.T, path string, headers ...string) (*http.Response, map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return answer, nil
	}
	var problem map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&problem); err != nil {
		t.Fatalf("%s: answer %s, %v, want a problem", path, answer.Status, err)
	}
	return answer, problem
}

// handshake is the headers of an upgrade.
var handshake = []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}

func TestPlain_refusals_are_answers_of_http(t *testing.T) {
	n := startNode(t, t.TempDir(), "--connect-rate", "1/1h", "--cors-origins", "https://app.example.com")
	staff := signed("clerk", domain.RoleStaff, "b1")
	n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, signed("eager", domain.RoleStaff, "b1"), "")
	for name, c := range map[string]struct {
		path    string
		headers []string // besides the handshake; nil: no handshake either
		status  int
		code    string
	}{
		"no_upgrade":         {"/ws", nil, 426, "upgrade_required"},
		"bad_handshake":      {"/ws", []string{"Sec-WebSocket-Version", "7"}, 400, "bad_handshake"},
		"no_token":           {"/ws", []string{}, 401, domain.CodeUnauthorized},
		"garbage":            {"/ws?token=x.y.z", []string{}, 401, domain.CodeUnauthorized},
		"token_of_a_mb":      {"/ws?token=" + strings.Repeat(".", 9<<10), []string{}, 401, domain.CodeUnauthorized},
		"protocols_of_20_kb": {"/ws", []string{"Sec-WebSocket-Protocol", "bms.v1.json, bearer." + strings.Repeat("x", 20<<10)}, 401, domain.CodeUnauthorized},
		"expired":            {"/ws?token=" + signedFor(-time.Minute, "clerk", domain.RoleStaff, "b1"), []string{}, 401, domain.CodeTokenExpired},
		"staff_in_office":    {"/ws-admin?token=" + staff, []string{}, 403, domain.CodeForbiddenNamespace},
		"no_branch_at_till":  {"/ws-pos?token=" + signed("nobody", domain.RoleStaff), []string{}, 403, domain.CodeForbiddenNamespace},
		"too_often":          {"/ws?token=" + signed("eager", domain.RoleStaff, "b1"), []string{}, 429, domain.CodeRateLimited},
		"foreign_page":       {"/ws?token=" + staff, []string{"Origin", "https://app.example.com.evil"}, 403, "forbidden_origin"},
		"page_from_nowhere":  {"/ws?token=" + staff, []string{"Origin", "null"}, 403, "forbidden_origin"},
		"no_such_namespace":  {"/ws-root?token=" + staff, []string{}, 404, "not_found"},
		"below_a_namespace":  {"/ws/x?token=" + staff, []string{}, 404, "not_found"},
		"another_scheme":     {"/ws", []string{"Authorization", "Basic x"}, 401, domain.CodeUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			if c.headers != nil {
				headers = append(append(headers, handshake...), c.headers...)
			}
			answer, problem := n.upgrade(t, c.path, headers...)
			if answer.StatusCode != c.status || problem["code"] != c.code || problem["detail"] == "" {
				t.Errorf("%s %v, want %d %s", answer.Status, problem, c.status, c.code)
			}
			if got := answer.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type %q, want a problem", got)
			}
			if wait := answer.Header.Get("Retry-After"); (wait != "") != (c.status == 429) {
				t.Errorf("Retry-After %q with %d", wait, c.status)
			}
		})
	}
	for reason, count := range map[string]int{
		"upgrade_required": 1, "bad_handshake": 1, "unauthorized": 5, "token_expired": 1, "forbidden_namespace": 2, "rate_limited": 1, "forbidden_origin": 2,
	} {
		n.wantMetric(t, fmt.Sprintf(`bms_connect_refusals_total{protocol="websocket",reason=%q} %d`, reason, count))
	}
}

// wantMetric waits for nothing: what is counted is counted before its answer.
func (n *testNode) wantMetric(t *testing.T, line string) {
	t.Helper()
	answer, err := http.Get("http://" + n.addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\n"+line+"\n") {
		name, _, _ := strings.Cut(line, "{")
		t.Errorf("no metric %s", line)
		for each := range strings.SplitSeq(string(text), "\n") {
			if strings.HasPrefix(each, name+"{") {
				t.Log("there is ", each)
			}
		}
	}
}

func TestPlain_begins_with_get(t *testing.T) {
	n := startNode(t, t.TempDir())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.addr+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(handshake); i += 2 {
		r.Header.Set(handshake[i], handshake[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var problem struct{ Code string }
	if err := json.NewDecoder(answer.Body).Decode(&problem); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusMethodNotAllowed || answer.Header.Get("Allow") != http.MethodGet || problem.Code != "method_not_allowed" {
		t.Errorf("%s %s, Allow %q, want 405 with GET", answer.Status, problem.Code, answer.Header.Get("Allow"))
	}
}

func TestPlain_a_token_comes_in_three_ways(t *testing.T) {
	n := startNode(t, t.TempDir())
	for name, c := range map[string]struct {
		path     string
		headers  []string
		protocol string
	}{
		"authorization": {"/ws", []string{"Authorization", "Bearer " + signed("u1", domain.RoleStaff, "b1")}, ""},
		"query":         {"/ws?token=" + signed("u2", domain.RoleStaff, "b1"), nil, ""},
		"subprotocol":   {"/ws", []string{"Sec-WebSocket-Protocol", auth.Subprotocol + ", bearer." + signed("u3", domain.RoleStaff, "b1")}, auth.Subprotocol},
		"page_of_ours":  {"/ws?token=" + signed("u4", domain.RoleStaff, "b1"), []string{"Origin", "http://" + n.addr}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			answer, problem := n.upgrade(t, c.path, append(append([]string(nil), handshake...), c.headers...)...)
			if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-WebSocket-Protocol") != c.protocol {
				t.Errorf("%s %q %v, want an upgrade with %q", answer.Status, answer.Header.Get("Sec-WebSocket-Protocol"), problem, c.protocol)
			}
		})
	}
}

// raw reads a frame as it is.
func (s *testSocket) raw() string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	typ, message, err := s.conn.Read(ctx)
	if err != nil || typ != websocket.MessageText {
		s.t.Fatalf("read: %v, %v, want text", typ, err)
	}
	return string(message)
}

func TestPlain_frames_are_envelopes_and_acks_to_the_byte(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.commit(t, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := n.dialPlain(ctx, "/ws?token="+signed("clerk", domain.RoleStaff, "b1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	s := &testSocket{t: t, conn: conn, protocol: telemetry.ProtocolWebSocket}
	first := s.raw()
	var session struct {
		Type string      `json:"type"`
		Data testSession `json:"data"`
	}
	if err := json.Unmarshal([]byte(first), &session); err != nil || !strings.HasPrefix(first, `{"type":"session","data":{"sid":"`) {
		t.Fatalf("first frame %s, %v, want the session", first, err)
	}
	if d := session.Data; d.UserID != "clerk" || d.Role != domain.RoleStaff || d.Recovered || d.Pos != n.app.log.Head().String() || len(d.Rooms) != 5 {
		t.Errorf("session %+v", d)
	}
	commit := n.commit(t, domain.CommandChangeBranch, "b1", domain.ChangeBranch{Name: new("Büro <1>")})
	if got, want := s.raw(), string(commit.Events[0].AppendEnvelope(nil)); got != want {
		t.Errorf("event %s, want the envelope %s", got, want)
	}
	for op, want := range map[string]string{
		`{"op":"ping","id":"p"}`:                              fmt.Sprintf(`{"type":"ack","id":"p","data":{"ok":true,"pos":%q}}`, commit.Position.String()),
		`{"op":"room:leave","id":3,"args":["system:alerts"]}`: `{"type":"ack","id":3,"data":{"ok":true,"rooms":["branch:b1","notifications:clerk","system:notifications","user-role:staff","user:clerk"]}}`,
	} {
		s.write(op)
		if got := s.raw(); got != want {
			t.Errorf("%s answered %s, want %s", op, got, want)
		}
	}
	s.write(`{"op":"no:such","id":4}`)
	if got := s.raw(); !strings.HasPrefix(got, `{"type":"ack","id":4,"data":{"ok":false,"error":{"code":"validation",`) {
		t.Errorf("unknown operation answered %s", got)
	}
	s.write(`{"op":"command","id":5,"args":[{"type":"stock.adjust","branchId":"b2","body":{"productId":"p1","delta":1,"reason":"x"}}]}`)
	if got := s.raw(); !strings.HasPrefix(got, `{"type":"ack","id":5,"data":{"ok":false,"error":{"code":"branch_forbidden",`) {
		t.Errorf("forbidden command answered %s", got)
	}
	s.write(`not JSON`)
	if end, _ := s.end(); end.code != plainws.StatusProtocolError {
		t.Errorf("%v, want %d", end, plainws.StatusProtocolError)
	}
}

func TestPlain_a_client_goes_on_where_it_was_or_is_told_that_it_cannot(t *testing.T) {
	n := startNode(t, t.TempDir(), "--connect-rate", "1000/1m")
	n.commit(t, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	n.commit(t, domain.CommandCreateProduct, "b1", domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "Tea", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1000))})
	token := signed("clerk", domain.RoleStaff, "b1")
	first := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, token, "")
	seen := n.sell(t, "b1")
	first.want(seen)
	_ = first.conn.CloseNow()
	missed := []string{n.sell(t, "b1"), n.sell(t, "b1"), n.sell(t, "b1")}
	again := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, token, seen)
	if !again.session.Recovered || again.session.Pos != seen || again.session.SID == first.session.SID {
		t.Errorf("session %+v, want recovered from %s", again.session, seen)
	}
	again.want(missed...)
	again.want(n.sell(t, "b1"))
	future := strings.Repeat("9", len(seen))
	for _, since := range []string{"garbage", "-1", "0", future, url.QueryEscape(seen + "\x00"), strings.Repeat("x", 4096)} {
		s := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, token, since)
		if s.session.Recovered || s.session.Pos != n.app.log.Head().String() {
			t.Errorf("since %.40q: session %+v, want it not recovered, at the end of the log", since, s.session)
		}
		s.want(n.sell(t, "b1"))
		_ = s.conn.CloseNow()
	}
}

func TestPlain_a_node_that_stops_asks_its_clients_to_come_back(t *testing.T) {
	n := startNode(t, t.TempDir())
	s := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, signed("clerk", domain.RoleStaff, "b1"), "")
	go n.stop()
	if end, _ := s.end(); end.code != plainws.StatusRestart {
		t.Errorf("%v, want %d", end, plainws.StatusRestart)
	}
	n.stop()
}

func TestPlain_closes_are_counted(t *testing.T) {
	n := startNode(t, t.TempDir())
	s := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespacePOS, signed("till", domain.RoleStaff, "b1"), "")
	n.wantMetric(t, `bms_connections{namespace="/ws-pos",protocol="websocket"} 1`)
	if !n.app.sockets.hub.Kick(s.session.SID) {
		t.Fatal("no such connection")
	}
	if end, _ := s.end(); end.code != plainws.StatusDisconnected {
		t.Errorf("%v, want %d", end, plainws.StatusDisconnected)
	}
	n.stop() // so that all is counted
	text := n.gather(t)
	for _, line := range []string{
		`bms_connections{namespace="/ws-pos",protocol="websocket"} 0`,
		`bms_connects_total{namespace="/ws-pos",protocol="websocket"} 1`,
		`bms_disconnects_total{namespace="/ws-pos",protocol="websocket",reason="kicked"} 1`,
		`bms_websocket_closes_total{code="4409"} 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no metric %s", line)
		}
	}
}

// gather reads the metrics without the node.
func (n *testNode) gather(t *testing.T) string {
	t.Helper()
	w := &answerWriter{header: http.Header{}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	n.app.metrics.Handler().ServeHTTP(w, r)
	return w.text.String()
}

// answerWriter keeps an answer's text.
type answerWriter struct {
	header http.Header
	text   strings.Builder
}

func (w *answerWriter) Header() http.Header         { return w.header }
func (w *answerWriter) WriteHeader(int)             {}
func (w *answerWriter) Write(p []byte) (int, error) { return w.text.Write(p) }
