package httpapi

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"bms/actors"
	"bms/domain"
)

// hall is a Sockets with one connection.
type hall struct{ kicked []string }

func (*hall) Stats() actors.HubStats {
	return actors.HubStats{Connections: 1, Rooms: 2, Namespaces: map[string]int{"/ws": 1}}
}

func (*hall) Connections() []actors.ConnectionInfo {
	return []actors.ConnectionInfo{{SID: "s1", UserID: "sam", Role: "staff", Namespace: "/ws", Rooms: []string{"branch:b1"}, Since: noon}, {SID: "s0", UserID: "root", Role: "admin", Namespace: "/ws-admin"}}
}

func (*hall) RoomInfos() []actors.RoomInfo { return []actors.RoomInfo{{Room: "branch:b1", Members: 1}} }

func (h *hall) Kick(sid string) bool {
	h.kicked = append(h.kicked, sid)
	return sid == "s1"
}

// driven is a request for each operation, in an order in which all succeed.
// TRANSFER is the id of the last transfer, once it is in transit.
var driven = []struct{ operation, path, body string }{
	{"POST /api/branches", "/api/branches", `{"branchId":"b1","name":"Mitte"}`},
	{"PATCH /api/branches/{b}", "/api/branches/b1", `{"name":"Mitte 2"}`},
	{"POST /api/branches/{b}/products", "/api/branches/b1/products", `{"productId":"cola","sku":"C-1","name":"Cola","priceMinor":150,"currency":"EUR","stock":10,"minStock":3}`},
	{"PATCH /api/branches/{b}/products/{p}", "/api/branches/b1/products/cola", `{"priceMinor":160}`},
	{"PUT /api/branches/{b}/products/{p}/stock", "/api/branches/b1/products/cola/stock", `{"counted":9}`},
	{"POST /api/branches/{b}/inventory/adjustments", "/api/branches/b1/inventory/adjustments", `{"productId":"cola","delta":-1,"reason":"broken","ref":"r1"}`},
	{"POST /api/branches/{b}/inventory/adjustments/bulk", "/api/branches/b1/inventory/adjustments/bulk", `{"mode":"atomic","lines":[{"productId":"cola","delta":-2,"reason":"broken"},{"productId":"cola","delta":2,"reason":"found","ref":"r2"}]}`},
	{"POST /api/branches/{b}/inventory/adjustments/bulk", "/api/branches/b1/inventory/adjustments/bulk", `{"mode":"per-line","lines":[{"productId":"cola","delta":-200,"reason":"broken"},{"productId":"cola","delta":4,"reason":"found"}]}`},
	{"POST /api/branches", "/api/branches", `{"branchId":"b2","name":"Nord"}`},
	{"POST /api/branches/{b}/products", "/api/branches/b2/products", `{"productId":"cola","sku":"C-1","name":"Cola","priceMinor":150,"currency":"EUR"}`},
	{"POST /api/branches/{b}/transfers", "/api/branches/b1/transfers", `{"toBranchId":"b2","lines":[{"productId":"cola","quantity":4}]}`},
	{"POST /api/branches/{b}/transfers/{id}/receive", "/api/branches/b2/transfers/TRANSFER/receive", `{"lines":[{"productId":"cola","received":1,"damaged":1}]}`},
	{"POST /api/branches/{b}/transfers/{id}/receive", "/api/branches/b2/transfers/TRANSFER/receive", `{"lines":[{"productId":"cola","received":1}]}`},
	{"POST /api/branches/{b}/transfers/{id}/cancel", "/api/branches/b1/transfers/TRANSFER/cancel", ""},
	{"POST /api/branches/{b}/sync", "/api/branches/b2/sync", `{"deviceId":"till","fromSeq":1,"operations":[{"seq":1,"lines":[{"productId":"cola","quantity":3}]},{"seq":2,"lines":[{"productId":"fanta","quantity":3}]}]}`},
	{"POST /api/branches/{b}/transactions", "/api/branches/b1/transactions", `{"transactionId":"t1","kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":6}],"deviceId":"till"}`},
	{"POST /api/branches/{b}/transactions/{t}/status", "/api/branches/b1/transactions/t1/status", `{"status":"partially_refunded","reason":"broken","lines":[{"productId":"cola","quantity":1,"restock":false}]}`},
	{"PUT /api/users/{u}", "/api/users/sam", `{"role":"staff","branches":["b1"],"disabled":false,"name":"Sam"}`},
	{"PATCH /api/users/{u}", "/api/users/sam", `{"disabled":true}`},
	{"POST /api/notifications", "/api/notifications", `{"audience":"branch:b1","severity":"info","title":"a","message":"b"}`},
	{"GET /api/branches", "/api/branches?limit=1", ""},
	{"GET /api/branches/{b}", "/api/branches/b1", ""},
	{"GET /api/branches/{b}/products", "/api/branches/b1/products", ""},
	{"GET /api/branches/{b}/products/{p}", "/api/branches/b1/products/cola", ""},
	{"GET /api/branches/{b}/products/{p}/ledger", "/api/branches/b1/products/cola/ledger?asOf=2026-03-02", ""},
	{"GET /api/branches/{b}/inventory", "/api/branches/b1/inventory?lowStock=true", ""},
	{"GET /api/branches/{b}/transactions", "/api/branches/b1/transactions", ""},
	{"GET /api/branches/{b}/transactions/{t}", "/api/branches/b1/transactions/t1", ""},
	{"POST /api/notifications", "/api/notifications", `{"audience":"notifications:root","severity":"info","title":"a","message":"b"}`},
	{"GET /api/notifications", "/api/notifications", ""},
	{"GET /api/branches/{b}/transfers", "/api/branches/b2/transfers?direction=in&status=cancelled", ""},
	{"GET /api/branches/{b}/transfers/{id}", "/api/branches/b1/transfers/TRANSFER", ""},
	{"GET /api/branches/{b}/alerts", "/api/branches/b1/alerts", ""},
	{"GET /api/branches/{b}/stats", "/api/branches/b1/stats?bucket=day", ""},
	{"GET /api/stats", "/api/stats", ""},
	{"GET /api/events", "/api/events", ""},
	{"GET /api/projections", "/api/projections", ""},
	{"GET /api/projections/{name}", "/api/projections/stats", ""},
	{"GET /api/projections/{name}/parked", "/api/projections/stats/parked", ""},
	{"GET /api/projections/{name}/digests", "/api/projections/stats/digests", ""},
	{"POST /api/projections/{name}/rebuild", "/api/projections/all/rebuild", ""},
	{"GET /api/connections", "/api/connections", ""},
	{"GET /api/rooms", "/api/rooms", ""},
	{"DELETE /api/connections/{sid}", "/api/connections/s1", ""},
	{"DELETE /api/branches/{b}/products/{p}", "/api/branches/b1/products/cola", ""},
	{"GET /ws-status", "/ws-status", ""},
	{"GET /healthz", "/healthz", ""},
	{"GET /readyz", "/readyz", ""},
	{"GET /metrics", "/metrics", ""},
	{"GET /openapi.json", "/openapi.json", ""},
	{"GET /asyncapi.json", "/asyncapi.json", ""},
	{"GET /events.d.ts", "/events.d.ts", ""},
	{"GET /docs", "/docs", ""},
	{"GET /docs/docs.js", "/docs/docs.js", ""},
	{"GET /docs/docs.css", "/docs/docs.css", ""},
}

