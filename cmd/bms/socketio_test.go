package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"bms/domain"
	"bms/transport/telemetry"
)

// say connects to /ws over Socket.IO with an auth as it stands.
func (n *testNode) say(t *testing.T, auth string) *testSocket {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+n.addr+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	s := &testSocket{t: t, conn: conn, protocol: telemetry.ProtocolSocketIO, namespace: domain.NamespaceAll}
	s.write("40" + domain.NamespaceAll + "," + auth)
	return s
}

func TestSocketIO_a_since_that_is_no_position_keeps_nobody_out(t *testing.T) {
	n := startNode(t, t.TempDir(), "--connect-rate", "1000/1m")
	n.commit(t, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	n.commit(t, domain.CommandCreateProduct, "b1", domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "Tea", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1000))})
	token := quote(t, signed("clerk", domain.RoleStaff, "b1"))
	seen := quote(t, n.sell(t, "b1"))
	for _, rest := range []string{
		``, `,"since":null`, `,"since":""`, `,"since":"garbage"`, `,"since":-1`, `,"since":0`, `,"since":1e308`,
		`,"since":{}`, `,"since":[` + seen + `]`, `,"since":true`, `,"SINCE":` + seen, `,"Token":"x","TOKEN":7`,
	} {
		s := n.say(t, `{"token":`+token+rest+`}`)
		var session testSession
		e := s.next()
		if err := json.Unmarshal(e.Data, &session); err != nil || e.Type != "session" || session.Recovered || session.Pos != n.app.log.Head().String() {
			t.Errorf("with %s: %s %s, %v, want a session that is not recovered, at the end of the log", rest, e.Type, e.Data, err)
		}
		s.want(n.sell(t, "b1"))
		_ = s.conn.CloseNow()
	}
	for _, auth := range []string{
		``, `{}`, `{"token":7}`, `{"token":{}}`, `{"token":[` + token + `]}`, `{"token":null}`, `{"Token":` + token + `}`,
	} {
		e, err := n.say(t, auth).tryNext()
		if err == nil || !strings.HasPrefix(err.Error(), domain.CodeUnauthorized) {
			t.Errorf("auth %.30s: %+v, %v, want it unauthorized", auth, e, err)
		}
	}
}

// The slash is part of the path: who leaves it out is told, not sent on.
func TestSocketIO_has_a_path_that_ends_with_a_slash(t *testing.T) {
	n := startNode(t, t.TempDir())
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path, want := range map[string]int{
		"/socket.io?EIO=4&transport=polling":  http.StatusNotFound,
		"/socket.io/?EIO=4&transport=polling": http.StatusOK,
	} {
		answer, err := client.Get("http://" + n.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, answer.Status, want)
		}
	}
	client.CloseIdleConnections()
}
