package main

import (
	"net/http"
	"testing"

	"bms/domain"
)

// A page of this node may call it, a page whose name looks like the node's may
// not: over polling, a Socket.IO upgrade and a plain one alike.
func TestOrigin_look_alikes_of_the_node_are_refused_on_every_way_in(t *testing.T) {
	node := startNode(t, t.TempDir())
	get := func(path, origin string, upgrade bool) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+node.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		if upgrade {
			for name, value := range map[string]string{
				"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
			} {
				r.Header.Set(name, value)
			}
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for name, way := range map[string]struct {
		path    string
		upgrade bool
		good    int
	}{
		"polling":  {"/socket.io/?EIO=4&transport=polling", false, 200},
		"upgrade":  {"/socket.io/?EIO=4&transport=websocket", true, 101},
		"plain_ws": {"/ws?token=" + signed("ann", domain.RoleStaff, "b1"), true, 101},
	} {
		t.Run(name, func(t *testing.T) {
			for origin, want := range map[string]int{
				"http://" + node.addr:                     way.good,
				"http://" + node.addr + ".evil":           403,
				"http://" + node.addr + "1":               403,
				"http://" + node.addr + "@evil":           403,
				"http://evil/" + node.addr:                403,
				"http://evil.example?http://" + node.addr: 403,
			} {
				if got := get(way.path, origin, way.upgrade); got != want {
					t.Errorf("a page of %s: status %d, want %d", origin, got, want)
				}
			}
		})
	}
}
