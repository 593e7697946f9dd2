package main

import (
	"encoding/json"
	"testing"

	"github.com/coder/websocket"

	"bms/transport/httpapi"
	"bms/transport/plainws"
)

// The AsyncAPI document lists the codes that plain WebSockets are closed and
// refused with; here they meet the table of those who use them.
func TestAsyncAPI_has_every_close_code_and_refusal(t *testing.T) {
	s := newStage(t)
	var document struct {
		Channels map[string]struct {
			CloseCodes []struct {
				Code     websocket.StatusCode
				ComeBack bool
			} `json:"x-closeCodes"`
			Refusals []struct {
				Code   string
				Status int
			} `json:"x-refusals"`
		}
	}
	if err := json.Unmarshal(s.must(newClient(t, 1), "GET", "/asyncapi.json", ""), &document); err != nil {
		t.Fatal(err)
	}
	for _, channel := range []string{"websocket-ws", "websocket-ws-admin", "websocket-ws-pos"} {
		comeBack := map[websocket.StatusCode]bool{}
		for _, c := range document.Channels[channel].CloseCodes {
			comeBack[c.Code] = c.ComeBack
		}
		want := map[websocket.StatusCode]bool{
			plainws.StatusProtocolError: false, plainws.StatusTokenEnded: false, plainws.StatusRightsEnded: false,
			plainws.StatusDisconnected: false, plainws.StatusTooLarge: false,
			plainws.StatusTooSlow: true, plainws.StatusTooMany: true, plainws.StatusRestart: true, plainws.StatusTryAgain: true,
		}
		for code, back := range want {
			if got, there := comeBack[code]; !there || got != back {
				t.Errorf("%s: code %d is there %v, come back %v, want %v", channel, code, there, got, back)
			}
		}
		for reason, code := range closeCodes {
			if _, there := comeBack[code]; !there && code != websocket.StatusNormalClosure {
				t.Errorf("%s: code %d of %q is not there", channel, code, reason)
			}
		}
		if len(comeBack) != len(want) {
			t.Errorf("%s: codes %v, want %v", channel, comeBack, want)
		}
		for _, r := range document.Channels[channel].Refusals {
			if got := httpapi.StatusOf(r.Code); got != r.Status || got >= 500 && got != 503 {
				t.Errorf("%s: refusal %s has status %d, want %d", channel, r.Code, r.Status, got)
			}
		}
	}
}
