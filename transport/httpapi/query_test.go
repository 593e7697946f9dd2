package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"bms/domain"
	"bms/projections"
	"bms/transport/eventlog/eventlogtest"
)

// traded is a shop in which something has happened: sales, a refund, an alert,
// a deleted product.
func traded(t testing.TB, change func(*Config)) *shop {
	t.Helper()
	s := stocked(t, change)
	s.must("manager", "POST", "/api/branches/b1/products", `{"productId":"gone","sku":"G","name":"Gone","priceMinor":1,"currency":"EUR"}`)
	s.must("manager", "DELETE", "/api/branches/b1/products/gone", "")
	for i := range 3 {
		s.must("staff", "POST", "/api/branches/b1/transactions", fmt.Sprintf(`{"transactionId":"t%d","kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":3}]}`, i))
	}
	s.must("manager", "POST", "/api/branches/b1/transactions/t0/status", `{"status":"refunded","reason":"broken","lines":[{"productId":"cola","quantity":3,"restock":false}]}`)
	s.must("admin", "POST", "/api/notifications", `{"audience":"system:notifications","severity":"info","title":"Hello","message":"all"}`)
	s.must("admin", "PUT", "/api/users/sam", `{"role":"staff","branches":["b1"],"disabled":false,"name":"Sam"}`)
	s.until(domain.TypeLowStockAlert)
	s.settle()
	return s
}

func Test_answers_of_queries(t *testing.T) {
	s := traded(t, nil)
	tests := []struct{ who, path, want string }{
		{"admin", "/api/branches", `{"items":[{"branchId":"b1","name":"Mitte","status":"open"},{"branchId":"b2","name":"Nord","status":"open"}],"pos":"POS"}`},
		{"staff", "/api/branches", `{"items":[{"branchId":"b1","name":"Mitte","status":"open"}],"pos":"POS"}`},
		{"nobranch", "/api/branches", `{"items":[],"pos":"POS"}`},
		{"admin", "/api/branches?limit=1", `{"items":[{"branchId":"b1","name":"Mitte","status":"open"}],"nextCursor":"CURSOR","pos":"POS"}`},
		{"staff", "/api/branches/b1", `{"branchId":"b1","name":"Mitte","status":"open"}`},
		{"staff", "/api/branches/b1/products?q=cOL", `{"items":[{"productId":"cola","sku":"C-1","name":"Cola <0.5 l>","priceMinor":150,"currency":"EUR","stock":1,"minStock":3,"negativeStock":"deny","version":VERSION}],"pos":"POS"}`},
		{"staff", "/api/branches/b1/products?q=fanta", `{"items":[],"pos":"POS"}`},
		{"stranger", "/api/branches/b2/products", `{"items":[],"pos":"POS"}`},
		{"staff", "/api/branches/b1/products/cola", `{"productId":"cola","sku":"C-1","name":"Cola <0.5 l>","priceMinor":150,"currency":"EUR","stock":1,"minStock":3,"negativeStock":"deny","version":VERSION}`},
		{"staff", "/api/branches/b1/inventory?lowStock=true", `{"items":[{"productId":"cola","sku":"C-1","stock":1,"minStock":3,"version":VERSION}],"pos":"POS"}`},
		{"admin", "/api/branches/b2/alerts", `{"items":[],"pos":"POS"}`},
	}
	for _, tt := range tests {
		t.Run(tt.who+tt.path, func(t *testing.T) {
			got := s.must(tt.who, "GET", tt.path, "").body
			var v struct {
				Pos    string
				Cursor string `json:"nextCursor"`
			}
			if err := json.Unmarshal([]byte(got), &v); err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer("POS", v.Pos, "CURSOR", v.Cursor).Replace(tt.want)
			if i := strings.Index(got, `"version":`); i >= 0 {
				version, _, _ := strings.Cut(got[i+len(`"version":`):], "}")
				want = strings.ReplaceAll(want, "VERSION", version)
			}
			if got != want {
				t.Errorf("answer %s\nwant   %s", got, want)
			}
		})
	}
}

