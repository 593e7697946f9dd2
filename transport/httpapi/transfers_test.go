package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"bms/domain"
	"bms/projections"
)

// both is a shop whose two branches have cola, 10 in b1 and none in b2.
func both(t *testing.T) *shop {
	t.Helper()
	s := stocked(t, nil)
	s.must("admin", "POST", "/api/branches/b2/products", `{"productId":"cola","sku":"C-1","name":"Cola","priceMinor":150,"currency":"EUR"}`)
	return s
}

// stock is the stock of cola in a branch.
func (s *shop) stock(branch string) (stock int64) {
	s.t.Helper()
	var p domain.Product
	if err := json.Unmarshal([]byte(s.must("admin", "GET", "/api/branches/"+branch+"/products/cola", "").body), &p); err != nil {
		s.t.Fatal(err)
	}
	return p.Stock
}

func (s *shop) transferIs(who, branch, status string, line projections.TransferredLine) {
	s.t.Helper()
	var got projections.Transfer
	if err := json.Unmarshal([]byte(s.must(who, "GET", "/api/branches/"+branch+"/transfers/"+s.transfer, "").body), &got); err != nil {
		s.t.Fatal(err)
	}
	if got.Status != status || len(got.Lines) != 1 || got.Lines[0] != line {
		s.t.Errorf("%s: transfer %+v, want it %s with %+v", branch, got, status, line)
	}
}

// Invariant 8, at this edge: what has left one branch is in the other, broken,
// in transit, or back.
func Test_a_transfer_from_shelf_to_shelf(t *testing.T) {
	s := both(t)
	dispatch := func(to string) {
		t.Helper()
		if a := s.drive("POST /api/branches/{b}/transfers", "/api/branches/b1/transfers", `{"toBranchId":"`+to+`","lines":[{"productId":"cola","quantity":6}]}`); a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.body)
		}
		s.settle()
	}
	dispatch("b2")
	s.transferIs("twobranch", "b1", domain.TransferStateInTransit, projections.TransferredLine{ProductID: "cola", Quantity: 6, InTransit: 6})
	if got := s.must("twobranch", "POST", "/api/branches/b2/transfers/"+s.transfer+"/receive", `{"lines":[{"productId":"cola","received":2,"damaged":1}]}`); got.status != http.StatusOK {
		t.Errorf("status %d, want 200", got.status)
	}
	s.transferIs("manager", "b1", domain.TransferStateInTransit, projections.TransferredLine{ProductID: "cola", Quantity: 6, Received: 2, Damaged: 1, InTransit: 3})
	s.send("twobranch", "POST", "/api/branches/b2/transfers/"+s.transfer+"/cancel", "").refused(t, domain.CodeUnknownTransfer) // is the sender's
	s.must("manager", "POST", "/api/branches/b1/transfers/"+s.transfer+"/cancel", "")
	s.until(domain.TypeTransferReturned, s.transfer)
	s.settle()
	s.transferIs("twobranch", "b2", domain.TransferStateCancelled, projections.TransferredLine{ProductID: "cola", Quantity: 6, Received: 2, Damaged: 1, Returned: 3})
	s.send("twobranch", "POST", "/api/branches/b2/transfers/"+s.transfer+"/receive", "").refused(t, domain.CodeTransferState)
	if b1, b2 := s.stock("b1"), s.stock("b2"); b1 != 7 || b2 != 2 {
		t.Errorf("stock %d and %d, want 7 and 2, and one is broken", b1, b2)
	}
	dispatch("b2")
	s.must("twobranch", "POST", "/api/branches/b2/transfers/"+s.transfer+"/receive", "{}")
	s.transferIs("manager", "b1", domain.TransferStateReceived, projections.TransferredLine{ProductID: "cola", Quantity: 6, Received: 6})

	// To a branch that isn't there: it comes back.
	before := s.stock("b1")
	s.must("manager", "POST", "/api/branches/b1/transfers", `{"toBranchId":"ghost","lines":[{"productId":"cola","quantity":1}]}`)
	s.until(domain.TypeTransferReturned, "-ghost")
	s.settle()
	if got := s.must("manager", "GET", "/api/branches/b1/transfers?status=refused&direction=out", "").body; !strings.Contains(got, `"reason":"unknown_branch"`) || !strings.Contains(got, `"returned":1`) {
		t.Errorf("refused transfers are %s, want one that came back", got)
	}
	if got := s.stock("b1"); got != before {
		t.Errorf("stock %d, want %d as before", got, before)
	}

	s.send("staff", "GET", "/api/branches/b1/transfers", "").refused(t, domain.CodeRoleForbidden)
	s.send("manager", "GET", "/api/branches/b2/transfers", "").refused(t, domain.CodeBranchForbidden)
	s.send("manager", "GET", "/api/branches/b1/transfers/none", "").refused(t, domain.CodeUnknownTransfer)
	s.send("admin", "GET", "/api/branches/b9/transfers", "").refused(t, domain.CodeUnknownBranch)
	if p := s.send("manager", "GET", "/api/branches/b1/transfers?direction=up&status=lost", "").refused(t, domain.CodeValidation); p.fields() != "direction status" {
		t.Errorf("fields %q, want direction status", p.fields())
	}
}

