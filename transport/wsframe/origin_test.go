package wsframe

import (
	"net/http/httptest"
	"testing"
)

// Whoever can register a name can make one that begins or ends like ours.
func Test_same_origin_is_the_same_host_and_port(t *testing.T) {
	r := httptest.NewRequest("GET", "http://shop.example:3001/ws", nil)
	for origin, want := range map[string]bool{
		"http://shop.example:3001":              true,
		"https://shop.example:3001":             true, // behind a proxy that ends TLS
		"http://SHOP.example:3001":              true,
		"http://shop.example":                   false,
		"http://shop.example:30011":             false,
		"http://shop.example:3001.evil":         false,
		"http://shop.example.evil:3001":         false,
		"http://evil.shop.example:3001":         false,
		"http://evilshop.example:3001":          false,
		"http://shop.example:3001@evil":         false,
		"http://evil/shop.example:3001":         false,
		"http://evil?http://shop.example:3001":  false,
		"http://evil#shop.example:3001":         false,
		"http://shop.example:3001\x00.evil":     false,
		"shop.example:3001":                     false,
		"null":                                  false,
		"":                                      false,
		"http://shop.example:3001, http://evil": false,
	} {
		if got := SameOrigin(r, origin); got != want {
			t.Errorf("origin %q of a request to %s: %v, want %v", origin, r.Host, got, want)
		}
	}
}