func Test_pages_go_on_by_cursor(t *testing.T) {
	s := stocked(t, nil)
	for i := range 7 {
		s.must("manager", "POST", "/api/branches/b1/products", fmt.Sprintf(`{"productId":"p%d","sku":"%d","name":"n","priceMinor":1,"currency":"EUR"}`, i, i))
	}
	s.settle()
	var ids []string
	cursor := ""
	for {
		var page projections.Page[domain.Product]
		a := s.must("staff", "GET", "/api/branches/b1/products?limit=3&cursor="+cursor, "")
		if err := json.Unmarshal([]byte(a.body), &page); err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Items {
			ids = append(ids, p.ProductID)
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	if got, want := strings.Join(ids, " "), "cola p0 p1 p2 p3 p4 p5 p6"; got != want {
		t.Errorf("products %q, want %q", got, want)
	}
}

func Test_who_may_read_what(t *testing.T) {
	s := traded(t, nil)
	const forbidden, role, none = domain.CodeBranchForbidden, domain.CodeRoleForbidden, domain.CodeUnauthorized
	tests := []struct{ path, staff, manager, stranger string }{
		{"/api/branches/b1", "", "", forbidden},
		{"/api/branches/b1/products", "", "", forbidden},
		{"/api/branches/b1/products/cola", "", "", forbidden},
		{"/api/branches/b1/products/cola/ledger", "", "", forbidden},
		{"/api/branches/b1/inventory", "", "", forbidden},
		{"/api/branches/b1/transactions", "", "", forbidden},
		{"/api/branches/b1/transactions/t1", "", "", forbidden},
		{"/api/branches/b1/alerts", role, "", role},
		{"/api/branches/b1/stats", role, "", role},
		{"/api/branches/b2/stats", role, forbidden, role},
		{"/api/stats", role, role, role},
		{"/api/events", role, "", role},
		{"/api/events?branch=b1", role, "", role},
		{"/api/events?branch=b2", role, forbidden, role},
		{"/api/projections", role, role, role},
		{"/api/connections", role, role, role},
		{"/api/rooms", role, role, role},
	}
	for _, tt := range tests {
		for who, want := range map[string]string{"admin": "", "staff": tt.staff, "manager": tt.manager, "stranger": tt.stranger, "": none, "expired": domain.CodeTokenExpired} {
			t.Run(who+tt.path, func(t *testing.T) {
				a := s.send(who, "GET", tt.path, "")
				if want != "" {
					a.refused(t, want)
				} else if a.status != 200 {
					t.Errorf("%d %s, want 200", a.status, a.body)
				}
			})
		}
	}
	s.send("manager", "DELETE", "/api/connections/x", "").refused(t, role)
	s.send("admin", "DELETE", "/api/connections/x", "").refused(t, codeUnknownConnection)
}

func Test_things_that_are_not_there(t *testing.T) {
	s := traded(t, nil)
	for path, want := range map[string]string{
		"/api/branches/b9":                                                 domain.CodeUnknownBranch,
		"/api/branches/b9/products":                                        domain.CodeUnknownBranch,
		"/api/branches/b9/products/cola":                                   domain.CodeUnknownBranch,
		"/api/branches/b9/products/cola/ledger":                            domain.CodeUnknownBranch,
		"/api/branches/b9/inventory":                                       domain.CodeUnknownBranch,
		"/api/branches/b9/transactions":                                    domain.CodeUnknownBranch,
		"/api/branches/b9/transactions/t1":                                 domain.CodeUnknownBranch,
		"/api/branches/b9/alerts":                                          domain.CodeUnknownBranch,
		"/api/branches/b9/stats":                                           domain.CodeUnknownBranch,
		"/api/branches/b1%00/products":                                     domain.CodeUnknownBranch,
		"/api/branches/b1/products/fanta":                                  domain.CodeUnknownProduct,
		"/api/branches/b1/products/gone":                                   domain.CodeUnknownProduct,
		"/api/branches/b1/products/fanta/ledger":                           domain.CodeUnknownProduct,
		"/api/branches/b1/transactions/t9":                                 domain.CodeUnknownTransaction,
		"/api/branches/b1/transactions/t9?minPos=" + s.log.Head().String(): domain.CodeUnknownTransaction,
		"/api/nothing":                                                     codeNotFound,
		"/":                                                                codeNotFound,
		"/api/branches/b1/a/b/c":                                           codeNotFound,
		"/api/branches/b1/stock/":                                          codeNotFound,
	} {
		t.Run(path, func(t *testing.T) { s.send("admin", "GET", path, "").refused(t, want) })
	}
	s.send("nowhere", "GET", "/api/branches/ghost/stats", "").refused(t, domain.CodeUnknownBranch)
	s.send("nowhere", "GET", "/api/branches/b9/stats", "").refused(t, domain.CodeBranchForbidden)
}

func Test_parameters_are_checked(t *testing.T) {
	s := traded(t, nil)
	for query, fields := range map[string]string{
		"/api/branches?colour=red&size=1":                                 "colour size",
		"/api/branches?limit=0":                                           "limit",
		"/api/branches?limit=501":                                         "limit",
		"/api/branches?limit=ten":                                         "limit",
		"/api/branches?limit=1&limit=2":                                   "limit",
		"/api/branches?Limit=1":                                           "Limit",
		"/api/branches?cursor=%21":                                        "cursor",
		"/api/branches?cursor=" + strings.Repeat("A", 2000):               "cursor",
		"/api/branches?a=%zz":                                             "query",
		"/api/branches?a=1;b=2":                                           "query",
		"/api/branches?minPos=x":                                          "minPos",
		"/api/branches?minPos=" + strings.Repeat("v", domain.PositionLen): "minPos",
		"/api/branches/b1/products?q=" + strings.Repeat("x", 300):         "q",
		"/api/branches/b1/inventory?lowStock=yes":                         "lowStock",
		"/api/branches/b1/transactions?status=lost&kind=gift":             "status kind",
		"/api/branches/b1/products/cola/ledger?asOf=yesterday":            "asOf",
		"/api/branches/b1/products/cola/ledger?asOf=" + strings.Repeat("v", domain.PositionLen): "asOf",
		"/api/branches/b1/stats?from=2026-03-02&to=2026-03-01&bucket=year":                      "bucket to",
		"/api/stats?from=now":                                          "from",
		"/api/events?after=0&branch=a+b&type=x":                        "after branch type",
		"/api/events?after=" + strings.Repeat("v", domain.PositionLen): "after",
		"/api/events?from=2026-03-02":                                  "from",
		"/api/projections?limit=1":                                     "limit",
	} {
		t.Run(query, func(t *testing.T) {
			if p := s.send("admin", "GET", query, "").refused(t, domain.CodeValidation); p.fields() != fields {
				t.Errorf("fields %q, want %q", p.fields(), fields)
			}
		})
	}
	if p := s.send("admin", "POST", "/api/branches?dry=true", `{"branchId":"b5","name":"x"}`).refused(t, domain.CodeValidation); p.fields() != "dry" {
		t.Errorf("fields %q, want dry", p.fields())
	}
}

func Test_min_pos_reads_one_s_own_writes(t *testing.T) {
	s := stocked(t, nil)
	for i := range 30 {
		a := s.must("staff", "PUT", "/api/branches/b1/products/cola/stock", fmt.Sprintf(`{"counted":%d}`, 100+i))
		var done struct{ Pos domain.Position }
		if err := json.Unmarshal([]byte(a.body), &done); err != nil {
			t.Fatal(err)
		}
		got := s.must("staff", "GET", "/api/branches/b1/products/cola?minPos="+done.Pos.String(), "")
		if want := fmt.Sprintf(`"stock":%d,`, 100+i); !strings.Contains(got.body, want) {
			t.Fatalf("answer %s, want %s", got.body, want)
		}
		at, err := domain.ParsePosition(got.header.Get("Bms-Pos"))
		if err != nil || done.Pos.After(at) {
			t.Fatalf("Bms-Pos %q (%v), want at least %s", got.header.Get("Bms-Pos"), err, done.Pos)
		}
	}
}

// Who writes and then reads sees it, without knowing of positions.
func Test_a_write_is_read_at_once(t *testing.T) {
	s := stocked(t, nil)
	for i := range 30 {
		s.must("staff", "PUT", "/api/branches/b1/products/cola/stock", fmt.Sprintf(`{"counted":%d}`, 100+i))
		if got, want := s.must("staff", "GET", "/api/branches/b1/products/cola", "").body, fmt.Sprintf(`"stock":%d,`, 100+i); !strings.Contains(got, want) {
			t.Fatalf("answer %s, want %s", got, want)
		}
	}
}

// stuck is a log whose head is further than it gives.
type stuck struct{ *eventlogtest.Memory }

func (stuck) Check(domain.Position) error { return nil }

func Test_min_pos_that_does_not_come_is_answered(t *testing.T) {
	s := stocked(t, nil)
	slow, err := New(Config{
		Commands: s.do, Identify: identify, Read: s.read, Log: stuck{s.log}, ReadTimeout: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.handler = slow
	next := s.log.Head()
	next.Seq += 1000
	s.send("admin", "GET", "/api/events?minPos="+next.String(), "").refused(t, codeReadModelBehind)
}

func Test_the_log_is_read_event_by_event(t *testing.T) {
	s := traded(t, nil)
	read := func(who, query string) (ids []string) {
		t.Helper()
		after := ""
		for {
			var page struct {
				Items []struct{ Pos, Type string }
				Next  string `json:"nextCursor"`
			}
			a := s.must(who, "GET", "/api/events?limit=2"+query+after, "")
			if err := json.Unmarshal([]byte(a.body), &page); err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Items {
				ids = append(ids, e.Pos)
			}
			if page.Next == "" {
				return ids
			}
			after = "&after=" + url.QueryEscape(page.Next)
		}
	}
	want := func(fits func(*domain.Event) bool) (ids []string) {
		commits, err := s.log.Read(context.Background(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commits {
			for i := range c.Events {
				if fits(&c.Events[i]) {
					ids = append(ids, c.Events[i].Pos.String())
				}
			}
		}
		return ids
	}
	for name, tt := range map[string]struct {
		who, query string
		fits       func(*domain.Event) bool
	}{
		"all":           {"admin", "", func(*domain.Event) bool { return true }},
		"one_branch":    {"admin", "&branch=b1", func(e *domain.Event) bool { return e.BranchID == "b1" }},
		"one_type":      {"admin", "&type=low-stock:alert", func(e *domain.Event) bool { return e.Type == domain.TypeLowStockAlert }},
		"by_a_manager":  {"manager", "", func(e *domain.Event) bool { return domain.MayRead(identities["manager"], e) }},
		"nothing_there": {"admin", "&type=sync:status", func(*domain.Event) bool { return false }},
	} {
		t.Run(name, func(t *testing.T) {
			if got, want := strings.Join(read(tt.who, tt.query), " "), strings.Join(want(tt.fits), " "); got != want {
				t.Errorf("events %s\nwant   %s", got, want)
			}
		})
	}
	if got := read("admin", "&type=low-stock:alert"); len(got) == 0 {
		t.Error("no alert in the log, the test shows nothing")
	}
}

func Test_ledger_as_of_a_point(t *testing.T) {
	s := traded(t, nil)
	var whole, then projections.Ledger
	if err := json.Unmarshal([]byte(s.must("staff", "GET", "/api/branches/b1/products/cola/ledger", "").body), &whole); err != nil {
		t.Fatal(err)
	}
	if len(whole.Items) != 4 || whole.Stock != nil {
		t.Fatalf("ledger %+v, want 4 changes and no stock", whole)
	}
	var rows struct{ Items []map[string]any }
	if err := json.Unmarshal([]byte(s.must("staff", "GET", "/api/branches/b1/products/cola/ledger", "").body), &rows); err != nil {
		t.Fatal(err)
	}
	for i, row := range rows.Items { // all have all members
		for _, name := range []string{"pos", "delta", "stock", "reason", "ref", "transactionId", "occurredAt"} {
			if _, there := row[name]; !there {
				t.Errorf("change %d has no %s: %v", i, name, row)
			}
		}
	}
	at := whole.Items[2]
	if err := json.Unmarshal([]byte(s.must("staff", "GET", "/api/branches/b1/products/cola/ledger?asOf="+at.Pos.String(), "").body), &then); err != nil {
		t.Fatal(err)
	}
	if then.Stock == nil || *then.Stock != at.Stock || len(then.Items) != 2 {
		t.Errorf("ledger as of %s: %+v, want stock %d after 2 changes", at.Pos, then, at.Stock)
	}
	if err := json.Unmarshal([]byte(s.must("staff", "GET", "/api/branches/b1/products/cola/ledger?asOf=2026-03-01T11:59:59Z", "").body), &then); err != nil {
		t.Fatal(err)
	}
	if then.Stock == nil || *then.Stock != 0 {
		t.Errorf("ledger before anything: %+v, want stock 0", then)
	}
}
