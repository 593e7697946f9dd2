package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"bms/domain"
)

// Benchmark_command is what this layer costs per command: the bus answers at
// once.
func Benchmark_command(b *testing.B) {
	const body = `{"kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":2},{"productId":"fanta","quantity":1}],"deviceId":"till-1"}`
	commit := sale(b)
	s := newShop(b, func(c *Config) {
		c.Commands = func(context.Context, domain.Command) (*domain.Commit, error) { return commit, nil }
	})
	b.Run("handler", func(b *testing.B) {
		w := &discard{header: http.Header{}}
		r := httptest.NewRequest("POST", "/api/branches/b1/transactions", nil)
		r.Header.Set("Authorization", "Bearer staff")
		r.Header.Set("Idempotency-Key", "till-1/17")
		b.ReportAllocs()
		for b.Loop() {
			clear(w.header)
			r.Body, r.ContentLength, r.Pattern = io.NopCloser(strings.NewReader(body)), int64(len(body)), ""
			s.handler.ServeHTTP(w, r)
			if w.status != http.StatusCreated {
				b.Fatalf("status %d", w.status)
			}
		}
	})
	b.Run("server", func(b *testing.B) {
		server := httptest.NewServer(s.handler)
		defer server.Close()
		client := server.Client()
		b.ReportAllocs()
		for b.Loop() {
			r, err := http.NewRequestWithContext(b.Context(), "POST", server.URL+"/api/branches/b1/transactions", strings.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer staff")
			r.Header.Set("Idempotency-Key", "till-1/17")
			res, err := client.Do(r)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				b.Fatal(err)
			}
			if err := res.Body.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func Benchmark_decode(b *testing.B) {
	body := []byte(`{"kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":2},{"productId":"fanta","quantity":1}],"deviceId":"till-1"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, r := DecodeCommand(domain.CommandCreateTransaction, body); r != nil {
			b.Fatal(r)
		}
	}
}

func Benchmark_fingerprint(b *testing.B) {
	body, r := DecodeCommand(domain.CommandCreateTransaction, []byte(`{"kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":2},{"productId":"fanta","quantity":1}],"deviceId":"till-1"}`))
	if r != nil {
		b.Fatal(r)
	}
	b.ReportAllocs()
	for b.Loop() {
		Fingerprint(domain.CommandCreateTransaction, "b1", body)
	}
}

// sale is the commit of a sale of two lines.
func sale(b *testing.B) *domain.Commit {
	b.Helper()
	s := stocked(b, nil)
	s.must("admin", "POST", "/api/branches/b1/products", `{"productId":"fanta","sku":"F","name":"Fanta","priceMinor":150,"currency":"EUR","stock":10}`)
	s.must("staff", "POST", "/api/branches/b1/transactions", `{"kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":2},{"productId":"fanta","quantity":1}],"deviceId":"till-1"}`)
	commits, err := s.log.ReadStream(b.Context(), "branch/b1", 0, 100)
	if err != nil {
		b.Fatal(err)
	}
	return commits[len(commits)-1]
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
