package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"bms/domain"
)

func Test_a_sale_is_answered_as_the_contract_says(t *testing.T) {
	s := stocked(t, nil)
	a := s.send("staff", "POST", "/api/branches/b1/transactions",
		`{"transactionId":"t1","kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":2}]}`, "Idempotency-Key", "till-1/17")
	if a.status != http.StatusCreated || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	c, err := s.log.FindCommand(t.Context(), "sam", "till-1/17")
	if err != nil {
		t.Fatal(err)
	}
	if want := string(domain.AppendAnswer(nil, c)); a.body != want {
		t.Errorf("answer %s\nwant   %s", a.body, want)
	}
	for _, part := range []string{`"commandId":"till-1/17"`, `"durability":"fsync"`, `"type":"transaction:created"`, `"type":"inventory:updated"`, `"timestamp":"2026-03-01T12:00:00.000Z"`, `"result":{"transactionId":"t1","status":"completed","totalMinor":300,"currency":"EUR"}`} {
		if !strings.Contains(a.body, part) {
			t.Errorf("answer %s lacks %s", a.body, part)
		}
	}
}

// Invariant 3, at this edge.
func Test_a_repeated_key_gives_the_same_bytes_and_one_effect(t *testing.T) {
	s := stocked(t, nil)
	before := len(s.log.All())
	answers := make([]answer, 100)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			answers[i] = s.send("staff", "POST", "/api/branches/b1/inventory/adjustments", `{"productId":"cola","delta":-1,"reason":"broken"}`, "Idempotency-Key", "k1")
		})
	}
	all.Wait()
	for i, a := range answers {
		if a.status != http.StatusCreated || a.body != answers[0].body {
			t.Fatalf("answer %d: %d %s\nwant %s", i, a.status, a.body, answers[0].body)
		}
	}
	if got := len(s.log.All()) - before; got != 1 {
		t.Errorf("%d commits, want 1", got)
	}
	spaced := s.send("staff", "POST", "/api/branches/b1/inventory/adjustments", " {\"reason\": \"broken\", \"delta\": -1,\n\"productId\": \"cola\"} ", "Idempotency-Key", "k1")
	if spaced.body != answers[0].body {
		t.Errorf("the same body written differently: %d %s", spaced.status, spaced.body)
	}
	s.send("staff", "POST", "/api/branches/b1/inventory/adjustments", `{"productId":"cola","delta":-2,"reason":"broken"}`, "Idempotency-Key", "k1").refused(t, domain.CodeIdempotencyMismatch)
	s.send("staff", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":1}`, "Idempotency-Key", "k1").refused(t, domain.CodeIdempotencyMismatch)
	if a := s.send("manager", "POST", "/api/branches/b1/inventory/adjustments", `{"productId":"cola","delta":-1,"reason":"broken"}`, "Idempotency-Key", "k1"); a.status != http.StatusCreated || a.body == answers[0].body {
		t.Errorf("another user's key: %d %s, want an effect of its own", a.status, a.body)
	}
}

// Invariant 8, at this edge.
func Test_the_last_ten_are_sold_ten_times(t *testing.T) {
	s := stocked(t, nil)
	statuses := make([]int, 1000)
	var all sync.WaitGroup
	for i := range statuses {
		all.Go(func() {
			statuses[i] = s.send("staff", "POST", "/api/branches/b1/transactions", `{"kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":1}]}`).status
		})
	}
	all.Wait()
	counted := map[int]int{}
	for _, status := range statuses {
		counted[status]++
	}
	if counted[http.StatusCreated] != 10 || counted[http.StatusConflict] != 990 {
		t.Errorf("answers by status %v, want 10 of 201 and 990 of 409", counted)
	}
	if got := s.must("staff", "GET", "/api/branches/b1/inventory", "").body; !strings.Contains(got, `"stock":0,`) {
		t.Errorf("levels %s, want stock 0", got)
	}
}

func Test_a_refund_sent_twice_at_once_is_one(t *testing.T) {
	s := stocked(t, nil)
	s.must("staff", "POST", "/api/branches/b1/transactions", `{"transactionId":"t1","kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":2}]}`)
	statuses := make([]int, 20)
	var all sync.WaitGroup
	for i := range statuses {
		all.Go(func() {
			statuses[i] = s.send("manager", "POST", "/api/branches/b1/transactions/t1/status", `{"status":"refunded","reason":"broken"}`).status
		})
	}
	all.Wait()
	slices.Sort(statuses)
	if statuses[0] != http.StatusOK || statuses[1] != http.StatusConflict {
		t.Errorf("statuses %v, want one 200, the rest 409", statuses)
	}
}

