package httpapi

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"bms/domain"
)

func Test_methods_that_an_address_does_not_take(t *testing.T) {
	s := newShop(t, nil)
	for path, allow := range map[string]string{
		"/api/branches":      "GET, HEAD, POST",
		"/api/branches/b1":   "GET, HEAD, PATCH",
		"/api/users/u1":      "PUT, PATCH",
		"/api/notifications": "GET, HEAD, POST",
		"/healthz":           "GET, HEAD",
	} {
		a := s.send("admin", "DELETE", path, "")
		a.refused(t, codeMethodNotAllowed)
		if got := a.header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow %q, want %q", path, got, allow)
		}
	}
}

func Test_every_answer_has_the_security_headers(t *testing.T) {
	s := newShop(t, nil)
	for _, path := range []string{"/healthz", "/api/branches", "/nothing", "/docs"} {
		a := s.send("", "GET", path, "")
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s %q, want %q", path, name, got, want)
			}
		}
	}
}

func Test_only_allowed_origins_may_read(t *testing.T) {
	s := newShop(t, func(c *Config) {
		c.AllowOrigin = func(origin string) bool { return origin == "https://app.example.com" }
	})
	for origin, want := range map[string]string{
		"https://app.example.com":           "https://app.example.com",
		"":                                  "",
		"null":                              "",
		"https://app.example.com.evil":      "",
		"https://app.example.com:8443":      "",
		"http://app.example.com":            "",
		"https://APP.example.com":           "",
		"https://app.example.com/":          "",
		"https://evil/?https://app.example": "",
	} {
		a := s.send("", "GET", "/healthz", "", "Origin", origin)
		if got := a.header.Get("Access-Control-Allow-Origin"); got != want || a.header.Get("Vary") != "Origin" {
			t.Errorf("origin %q: allowed %q, Vary %q, want %q", origin, got, a.header.Get("Vary"), want)
		}
		a = s.send("", "OPTIONS", "/api/branches", "", "Origin", origin, "Access-Control-Request-Method", "POST")
		if want != "" && (a.status != http.StatusNoContent || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Idempotency-Key")) {
			t.Errorf("origin %q: preflight %d %v", origin, a.status, a.header)
		}
		if got := a.header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("origin %q: preflight allowed %q, want %q", origin, got, want)
		}
	}
}

func Test_spoofed_forwarding_changes_nothing(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for name, tt := range map[string]struct {
		remote, want string
		forwarded    []string
	}{
		"no_proxy":                  {"203.0.113.9:1234", "203.0.113.9", []string{"1.1.1.1"}},
		"a_proxy":                   {"10.1.2.3:1234", "198.51.100.7", []string{"198.51.100.7"}},
		"a_lie_in_front_of_a_proxy": {"10.1.2.3:1234", "198.51.100.7", []string{"1.1.1.1, 198.51.100.7"}},
		"two_proxies":               {"10.1.2.3:1234", "198.51.100.7", []string{"1.1.1.1", "198.51.100.7, 10.9.9.9"}},
		"a_proxy_without_it":        {"10.1.2.3:1234", "10.1.2.3", nil},
		"garbage":                   {"10.1.2.3:1234", "10.1.2.3", []string{"1.1.1.1, <script>"}},
		"IPv6":                      {"[::1]:80", "2001:db8::1", []string{"2001:db8::1"}},
		"IPv4_in_IPv6":              {"[::ffff:10.1.2.3]:80", "198.51.100.7", []string{"198.51.100.7"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr, r.Header["X-Forwarded-For"] = tt.remote, tt.forwarded
			if got := clientAddr(r, trusted); got != tt.want {
				t.Errorf("client %q, want %q", got, tt.want)
			}
		})
	}
}

