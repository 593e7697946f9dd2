package main

import (
	"net/http"
	"strings"
	"testing"

	"bms/domain"
	"bms/transport/telemetry"
)

// Pages may open sockets that are listed, to the letter, on either protocol. The
// node's own are among them as long as none are listed.
func TestOrigin_is_judged_alike_by_both_protocols(t *testing.T) {
	const app = "https://app.example.com"
	for name, c := range map[string]struct {
		flags []string
		own   bool
	}{
		"none_listed": {nil, true},
		"listed":      {[]string{"--cors-origins", app}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, t.TempDir(), append(c.flags, "--connect-rate", "1000/1m")...)
			host, port, _ := strings.Cut(n.addr, ":")
			for origin, ok := range map[string]bool{
				"http://" + n.addr:               c.own,
				"https://" + n.addr:              c.own,
				app:                              !c.own,
				app + ".evil":                    false,
				app + ":8443":                    false,
				"http://app.example.com":         false,
				"http://" + n.addr + ".evil":     false,
				"http://evil.example:" + port:    false,
				"http://evil.example/" + n.addr:  false,
				"http://evil.example@" + n.addr:  false,
				"http://" + n.addr + "@evil":     false,
				"http://" + n.addr + "/":         false,
				"http://" + n.addr + "0":         false,
				"http://" + host:                 false,
				"ftp://" + n.addr:                false,
				n.addr:                           false,
				"null":                           false,
				"http://" + n.addr + " " + app:   false,
				"http://" + n.addr + ",http://x": false,
			} {
				want := http.StatusForbidden
				if ok {
					want = http.StatusOK
				}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.addr+"/socket.io/?EIO=4&transport=polling", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Origin", origin)
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				_ = answer.Body.Close()
				if answer.StatusCode != want {
					t.Errorf("polling from %q: %s, want %d", origin, answer.Status, want)
				}
				if ok {
					want = http.StatusSwitchingProtocols
				}
				answer, _ = n.upgrade(t, "/ws?token="+signed("u1", domain.RoleStaff, "b1"), append([]string{"Origin", origin}, handshake...)...)
				if answer.StatusCode != want {
					t.Errorf("upgrade from %q: %s, want %d", origin, answer.Status, want)
				}
				_ = answer.Body.Close()
			}
		})
	}
}

func TestSocketIO_a_namespace_that_is_not_there_is_refused_with_a_code(t *testing.T) {
	n := startNode(t, t.TempDir())
	_, err := n.tryConnect(t, telemetry.ProtocolSocketIO, "/nowhere", signed("u1", domain.RoleStaff, "b1"), "")
	if err == nil || !strings.HasPrefix(err.Error(), domain.CodeForbiddenNamespace) {
		t.Errorf("refused with %v, want %s", err, domain.CodeForbiddenNamespace)
	}
}