func Test_idempotency_keys_that_are_none(t *testing.T) {
	s := stocked(t, nil)
	for name, key := range map[string]string{"empty": "", "too_long": strings.Repeat("k", 256), "control": "a\x01b", "not_ASCII": "schlüssel"} {
		t.Run(name, func(t *testing.T) {
			p := s.send("staff", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":1}`, "Idempotency-Key", key).refused(t, domain.CodeValidation)
			if p.fields() != "Idempotency-Key" {
				t.Errorf("fields %q, want Idempotency-Key", p.fields())
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		r, _ := http.NewRequestWithContext(t.Context(), "PUT", "/", nil)
		r.Header["Idempotency-Key"] = []string{"a", "b"}
		if err := (&api{}).name(r, &domain.Command{}); err == nil {
			t.Error("no error, want one")
		}
	})
}

func Test_commands_reach_the_bus_as_they_should(t *testing.T) {
	tests := []struct {
		method, path, body string
		want               domain.Command
	}{
		{"POST", "/api/branches", `{"branchId":"b9","name":"Ost"}`, domain.Command{Type: domain.CommandOpenBranch, BranchID: "b9", Body: domain.OpenBranch{BranchID: "b9", Name: "Ost"}}},
		{"DELETE", "/api/branches/b1/products/p1", ``, domain.Command{Type: domain.CommandDeleteProduct, BranchID: "b1", Body: domain.DeleteProduct{ProductID: "p1"}}},
		{"DELETE", "/api/branches/b1/products/p1", `{}`, domain.Command{Type: domain.CommandDeleteProduct, BranchID: "b1", Body: domain.DeleteProduct{ProductID: "p1"}}},
		{"PUT", "/api/branches/b1/products/p1/stock", `{"counted":-0}`, domain.Command{Type: domain.CommandCountStock, BranchID: "b1", Body: domain.CountStock{ProductID: "p1"}}},
		{"PUT", "/api/branches/b1/products/p1/stock", `{"productId":"p1","counted":4}`, domain.Command{Type: domain.CommandCountStock, BranchID: "b1", Body: domain.CountStock{ProductID: "p1", Counted: 4}}},
		{"POST", "/api/branches/b1/transactions/t1/status", `{"status":"voided","reason":"wrong"}`, domain.Command{Type: domain.CommandSetTransactionStatus, BranchID: "b1", Body: domain.SetTransactionStatus{TransactionID: "t1", Status: "voided", Reason: "wrong"}}},
		{"POST", "/api/branches/b1/inventory/adjustments/bulk", `{"mode":"per-line","lines":[{"productId":"p1","delta":-1,"reason":"x"}]}`, domain.Command{Type: domain.CommandAdjustStockBulk, BranchID: "b1", Body: domain.AdjustStockBulk{Mode: domain.BulkPerLine, Lines: []domain.BulkAdjustment{{ProductID: "p1", Delta: -1, Reason: "x"}}}}},
		{"POST", "/api/branches/b1/transfers", `{"toBranchId":"b2","lines":[{"productId":"p1","quantity":2}]}`, domain.Command{Type: domain.CommandDispatchTransfer, BranchID: "b1", Body: domain.DispatchTransfer{ToBranchID: "b2", Lines: []domain.TransferLine{{ProductID: "p1", Quantity: 2}}}}},
		{"POST", "/api/branches/b1/transfers/x-b1/receive", ``, domain.Command{Type: domain.CommandReceiveTransfer, BranchID: "b1", Body: domain.ReceiveTransfer{TransferID: "x-b1"}}},
		{"POST", "/api/branches/b1/transfers/x-b1/receive", `{"lines":[{"productId":"p1","damaged":1}]}`, domain.Command{Type: domain.CommandReceiveTransfer, BranchID: "b1", Body: domain.ReceiveTransfer{TransferID: "x-b1", Lines: &[]domain.ReceivedLine{{ProductID: "p1", Damaged: 1}}}}},
		{"POST", "/api/branches/b1/transfers/x-b2/cancel", ` `, domain.Command{Type: domain.CommandCancelTransfer, BranchID: "b1", Body: domain.CancelTransfer{TransferID: "x-b2"}}},
		{"POST", "/api/branches/b1/sync", `{"deviceId":"d1","fromSeq":7,"operations":[{"seq":7,"lines":[]}]}`, domain.Command{Type: domain.CommandSubmitSync, BranchID: "b1", Body: domain.SubmitSync{DeviceID: "d1", FromSeq: 7, Operations: []domain.SyncOperation{{Seq: 7, Lines: []domain.TransactionLine{}}}}}},
		{"POST", "/api/notifications", `{"audience":"branch:b1","severity":"info","title":"a","message":"b"}`, domain.Command{Type: domain.CommandSendNotification, Body: domain.SendNotification{Audience: "branch:b1", Severity: "info", Title: "a", Message: "b"}}},
	}
	var got domain.Command
	s := newShop(t, func(c *Config) {
		c.Commands = func(_ context.Context, cmd domain.Command) (*domain.Commit, error) {
			got = cmd
			return nil, domain.Reject(domain.CodeBusy, "enough seen")
		}
	})
	for _, tt := range tests {
		t.Run(tt.method+"_"+tt.want.Type, func(t *testing.T) {
			s.send("manager", tt.method, tt.path, tt.body, "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").refused(t, domain.CodeBusy)
			if got.Type != tt.want.Type || got.BranchID != tt.want.BranchID || !reflect.DeepEqual(got.Body, tt.want.Body) {
				t.Errorf("command %+v, want %+v", got, tt.want)
			}
			if got.ID == "" || got.Keyed || !got.At.Equal(noon) || got.Identity.UserID != "mia" || got.Fingerprint == "" {
				t.Errorf("command %+v is not complete", got)
			}
			if want := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"; got.Metadata["traceparent"] != want {
				t.Errorf("traceparent %q, want %q", got.Metadata["traceparent"], want)
			}
		})
	}
}

// Invariant 9: a body has its room before it is decoded, and until it is answered.
func Test_bodies_under_way_are_bounded(t *testing.T) {
	const body = `{"productId":"p1","delta":1,"reason":"found"}`
	const path = "/api/branches/b1/inventory/adjustments"
	came, decide := make(chan struct{}), make(chan struct{})
	s := newShop(t, func(c *Config) {
		c.CommandBytes = 2*int64(len(body)) + 1
		c.Commands = func(context.Context, domain.Command) (*domain.Commit, error) {
			came <- struct{}{}
			<-decide
			return nil, domain.Reject(domain.CodeUnknownProduct, "enough seen")
		}
	})
	for range 2 { // again when those are answered
		answers := make(chan answer, 2)
		for range 2 {
			go func() { answers <- s.send("staff", "POST", path, body) }()
			<-came
		}
		for _, broken := range []string{"", "}"} { // it is not looked at
			s.send("staff", "POST", path, body+broken).refused(t, domain.CodeBusy)
		}
		for range 2 {
			decide <- struct{}{}
			(<-answers).refused(t, domain.CodeUnknownProduct)
		}
		s.send("staff", "POST", path, body+"}").refused(t, domain.CodeValidation) // and gives its room back
	}
}

func Test_an_id_of_the_body_must_be_the_path_s(t *testing.T) {
	s := stocked(t, nil)
	p := s.send("staff", "PUT", "/api/branches/b1/products/cola/stock", `{"productId":"fanta","counted":1}`).refused(t, domain.CodeValidation)
	if p.fields() != "productId" {
		t.Errorf("fields %q, want productId", p.fields())
	}
	p = s.send("admin", "PATCH", "/api/branches/b%201", `{"name":"x"}`).refused(t, domain.CodeValidation)
	if p.fields() != "branchId" {
		t.Errorf("fields %q, want branchId", p.fields())
	}
}

// A change of a user is in force for the next request, without a wait between.
func Test_rights_change_at_once(t *testing.T) {
	s := stocked(t, nil)
	s.must("staff", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":8}`)
	for i := range 20 {
		s.must("admin", "PUT", "/api/users/sam", `{"role":"staff","branches":["b2"],"disabled":false,"name":"Sam"}`)
		s.send("staff", "GET", "/api/branches/b1/inventory", "").refused(t, domain.CodeBranchForbidden)
		s.send("staff", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":8}`).refused(t, domain.CodeBranchForbidden)
		s.must("admin", "PATCH", "/api/users/sam", `{"branches":["b1"]}`)
		s.must("staff", "GET", "/api/branches/b1/inventory", "")
		s.must("staff", "PUT", "/api/branches/b1/products/cola/stock", fmt.Sprintf(`{"counted":%d}`, i+10))
	}
	s.must("admin", "PATCH", "/api/users/sam", `{"disabled":true}`)
	s.send("staff", "GET", "/api/branches/b1/inventory", "").refused(t, domain.CodeUnauthorized)
	s.send("staff", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":8}`).refused(t, domain.CodeUnauthorized)
}

func Test_every_code_has_its_status(t *testing.T) {
	want := map[int]string{
		400: "validation invalid_quantity overflow occurred_at_invalid",
		401: "unauthorized token_expired",
		403: "role_forbidden branch_forbidden forbidden_namespace",
		404: "unknown_branch unknown_product unknown_transaction unknown_user unknown_transfer",
		409: "insufficient_stock version_conflict duplicate_sku product_deleted branch_closed invalid_transition over_refund transfer_state",
		413: "batch_too_large", 422: "idempotency_mismatch", 429: "busy rate_limited", 503: "log_unavailable draining overloaded",
	}
	var answer func() error
	s := newShop(t, func(c *Config) {
		c.Commands = func(context.Context, domain.Command) (*domain.Commit, error) { return nil, answer() }
	})
	for status, codes := range want {
		for code := range strings.SplitSeq(codes, " ") {
			answer = func() error {
				r := domain.Reject(code, "because")
				r.Details = map[string]any{"lines": []int{1}, "retryAfter": 7, "status": 999, "code": "x"}
				return fmt.Errorf("wrapped: %w", r)
			}
			a := s.send("admin", "POST", "/api/branches", `{"branchId":"b1","name":"x"}`)
			a.refused(t, code)
			if a.status != status {
				t.Errorf("%s: status %d, want %d", code, a.status, status)
			}
			if !strings.Contains(a.body, `"lines":[1]`) {
				t.Errorf("%s: %s lacks its details", code, a.body)
			}
			if (status == 429 || status == 503) && a.header.Get("Retry-After") != "7" {
				t.Errorf("%s: Retry-After %q, want 7", code, a.header.Get("Retry-After"))
			}
			if (status == 401) != (a.header.Get("WWW-Authenticate") != "") {
				t.Errorf("%s: WWW-Authenticate %q", code, a.header.Get("WWW-Authenticate"))
			}
		}
	}
}

func Test_refusals_of_the_deciders_come_through(t *testing.T) {
	s := stocked(t, nil)
	s.must("admin", "POST", "/api/branches/b1/products", `{"productId":"gone","sku":"G","name":"Gone","priceMinor":1,"currency":"EUR"}`)
	s.must("admin", "DELETE", "/api/branches/b1/products/gone", "")
	s.must("staff", "POST", "/api/branches/b1/transactions", `{"transactionId":"t1","kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":1}]}`)
	tests := []struct{ who, method, path, body, want string }{
		{"", "POST", "/api/branches", `{}`, domain.CodeUnauthorized},
		{"expired", "POST", "/api/branches", `{}`, domain.CodeTokenExpired},
		{"staff", "POST", "/api/branches", `{"branchId":"b3","name":"x"}`, domain.CodeRoleForbidden},
		{"staff", "POST", "/api/branches/b1/products", `{"sku":"x","name":"x","priceMinor":1,"currency":"EUR"}`, domain.CodeRoleForbidden},
		{"stranger", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":1}`, domain.CodeBranchForbidden},
		{"admin", "PUT", "/api/branches/b9/products/cola/stock", `{"counted":1}`, domain.CodeUnknownBranch},
		{"admin", "PUT", "/api/branches/b1/products/fanta/stock", `{"counted":1}`, domain.CodeUnknownProduct},
		{"admin", "PUT", "/api/branches/b1/products/gone/stock", `{"counted":1}`, domain.CodeProductDeleted},
		{"admin", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":1,"expectedVersion":99}`, domain.CodeVersionConflict},
		{"admin", "POST", "/api/branches/b1/products", `{"sku":"C-1","name":"x","priceMinor":1,"currency":"EUR"}`, domain.CodeDuplicateSKU},
		{"staff", "POST", "/api/branches/b1/transactions", `{"kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":1000}]}`, domain.CodeInsufficientStock},
		{"staff", "POST", "/api/branches/b1/transactions", `{"kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":0}]}`, domain.CodeInvalidQuantity},
		{"staff", "POST", "/api/branches/b1/transactions", `{"kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":1}],"occurredAt":"2031-01-01T00:00:00Z"}`, domain.CodeOccurredAtInvalid},
		{"staff", "POST", "/api/branches/b1/transactions/t1/status", `{"status":"voided","reason":"x"}`, domain.CodeRoleForbidden},
		{"manager", "POST", "/api/branches/b1/transactions/t1/status", `{"status":"failed","reason":"x"}`, domain.CodeInvalidTransition},
		{"manager", "POST", "/api/branches/b1/transactions/t1/status", `{"status":"partially_refunded","reason":"x","lines":[{"productId":"cola","quantity":2}]}`, domain.CodeOverRefund},
		{"manager", "POST", "/api/branches/b1/transactions/t9/status", `{"status":"voided","reason":"x"}`, domain.CodeUnknownTransaction},
		{"admin", "PATCH", "/api/users/nobody", `{"disabled":true}`, domain.CodeUnknownUser},
		{"staff", "POST", "/api/branches/b1/inventory/adjustments/bulk", `{"mode":"atomic","lines":[{"productId":"cola","delta":1,"reason":"x"}]}`, domain.CodeRoleForbidden},
		{"manager", "POST", "/api/branches/b1/inventory/adjustments/bulk", `{"mode":"atomic","lines":[{"productId":"cola","delta":1,"reason":"x"},{"productId":"cola","delta":-999,"reason":"x"}]}`, domain.CodeInsufficientStock},
		{"manager", "POST", "/api/branches/b1/inventory/adjustments/bulk", `{"mode":"some","lines":[]}`, domain.CodeValidation},
		{"manager", "POST", "/api/branches/b2/transfers", `{"toBranchId":"b1","lines":[{"productId":"cola","quantity":1}]}`, domain.CodeBranchForbidden},
		{"manager", "POST", "/api/branches/b1/transfers", `{"toBranchId":"b1","lines":[{"productId":"cola","quantity":1}]}`, domain.CodeValidation},
		{"manager", "POST", "/api/branches/b1/transfers/00000000000000000000000000000000-b1/receive", ``, domain.CodeUnknownTransfer},
		{"manager", "POST", "/api/branches/b1/transfers/00000000000000000000000000000000-b2/cancel", ``, domain.CodeUnknownTransfer},
		{"manager", "POST", "/api/branches/b1/transfers/t1/cancel", ``, domain.CodeValidation},
		{"stranger", "POST", "/api/branches/b1/sync", `{"deviceId":"d1","fromSeq":7,"operations":[{"seq":7,"lines":[]}]}`, domain.CodeBranchForbidden},
		{"manager", "POST", "/api/notifications", `{"audience":"branch:b2","severity":"info","title":"a","message":"b"}`, domain.CodeBranchForbidden},
	}
	before := len(s.log.All())
	for _, tt := range tests {
		t.Run(tt.want+"_"+tt.method+tt.path, func(t *testing.T) {
			s.send(tt.who, tt.method, tt.path, tt.body).refused(t, tt.want)
		})
	}
	if got := len(s.log.All()); got != before {
		t.Errorf("%d commits by refused commands, want none", got-before)
	}
	var p struct {
		Lines []domain.ShortLine `json:"lines"`
	}
	a := s.send("staff", "POST", "/api/branches/b1/transactions", `{"kind":"sale","status":"completed","lines":[{"productId":"cola","quantity":1000}]}`)
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || len(p.Lines) != 1 || p.Lines[0].ProductID != "cola" || p.Lines[0].Available != 9 || p.Lines[0].Asked != 1000 {
		t.Errorf("lines %+v of %s, want cola with 9 of 1000", p.Lines, a.body)
	}
}
