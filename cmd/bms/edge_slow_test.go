package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"bms/domain"
)

// Whoever announces a body and never sends it is closed, wherever it goes and
// whether anybody wants to read it.
func TestEdge_bodies_that_never_come_end_their_connections(t *testing.T) {
	n := startEdgeNode(t)
	const late = "Content-Length: 100\r\n"
	upgrade := func(more string) string { return fmt.Sprintf(edgeUpgrade, "/ws", more+late) }
	token := signed("mallory", domain.RoleStaff, "b1")
	var all sync.WaitGroup
	for name, request := range map[string]string{
		"polling_post":     "POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: node\r\n" + late + "\r\n",
		"polling_get":      "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: node\r\n" + late + "\r\n",
		"foreign_origin":   "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: node\r\nOrigin: https://evil.example\r\n" + late + "\r\n",
		"plain_post":       "POST /ws HTTP/1.1\r\nHost: node\r\n" + late + "\r\n",
		"plain_no_token":   upgrade(""),
		"plain_origin":     upgrade("Origin: https://evil.example\r\n"),
		"command_no_token": "POST /api/branches HTTP/1.1\r\nHost: node\r\n" + late + "\r\n",
		"command_chunked":  "POST /api/branches/b1/transactions HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer " + token + "\r\nTransfer-Encoding: chunked\r\n\r\n",
		"too_many_headers": "POST /healthz HTTP/1.1\r\nHost: node\r\n" + strings.Repeat("A: b\r\n", 200) + late + "\r\n",
		"console":          "POST /console HTTP/1.1\r\nHost: node\r\n" + late + "\r\n",
	} {
		all.Go(func() {
			conn, err := net.Dial("tcp", n.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
			if _, err := io.WriteString(conn, request); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			said, err := io.ReadAll(conn)
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				t.Errorf("%s: not closed, it said %.200q", name, said)
			}
		})
	}
	all.Wait()
	n.unharmed()
}

// What HTTP refuses is counted by its code, and logged with who was refused.
func TestEdge_refused_requests_are_counted_and_logged(t *testing.T) {
	n := startEdgeNode(t)
	token := signed("mallory", domain.RoleStaff, "b1")
	const start = "POST /api/branches/b1/transactions HTTP/1.1\r\nHost: node\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.7\r\n"
	for code, request := range map[string]string{
		"unauthorized":     start + "Content-Length: 2\r\n\r\n{}",
		"validation":       start + "Authorization: Bearer " + token + "\r\nContent-Length: 2\r\n\r\n{}",
		"header_too_large": start + strings.Repeat("A: b\r\n", 200) + "\r\n",
		"bad_header":       "what is this\r\n\r\n",
	} {
		series := `bms_http_refusals_total{code="` + code + `"}`
		before := n.metric(series)
		n.say(request)
		n.counted(series, before)
		if line := `"msg":"request refused","code":"` + code + `"`; strings.Count(n.lines.String(), line) != 1 {
			t.Errorf("%d lines with %s, want one:\n%s", strings.Count(n.lines.String(), line), line, n.lines.String())
		}
	}
	// Nobody is trusted to say who else it was.
	if logged := n.lines.String(); strings.Contains(logged, "198.51.100.7") || !strings.Contains(logged, `"client":"127.0.0.1"`) {
		t.Errorf("want 127.0.0.1 as the client:\n%s", logged)
	}
}

// A proxy that is trusted says who was refused.
func TestEdge_a_trusted_proxy_says_who_was_refused(t *testing.T) {
	n := startEdgeNode(t, "--trusted-proxies", "127.0.0.1")
	n.say("POST /api/branches HTTP/1.1\r\nHost: node\r\nConnection: close\r\nX-Forwarded-For: 1.1.1.1, 198.51.100.7\r\nContent-Length: 2\r\n\r\n{}")
	if logged := n.lines.String(); !strings.Contains(logged, `"client":"198.51.100.7"`) {
		t.Errorf("want 198.51.100.7 as the client:\n%s", logged)
	}
}