func Test_bulk_lines_are_answered_one_by_one(t *testing.T) {
	s := both(t)
	const lines = `"lines":[{"productId":"cola","delta":-4,"reason":"broken"},{"productId":"cola","delta":-8,"reason":"broken"},{"productId":"fanta","delta":1,"reason":"found"},{"productId":"cola","delta":1,"reason":"found"}]}`
	body := `{"mode":"per-line",` + lines
	a := s.send("manager", "POST", "/api/branches/b1/inventory/adjustments/bulk", body, "Idempotency-Key", "bulk-1")
	if a.status != http.StatusMultiStatus {
		t.Fatalf("%d %s, want 207", a.status, a.body)
	}
	var done struct {
		Events []json.RawMessage
		Result domain.BulkResult
	}
	if err := json.Unmarshal([]byte(a.body), &done); err != nil {
		t.Fatal(err)
	}
	codes := ""
	for _, l := range done.Result.Lines {
		codes += fmt.Sprintf("%d:%t%s ", l.Index, l.OK, l.Code)
	}
	if want := "0:true 1:falseinsufficient_stock 2:falseunknown_product 3:true "; codes != want || len(done.Events) != 2 || done.Result.Applied != 2 || done.Result.Rejected != 2 {
		t.Errorf("lines %s with %d events of %+v, want %s", codes, len(done.Events), done.Result, want)
	}
	if again := s.send("manager", "POST", "/api/branches/b1/inventory/adjustments/bulk", body, "Idempotency-Key", "bulk-1"); again.status != a.status || again.body != a.body {
		t.Errorf("again: %d %s, want %d %s", again.status, again.body, a.status, a.body)
	}
	s.send("manager", "POST", "/api/branches/b1/inventory/adjustments/bulk", `{"mode":"atomic",`+lines).refused(t, domain.CodeInsufficientStock)
	if got := s.stock("b1"); got != 7 {
		t.Errorf("stock %d, want 7", got)
	}
}

func Test_sales_made_offline_take_effect_once(t *testing.T) {
	s := both(t)
	batch := `{"deviceId":"till-1","fromSeq":1,"operations":[{"seq":1,"lines":[{"productId":"cola","quantity":12}]},{"seq":2,"lines":[{"productId":"fanta","quantity":1}]},{"seq":3,"lines":[{"productId":"cola","quantity":1}],"occurredAt":"2026-02-01T08:00:00Z"}]}`
	for i, want := range []string{
		`"received":3,"applied":2,"duplicates":0,"conflicted":2,"rejected":1,"lastSeq":3,"errors":[{"seq":2,"code":"unknown_product"`,
		`"received":3,"applied":0,"duplicates":3,"conflicted":0,"rejected":0,"lastSeq":3,"errors":[]`,
	} {
		a := s.send("staff", "POST", "/api/branches/b1/sync", batch)
		if a.status != http.StatusOK || !strings.Contains(a.body, `"result":{"deviceId":"till-1","phase":"done",`+want) || !strings.Contains(a.body, `"type":"sync:status"`) {
			t.Errorf("time %d: %d %s, want %s", i, a.status, a.body, want)
		}
		if strings.Contains(a.body, domain.TypeSyncHandled) {
			t.Errorf("%s shows what is internal", a.body)
		}
	}
	if got := s.stock("b1"); got != -3 {
		t.Errorf("stock %d, want -3", got)
	}
}

func Test_one_s_own_unread_notifications(t *testing.T) {
	s := stocked(t, nil)
	var want []string
	for i := range 3 {
		a := s.must("admin", "POST", "/api/notifications", fmt.Sprintf(`{"audience":"notifications:sam","severity":"warning","title":"N %d","message":"<b>"}`, i))
		var done struct{ Events []json.RawMessage }
		if err := json.Unmarshal([]byte(a.body), &done); err != nil {
			t.Fatal(err)
		}
		want = append(want, string(done.Events[0]))
		s.must("admin", "POST", "/api/notifications", `{"audience":"notifications:mia","severity":"info","title":"a","message":"b"}`)
		s.must("admin", "POST", "/api/notifications", `{"audience":"branch:b1","severity":"info","title":"a","message":"b"}`)
	}
	got := s.must("staff", "GET", "/api/notifications", "").body
	if !strings.HasPrefix(got, `{"items":[`+strings.Join(want, ",")+`],"pos":"`) {
		t.Errorf("unread %s\nwant   %s", got, want)
	}
	first := s.must("staff", "GET", "/api/notifications?limit=2", "").body
	var cursor struct {
		Next string `json:"nextCursor"`
	}
	if err := json.Unmarshal([]byte(first), &cursor); err != nil || cursor.Next == "" {
		t.Fatalf("page %s, %v, want a cursor", first, err)
	}
	if second := s.must("staff", "GET", "/api/notifications?cursor="+cursor.Next, "").body; !strings.HasPrefix(second, `{"items":[`+want[2]+`],"pos":`) {
		t.Errorf("second page %s, want %s", second, want[2])
	}
	if got := s.must("stranger", "GET", "/api/notifications", "").body; !strings.HasPrefix(got, `{"items":[],"pos":"`) {
		t.Errorf("a stranger's unread %s, want none", got)
	}
	s.send("staff", "GET", "/api/notifications?cursor=x", "").refused(t, domain.CodeValidation)
	s.send("", "GET", "/api/notifications", "").refused(t, domain.CodeUnauthorized)
}
