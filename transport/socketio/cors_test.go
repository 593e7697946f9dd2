package socketio

import (
	"net/http"
	"testing"
	"testing/synctest"

	"bms/transport/wsframe"
)

func Test_origin_decides_on_polling_and_upgrade_alike(t *testing.T) {
	listed := func(_ *http.Request, origin string) bool { return origin == "https://app.example.com" }
	for _, c := range []struct {
		allow  func(*http.Request, string) bool
		origin string
		ok     bool
	}{
		{nil, "", true},
		{nil, "http://server", true},
		{nil, "https://SERVER", true},
		{nil, "http://server:8080", false},
		{nil, "http://server.evil", false},
		{nil, "null", false},
		{nil, "https://app.example.com", false},
		{listed, "", true},
		{listed, "https://app.example.com", true},
		{listed, "https://app.example.com.evil", false},
		{listed, "https://app.example.com:444", false},
		{listed, "https://APP.example.com", false},
		{listed, "http://app.example.com", false},
		{listed, "http://server", false},
		{listed, "null", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			serving(t, Config{Config: wsframe.Config{AllowOrigin: c.allow}}, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
				var header []string
				if c.origin != "" {
					header = []string{"Origin", c.origin}
				}
				status, body, h := r.do("GET", "EIO=4&transport=polling", "", header...)
				if ok := status == 200; ok != c.ok {
					t.Errorf("polling from %q: %d, want allowed %v", c.origin, status, c.ok)
				}
				allowed := ""
				if c.ok {
					allowed = c.origin
				}
				if got := h.Get("Access-Control-Allow-Origin"); got != allowed || h.Get("Vary") != "Origin" {
					t.Errorf("from %q: allowed %q, Vary %q, want %q and Origin", c.origin, got, h.Get("Vary"), allowed)
				}
				if _, err := r.tryWS("EIO=4&transport=websocket", header...); (err == nil) != c.ok {
					t.Errorf("WebSocket from %q: %v, want allowed %v", c.origin, err, c.ok)
				}
				if !c.ok {
					return
				}
				if status, _, _ := r.do("POST", "EIO=4&transport=polling&sid="+sidOf(t, body), "40", header...); status != 200 {
					t.Errorf("POST from %q: %d, want 200", c.origin, status)
				}
			})
		})
	}
}

func Test_preflight_is_answered_for_allowed_origins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		allow := func(_ *http.Request, origin string) bool { return origin == "https://app.example.com" }
		serving(t, Config{Config: wsframe.Config{AllowOrigin: allow}}, nil, func(t *testing.T, r *rig) {
			status, body, h := r.do("OPTIONS", "EIO=4&transport=polling", "",
				"Origin", "https://app.example.com", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-mine")
			if status != 204 || body != "" {
				t.Errorf("preflight: %d %q, want 204 and nothing", status, body)
			}
			for name, want := range map[string]string{
				"Access-Control-Allow-Origin":      "https://app.example.com",
				"Access-Control-Allow-Credentials": "true",
				"Access-Control-Allow-Methods":     "GET,POST",
				"Access-Control-Allow-Headers":     "x-mine",
			} {
				if got := h.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			status, _, h = r.do("OPTIONS", "EIO=4&transport=polling", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
			if status != 403 || h.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("preflight of another origin: %d, want 403 without headers", status)
			}
		})
	})
}
