package auth

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func Test_token_of_a_request(t *testing.T) {
	tests := []struct {
		name             string
		authorization    []string
		query            string
		protocols        []string
		header, upgrade  string
		answeredProtocol string
	}{
		{name: "none"},
		{name: "bearer", authorization: []string{"Bearer abc"}, header: "abc", upgrade: "abc"},
		{name: "bearer_in_lower_case", authorization: []string{"bearer abc"}, header: "abc", upgrade: "abc"},
		{name: "another_scheme", authorization: []string{"Basic abc"}},
		{name: "another_scheme_before_query", authorization: []string{"Basic abc"}, query: "?token=q", upgrade: "q"},
		{name: "another_scheme_before_subprotocol", authorization: []string{"Basic abc"}, protocols: []string{"bms.v1.json, bearer.p"}, upgrade: "p", answeredProtocol: "bms.v1.json"},
		{name: "bearer_of_nothing", authorization: []string{"Bearer"}, query: "?token=q"},
		{name: "two_headers", authorization: []string{"Bearer a", "Bearer b"}, query: "?token=q"},
		{name: "query", query: "?token=q", upgrade: "q"},
		{name: "subprotocols", protocols: []string{"bms.v1.json, bearer.p"}, upgrade: "p", answeredProtocol: "bms.v1.json"},
		{name: "subprotocols_in_two_headers", protocols: []string{"bearer.p", "bms.v1.json"}, upgrade: "p", answeredProtocol: "bms.v1.json"},
		{name: "header_before_query_before_subprotocol", authorization: []string{"Bearer a"}, query: "?token=q", protocols: []string{"bearer.p"}, header: "a", upgrade: "a"},
		{name: "query_before_subprotocol", query: "?token=q", protocols: []string{"bms.v1.json,bearer.p"}, upgrade: "q", answeredProtocol: "bms.v1.json"},
		{name: "100_KB_of_subprotocols", protocols: []string{strings.Repeat("a,", 50_000) + "bearer.p"}},
		{name: "many_subprotocols", protocols: []string{strings.Repeat("a,", 40) + "bearer.p"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/ws"+tt.query, nil)
			r.Header["Authorization"] = tt.authorization
			if tt.authorization == nil {
				delete(r.Header, "Authorization")
			}
			r.Header["Sec-Websocket-Protocol"] = tt.protocols
			if got := FromHeader(r); got != tt.header {
				t.Errorf("FromHeader %q, want %q", got, tt.header)
			}
			token, protocol := FromUpgrade(r)
			if token != tt.upgrade || protocol != tt.answeredProtocol {
				t.Errorf("FromUpgrade %q, %q, want %q, %q", token, protocol, tt.upgrade, tt.answeredProtocol)
			}
		})
	}
}