// drivenElsewhere are operations that succeed only when something else lasts or
// has failed.
var drivenElsewhere = map[string]string{
	"DELETE /api/projections/{name}/rebuild":          "Test_a_rebuild_is_started_shown_and_cancelled",
	"POST /api/projections/{name}/parked/{pos}/retry": "Test_what_is_parked_is_shown_retried_and_skipped",
	"POST /api/projections/{name}/parked/{pos}/skip":  "Test_what_is_parked_is_shown_retried_and_skipped",
}

func documented(t *testing.T) (*shop, *api, *document) {
	t.Helper()
	s := newShop(t, func(c *Config) {
		c.Sockets = &hall{}
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_, _ = io.WriteString(w, "bms_up 1\n")
		})
	})
	a := s.handler.(*api)
	return s, a, describe("1.0.0", a.routes())
}

// Every route is in the document, every operation of the document is driven,
// and its answer is what the document says.
func Test_answers_are_what_the_document_says(t *testing.T) {
	s, a, d := documented(t)
	open := map[string]bool{}
	for _, route := range a.routes() {
		open[route.method+" "+route.path] = true
	}
	for path, item := range d.api.Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
			if op != nil && !open[method+" "+path] {
				t.Errorf("%s %s is documented and not routed", method, path)
			}
		}
	}
	for _, tt := range driven {
		t.Run(tt.operation, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.operation, " ")
			delete(open, tt.operation)
			op := operationOf(d, method, path)
			if op == nil {
				t.Fatal("is not in the document")
			}
			if method == "GET" {
				s.until(domain.TypeLowStockAlert)
				s.settle()
			}
			if tt.body != "" {
				validate(t, d, op.RequestBody.Content["application/json"].Schema, tt.body)
			}
			got := s.drive(tt.operation, tt.path, tt.body)
			response := op.Responses[strconv.Itoa(got.status)]
			if got.status >= 300 || response == nil {
				t.Fatalf("%d %s, want one of the document's successes", got.status, got.body)
			}
			conforms(t, d, response, got)
			if len(op.Security) > 0 {
				refusal := s.send("", method, tt.path, tt.body)
				if refusal.status != 401 {
					t.Fatalf("without a token: %d %s, want 401", refusal.status, refusal.body)
				}
				conforms(t, d, op.Responses["401"], refusal)
			}
		})
	}
	for route := range drivenElsewhere {
		delete(open, route)
	}
	for route := range open {
		t.Errorf("%s is routed and not driven here", route)
	}
	if got := a.cfg.Sockets.(*hall).kicked; !slices.Equal(got, []string{"s1"}) {
		t.Errorf("kicked %v, want s1", got)
	}
}

