package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"bms/domain"
	"bms/transport/telemetry"
)

// Who waits for a turn in vain is told why, has not connected, and is no fault
// of the server's.
func TestTurns_who_has_none_is_told_why_and_has_not_connected(t *testing.T) {
	flags, cfg := serveFlags()
	if err := flags.Parse([]string{"--addr", "127.0.0.1:0", "--data", t.TempDir(), "--jwt-secret", testSecret, "--connect-rate", "1/1h"}); err != nil {
		t.Fatal(err)
	}
	var lines lockedBuffer
	n := runNode(t, patientApp(cfg, slog.New(slog.NewJSONHandler(&lines, nil))))
	clerk := signed("clerk", domain.RoleStaff, "b1")
	token, err := n.app.verifier.Verify(t.Context(), clerk)
	if err != nil {
		t.Fatal(err)
	}
	join := func(ctx context.Context) error {
		_, _, err := n.app.sockets.join(ctx, joinRequest{
			protocol: telemetry.ProtocolWebSocket, peer: &peer{}, namespace: domain.NamespaceAll, token: token, codec: plainCodec, transport: plainTransport{},
		})
		return err
	}
	want := func(when string, err error, code, message string, left bool) {
		t.Helper()
		no, ok := errors.AsType[*domain.Rejection](err)
		if !ok || no.Code != code || !strings.Contains(no.Message, message) || errors.Is(err, errLeft) != left {
			t.Errorf("%s: %v, want %s: %s, left %t", when, err, code, message, left)
		}
	}
	for range 5 {
		gone, leave := context.WithCancel(t.Context())
		leave()
		want("left", join(gone), domain.CodeOverloaded, "ended", true)
		late, cancel := context.WithDeadline(t.Context(), time.Now())
		want("in vain", join(late), domain.CodeOverloaded, "too many clients are coming in", false)
		cancel()
	}
	_ = n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, clerk, "").conn.CloseNow() // else the node takes its time to send it away
	n.stop()
	want("at the end", join(t.Context()), domain.CodeDraining, "stopping", false)
	if log := lines.String(); strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("logged %s, want no ERROR", log)
	}
}

// Only who opens a session waits for a turn: a request in a session doesn't, nor
// does a browser that asks whether it may ask.
func TestTurns_are_for_who_opens_a_session(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.stop() // no more turns
	for _, c := range []struct {
		method, query string
		waits         bool
	}{
		{http.MethodGet, "EIO=4&transport=polling", true},
		{http.MethodGet, "EIO=4&transport=polling&sid=", true},
		{http.MethodGet, "EIO=4&transport=polling&x=sid=1", true},
		{http.MethodGet, "EIO=4&transport=polling&xsid=1", true},
		{http.MethodGet, "EIO=4&transport=polling&sid=1", false},
		{http.MethodGet, "EIO=4&transport=polling&%73id=1", false},
		{http.MethodOptions, "EIO=4&transport=polling", false},
	} {
		served := false
		r, err := http.NewRequestWithContext(t.Context(), c.method, "/socket.io/?"+c.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		n.app.sockets.inTurn(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true })).ServeHTTP(&answerWriter{header: http.Header{}}, r)
		if served == c.waits {
			t.Errorf("%s ?%s: waits %t, want %t", c.method, c.query, !served, c.waits)
		}
	}
}