func Test_faults_are_logged_once_and_not_shown(t *testing.T) {
	tests := map[string]struct {
		err  error
		code string
		logs int
	}{
		"unknown":         {fmt.Errorf("append: %w", errFault), codeInternal, 1},
		"unknown_code":    {domain.Reject("no_such_code", "x"), codeInternal, 1},
		"log_unavailable": {fmt.Errorf("append: %w", domain.ErrLogUnavailable), domain.CodeLogUnavailable, 1},
		"deadline":        {context.DeadlineExceeded, domain.CodeLogUnavailable, 0},
		"busy":            {domain.Reject(domain.CodeBusy, "later"), domain.CodeBusy, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, func(c *Config) {
				c.Commands = func(context.Context, domain.Command) (*domain.Commit, error) { return nil, tt.err }
			})
			a := s.send("admin", "POST", "/api/branches", `{"branchId":"b1","name":"secret name"}`)
			a.refused(t, tt.code)
			if strings.Contains(a.body, "/secret/place") {
				t.Errorf("the answer shows internals: %s", a.body)
			}
			logged := s.lines.String()
			if got := strings.Count(logged, "level=ERROR"); got != tt.logs {
				t.Errorf("%d lines logged, want %d: %s", got, tt.logs, logged)
			}
			if strings.Contains(logged, "secret name") || strings.Contains(logged, "Bearer") {
				t.Errorf("payload or token in the log: %s", logged)
			}
		})
	}
}

func Test_every_refusal_is_told(t *testing.T) {
	refused, routine := map[string]int{}, map[string]int{}
	s := newShop(t, func(c *Config) {
		c.Refused = func(r Refusal) {
			refused[r.Code]++
			if r.Expected {
				routine[r.Code]++
			}
			if r.Method == "" || r.Route == "" || r.Client == "" || strings.Contains(fmt.Sprint(r), "secret") {
				t.Errorf("told of %+v, want method, route and client, and no token and no payload", r)
			}
		}
	})
	for range 1000 {
		s.send("", "POST", "/api/branches", `{"branchId":"b1","name":"secret name"}`, "Authorization", "Bearer secret-token")
		s.send("admin", "POST", "/api/branches", `{"branchId":"b1","secret":"x"}`)
		s.send("admin", "GET", "/api/branches/b9", "")
	}
	for code, own := range map[string]int{domain.CodeUnauthorized: 0, domain.CodeValidation: 0, domain.CodeUnknownBranch: 1000} {
		if refused[code] != 1000 || routine[code] != own {
			t.Errorf("told of %s %d times, %d of them expected, want 1000, %d", code, refused[code], routine[code], own)
		}
	}
}

// Invariant 7, at this edge.
func Test_a_panic_costs_one_request(t *testing.T) {
	bad := true
	var statuses []int
	s := newShop(t, func(c *Config) {
		c.Observe = func(route string, status int, _ time.Duration) {
			if route == "GET /readyz" {
				statuses = append(statuses, status)
			}
		}
		c.Ready = func() []string {
			if bad {
				panic("ready is broken")
			}
			return nil
		}
	})
	for range 5 {
		s.send("", "GET", "/readyz", "").refused(t, codeInternal)
	}
	bad = false
	if a := s.send("", "GET", "/readyz", ""); a.status != 200 {
		t.Errorf("after the panics: %d %s, want 200", a.status, a.body)
	}
	if got, want := fmt.Sprint(statuses), "[500 500 500 500 500 200]"; got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
	if got := strings.Count(s.lines.String(), "request panicked"); got != 5 {
		t.Errorf("%d lines logged, want 5", got)
	}
}