// drive makes a request of driven, and keeps what later ones need of its
// answer.
func (s *shop) drive(operation, path, body string) answer {
	s.t.Helper()
	method, _, _ := strings.Cut(operation, " ")
	a := s.send("admin", method, strings.ReplaceAll(path, "TRANSFER", s.transfer), body)
	if operation == "POST /api/branches/{b}/transfers" {
		var dispatched struct{ Result domain.DispatchResult }
		if err := json.Unmarshal([]byte(a.body), &dispatched); err != nil {
			s.t.Fatal(err)
		}
		s.transfer = dispatched.Result.TransferID
		s.until(domain.TypeTransferAnnounced, s.transfer)
	}
	return a
}

func operationOf(d *document, method, path string) *huma.Operation {
	item := d.api.Paths[path]
	if item == nil {
		return nil
	}
	return map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}[method]
}

func conforms(t *testing.T, d *document, response *huma.Response, got answer) {
	t.Helper()
	contentType, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
	if len(response.Content) == 0 {
		if got.body != "" || contentType != "" {
			t.Errorf("%q of type %q, want no body", got.body, contentType)
		}
		return
	}
	media := response.Content[contentType]
	if media == nil {
		t.Fatalf("content type %q is not documented", contentType)
	}
	if strings.HasSuffix(contentType, "json") {
		validate(t, d, media.Schema, got.body)
	}
	for name := range response.Headers {
		if got.header.Get(name) == "" {
			t.Errorf("header %s is documented and missing", name)
		}
	}
}

func validate(t *testing.T, d *document, schema *huma.Schema, body string) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	var result huma.ValidateResult
	schema.PrecomputeMessages()
	huma.Validate(d.schemas, schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, v, &result)
	for _, err := range result.Errors {
		t.Errorf("%s\nis not of the schema: %v", body, err)
	}
}

