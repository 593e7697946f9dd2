package socketio

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"bms/transport/wsframe"
)

func Test_handshake_gives_exactly_the_keys_clients_need(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving(t, Config{}, nil, func(t *testing.T, r *rig) {
			status, body, h := r.do("GET", "EIO=4&transport=polling", "")
			if status != 200 || h.Get("Content-Type") != "text/plain; charset=UTF-8" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("polling handshake: %d, %v", status, h)
			}
			wantOpen(t, body, "websocket")
			wantOpen(t, r.dialWS("EIO=4&transport=websocket").read())
		})
	})
}

func wantOpen(t *testing.T, packet string, upgrades ...string) {
	t.Helper()
	if packet[:1] != "0" {
		t.Fatalf("packet %q, want open", packet)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal([]byte(packet[1:]), &got); err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(append([]string{}, upgrades...))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"upgrades": string(list), "pingInterval": "25000", "pingTimeout": "20000", "maxPayload": "1000000"} {
		if string(got[key]) != want {
			t.Errorf("%s is %s, want %s", key, got[key], want)
		}
	}
	if len(got) != 5 || len(got["sid"]) != 22 {
		t.Errorf("open packet %q has %d keys, want 5 with a sid of 20 characters", packet, len(got))
	}
}

func Test_bad_requests_are_refused_with_engineio_codes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving(t, Config{}, nil, func(t *testing.T, r *rig) {
			sid := r.open()
			for _, c := range []struct{ method, query, want string }{
				{"GET", "transport=polling", `{"code":5,"message":"Unsupported protocol version"}`},
				{"GET", "EIO=abc&transport=polling", `{"code":5,"message":"Unsupported protocol version"}`},
				{"GET", "EIO=3&transport=polling", `{"code":5,"message":"Unsupported protocol version"}`},
				{"GET", "EIO=99&transport=polling", `{"code":5,"message":"Unsupported protocol version"}`},
				{"GET", "EIO=4", `{"code":0,"message":"Transport unknown"}`},
				{"GET", "EIO=4&transport=abc", `{"code":0,"message":"Transport unknown"}`},
				{"GET", "EIO=4&transport=__proto__", `{"code":0,"message":"Transport unknown"}`},
				{"POST", "EIO=4&transport=polling", `{"code":2,"message":"Bad handshake method"}`},
				{"PUT", "EIO=4&transport=polling", `{"code":2,"message":"Bad handshake method"}`},
				{"GET", "EIO=4&transport=websocket", `{"code":3,"message":"Bad request"}`},
				{"GET", "EIO=4&transport=polling&sid=unknown", `{"code":1,"message":"Session ID unknown"}`},
				{"POST", "EIO=4&transport=polling&sid=unknown", `{"code":1,"message":"Session ID unknown"}`},
				{"GET", "EIO=3&transport=polling&sid=" + sid, `{"code":3,"message":"Bad request"}`},
				{"GET", "EIO=4&transport=websocket&sid=" + sid, `{"code":3,"message":"Bad request"}`},
				{"PUT", "EIO=4&transport=polling&sid=" + sid, `{"code":2,"message":"Bad handshake method"}`},
			} {
				status, body, h := r.do(c.method, c.query, "")
				if status != 400 || body != c.want || h.Get("Content-Type") != "application/json" {
					t.Errorf("%s %s: %d %q, want 400 %q", c.method, c.query, status, body, c.want)
				}
			}
			for _, query := range []string{"transport=websocket", "EIO=3&transport=websocket", "EIO=4", "EIO=4&transport=polling", "EIO=4&transport=websocket&sid=unknown"} {
				if _, err := r.tryWS(query); err == nil {
					t.Errorf("WebSocket with %q was accepted", query)
				}
			}
			if n := r.server.Sessions(); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
		})
	})
}

func Test_path_without_its_slash_is_not_found(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving(t, Config{}, nil, func(t *testing.T, r *rig) {
			answer, err := r.client.Get("http://server/socket.io?EIO=4&transport=polling")
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if answer.StatusCode != 404 {
				t.Errorf("status %d, want 404", answer.StatusCode)
			}
		})
	})
}

func Test_config_is_checked_by_name(t *testing.T) {
	for name, c := range map[string]Config{
		"Path":         {Path: "/socket.io"},
		"PingInterval": {Config: wsframe.Config{PingInterval: -1}},
		"MaxPayload":   {Config: wsframe.Config{MaxPayload: -1}},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "Config."+name) {
			t.Errorf("%v, want an error that names Config.%s", err, name)
		}
	}
}