// served is a real server on a real socket.
func served(t *testing.T, change func(*Config), own ServerConfig, tune func(*http.Server)) (*shop, string) {
	t.Helper()
	s := stocked(t, change)
	own.Handler, own.Logger = s.handler, s.logger()
	server := NewServer(own)
	if tune != nil {
		tune(server)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// talk sends raw bytes and reads what comes until the server closes or has
// answered; it gives the status, 0 if there was no answer.
func talk(t *testing.T, addr string, write func(net.Conn)) (status int, body string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	go write(c)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

// say writes to a server, which may close the connection meanwhile.
func say(c net.Conn, format string, args ...any) { _, _ = fmt.Fprintf(c, format, args...) }

func Test_bodies_that_lie_or_never_end(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(make([]byte, 10<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	small := func(c *Config) { c.MaxBody = 10_000 }
	s, addr := served(t, small, ServerConfig{BodyTimeout: time.Minute}, nil)
	hasty, hastyAddr := served(t, small, ServerConfig{BodyTimeout: 200 * time.Millisecond}, nil)
	const start = "PUT /api/branches/b1/products/cola/stock HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer staff\r\n"
	tests := map[string]struct {
		status int
		code   string
		write  func(net.Conn)
	}{
		"announced_too_long": {413, codeBodyTooLarge, func(c net.Conn) {
			say(c, "%sContent-Length: 10001\r\n\r\n", start)
		}},
		"announced_far_too_long": {413, codeBodyTooLarge, func(c net.Conn) {
			say(c, "%sContent-Length: 9223372036854775807\r\n\r\n", start)
		}},
		"endless_chunks": {413, codeBodyTooLarge, func(c net.Conn) {
			say(c, "%sTransfer-Encoding: chunked\r\n\r\n", start)
			chunk := "400\r\n" + strings.Repeat(" ", 0x400) + "\r\n"
			for {
				if _, err := io.WriteString(c, chunk); err != nil {
					return
				}
			}
		}},
		"shorter_than_announced": {400, domain.CodeValidation, func(c net.Conn) {
			say(c, "%sContent-Length: 500\r\n\r\n{\"counted\":1}", start)
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Error(err)
			}
		}},
		"slow": {400, domain.CodeValidation, func(c net.Conn) {
			say(c, "%sContent-Length: 500\r\n\r\n{", start)
		}},
		"slow_without_a_token": {401, domain.CodeUnauthorized, func(c net.Conn) {
			say(c, "POST /api/branches HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
		}},
		"slow_where_nothing_is": {405, codeMethodNotAllowed, func(c net.Conn) {
			say(c, "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
		}},
		"gzip": {400, domain.CodeValidation, func(c net.Conn) {
			say(c, "%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", start, zipped.Len())
			_, _ = c.Write(zipped.Bytes())
		}},
	}
	commits := func() int { return len(s.log.All()) + len(hasty.log.All()) }
	before := commits()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			addr := addr
			if strings.HasPrefix(name, "slow") {
				addr = hastyAddr
			}
			status, body := talk(t, addr, tt.write)
			if status != tt.status || !strings.Contains(body, `"code":"`+tt.code+`"`) {
				t.Errorf("%d %s, want %d %s", status, body, tt.status, tt.code)
			}
		})
	}
	if got := commits(); got != before {
		t.Errorf("%d commits, want none", got-before)
	}
}

func Test_headers_that_are_too_much(t *testing.T) {
	told := make(chan Refusal, 10)
	own := ServerConfig{Refused: func(r Refusal) { told <- r }}
	_, addr := served(t, nil, own, func(s *http.Server) { s.ReadHeaderTimeout = time.Minute })
	_, hasty := served(t, nil, own, func(s *http.Server) { s.ReadHeaderTimeout = 200 * time.Millisecond })
	const start = "GET /healthz HTTP/1.1\r\nHost: x\r\n"
	for name, tt := range map[string]struct {
		status int
		told   string
		write  func(net.Conn)
	}{
		"2000_headers": {431, codeHeaderTooLarge, func(c net.Conn) {
			say(c, "%s%s\r\n", start, strings.Repeat("A: b\r\n", 2000))
		}},
		"200_KB": {431, codeBadHeader, func(c net.Conn) {
			say(c, "%sA: %s\r\n\r\n", start, strings.Repeat("b", 200<<10))
		}},
		"as_many_as_are_taken": {200, "", func(c net.Conn) {
			say(c, "%s%s\r\n", start, strings.Repeat("A: b\r\n", 90))
		}},
		"no_HTTP": {400, codeBadHeader, func(c net.Conn) { say(c, "hello\r\n\r\n") }},
		"slow":    {0, codeBadHeader, func(c net.Conn) { say(c, start) }},
	} {
		t.Run(name, func(t *testing.T) {
			addr := addr
			if name == "slow" {
				addr = hasty
			}
			if status, body := talk(t, addr, tt.write); status != tt.status {
				t.Errorf("%d %s, want %d", status, body, tt.status)
			}
			if tt.told == "" {
				return
			}
			if r := <-told; r.Code != tt.told || r.Client != "127.0.0.1" {
				t.Errorf("told of %+v, want %s from 127.0.0.1", r, tt.told)
			}
		})
	}
	select {
	case r := <-told:
		t.Errorf("told of %+v, want no more", r)
	default:
	}
}

func Test_a_large_answer_comes_whole(t *testing.T) {
	s, addr := served(t, nil, ServerConfig{}, nil)
	name := strings.Repeat("n", 190)
	for i := range 500 {
		s.must("manager", "POST", "/api/branches/b1/products", fmt.Sprintf(`{"productId":"p%d","sku":"%d","name":%q,"priceMinor":1,"currency":"EUR"}`, i, i, name))
	}
	s.settle()
	for range 2 { // the second on the same connection: its deadlines are gone
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+"/api/branches/b1/products?limit=500", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer staff")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || strings.Count(string(raw), name) < 499 {
			t.Fatalf("%d bytes, %v, want all products", len(raw), err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func Test_a_span_per_request_of_a_sampled_trace(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	s := stocked(t, func(c *Config) { c.Tracing = provider })
	const trace = "0af7651916cd43dd8448eb211c80319c"
	a := s.send("staff", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":1}`, "Idempotency-Key", "k1", "Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	s.send("staff", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":-1}`, "Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	s.send("staff", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":2}`, "Idempotency-Key", "k2")
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	ended := spans.Ended()
	if len(ended) != 2 {
		t.Fatalf("%d spans, want 2: the sampled ones", len(ended))
	}
	if got, want := ended[0].Name(), "PUT /api/branches/{b}/products/{p}/stock"; got != want {
		t.Errorf("span %q, want %q", got, want)
	}
	if got := ended[0].SpanContext().TraceID().String(); got != trace {
		t.Errorf("trace %s, want %s", got, trace)
	}
	if ended[1].Status().Code == codes.Error {
		t.Error("a refusal is an error of the span, want none")
	}
	c, err := s.log.FindCommand(t.Context(), "sam", "k1")
	if err != nil {
		t.Fatal(err)
	}
	if want := "00-" + trace + "-" + ended[0].SpanContext().SpanID().String() + "-01"; c.Metadata["traceparent"] != want {
		t.Errorf("traceparent in the log %q, want the request's span %q", c.Metadata["traceparent"], want)
	}
	c, err = s.log.FindCommand(t.Context(), "sam", "k2")
	if err != nil {
		t.Fatal(err)
	}
	if c.Metadata != nil {
		t.Errorf("metadata %v of a command outside any trace, want none", c.Metadata)
	}
}

func Test_requests_are_counted_by_route(t *testing.T) {
	var seen []string
	s := stocked(t, func(c *Config) {
		c.Observe = func(route string, status int, _ time.Duration) { seen = append(seen, fmt.Sprint(route, " ", status)) }
	})
	seen = nil
	s.send("staff", "GET", "/api/branches/b1", "")
	s.send("staff", "GET", "/api/branches/b1", "", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	s.send("staff", "GET", "/api/branches/b2", "")
	s.send("staff", "GET", "/../../etc/passwd", "")
	s.send("staff", "BREW", "/pot", "")
	want := []string{"GET /api/branches/{b} 200", "GET /api/branches/{b} 200", "GET /api/branches/{b} 403", "other 307", "other 404"}
	if !slices.Equal(seen, want) {
		t.Errorf("counted %q, want %q", seen, want)
	}
}

func Test_config_is_checked(t *testing.T) {
	s := newShop(t, nil)
	sound := Config{Commands: s.do, Identify: identify, Read: s.read, Log: s.log}
	for name, spoil := range map[string]func(*Config){
		"Commands": func(c *Config) { c.Commands = nil },
		"Identify": func(c *Config) { c.Identify = nil },
		"Read":     func(c *Config) { c.Read = nil },
		"Log":      func(c *Config) { c.Log = nil },
		"MaxBody":  func(c *Config) { c.MaxBody = -1 },
	} {
		cfg := sound
		spoil(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New: %v, want an error that names %s", err, name)
		}
	}
}