// The document as it is served: well-formed, every reference leads somewhere,
// every placeholder of a path is a parameter.
func Test_the_document_is_sound(t *testing.T) {
	s, _, _ := documented(t)
	raw := s.must("", "GET", "/openapi.json", "").body
	var api struct {
		OpenAPI    string
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal([]byte(raw), &api); err != nil {
		t.Fatal(err)
	}
	if api.OpenAPI != "3.1.0" {
		t.Errorf("version %q, want 3.1.0", api.OpenAPI)
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`"\$ref":"([^"]*)"`).FindAllStringSubmatch(raw, -1) {
		name, ok := strings.CutPrefix(m[1], schemaPrefix)
		if !ok || api.Components.Schemas[name] == nil {
			t.Errorf("reference %q leads nowhere", m[1])
		}
		used[name] = true
	}
	for name := range api.Components.Schemas {
		if !used[name] {
			t.Errorf("schema %q is not used", name)
		}
	}
	ids := map[string]bool{}
	for path, item := range api.Paths {
		for method, rawOp := range item {
			var op struct {
				OperationID string
				Parameters  []struct {
					Name, In string
					Required bool
				}
				Responses map[string]json.RawMessage
			}
			if err := json.Unmarshal(rawOp, &op); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s %s: operation id %q is missing or taken", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
			for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				found := false
				for _, p := range op.Parameters {
					found = found || p.Name == m[1] && p.In == "path" && p.Required
				}
				if !found {
					t.Errorf("%s %s: %s is not a parameter", method, path, m[1])
				}
			}
			if len(op.Responses) == 0 {
				t.Errorf("%s %s: no responses", method, path)
			}
		}
	}
	if strings.Contains(raw, `"null"`) {
		for _, m := range regexp.MustCompile(`.{60}"array","null"`).FindAllString(raw, -1) {
			t.Errorf("a list that may be null: %s", m)
		}
	}
}

// What the document's schema takes and refuses, the decoder does, too.
func Test_schemas_agree_with_the_decoder(t *testing.T) {
	_, _, d := documented(t)
	for _, row := range commandRoutes {
		op := operationOf(d, row.method, row.path)
		schema := d.schemas.SchemaFromRef(op.RequestBody.Content["application/json"].Schema.Ref)
		for _, field := range schema.Required {
			t.Run(row.command+"_without_"+field, func(t *testing.T) {
				r, _ := http.NewRequestWithContext(t.Context(), row.method, "/", nil)
				r.SetPathValue("p", "p1")
				r.SetPathValue("t", "t1")
				r.SetPathValue("u", "u1")
				// With a key that is unknown all that is missing is named.
				_, rejection := decodeBody(row.command, []byte(`{"unknown":1}`), row.bind(r))
				raw, err := json.Marshal(rejection.Details["errors"])
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(raw), `"field":"`+field+`"`) {
					t.Errorf("errors %s don't name %s, which the document requires", raw, field)
				}
			})
		}
	}
}

func Test_ws_status_is_exactly_as_promised(t *testing.T) {
	now := noon
	s := newShop(t, func(c *Config) {
		c.Sockets, c.Now = &hall{}, func() time.Time { return now }
	})
	now = now.Add(time.Hour)
	want := `{"websocket":{"enabled":true,"uptime":3600,"connections":1,"rooms":2,"namespaces":{"/ws":1,"/ws-admin":0,"/ws-pos":0}},"pos":"` + s.log.Head().String() + `"}`
	if got := s.must("", "GET", "/ws-status", "").body; got != want {
		t.Errorf("answer %s\nwant   %s", got, want)
	}
}

func Test_ready_is_not_the_same_as_alive(t *testing.T) {
	reasons := []string{"the feed stands still"}
	s := newShop(t, func(c *Config) { c.Ready = func() []string { return reasons } })
	if got := s.must("", "GET", "/healthz", "").body; got != `{"status":"alive"}` {
		t.Errorf("healthz %s", got)
	}
	a := s.send("", "GET", "/readyz", "")
	a.refused(t, codeNotReady)
	if !strings.Contains(a.body, `"reasons":["the feed stands still"]`) {
		t.Errorf("readyz %s lacks the reasons", a.body)
	}
	reasons = nil
	if got := s.must("", "GET", "/readyz", "").body; got != `{"status":"ready"}` {
		t.Errorf("readyz %s", got)
	}
}

func Test_docs_need_nothing_from_elsewhere(t *testing.T) {
	s := newShop(t, nil)
	foreign := regexp.MustCompile(`(?:https?:)?//[a-z0-9-]+\.[a-z]`)
	for _, path := range []string{"/docs", "/docs/docs.js", "/docs/docs.css"} {
		a := s.must("", "GET", path, "")
		if m := foreign.FindString(a.body); m != "" {
			t.Errorf("%s names another host: %s", path, m)
		}
		if got := a.header.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") {
			t.Errorf("%s: policy %q", path, got)
		}
	}
}
