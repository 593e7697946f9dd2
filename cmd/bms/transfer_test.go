package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"bms/domain"
	"bms/transport/telemetry"
)

// office asks a node over HTTP, as an admin unless its token is another's.
type office struct {
	t      *testing.T
	client *http.Client
	token  string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	return &office{t, newClient(t, 8), signed("root", domain.RoleAdmin)}
}

// do asks for what has to succeed and decodes the answer.
func (o *office) do(n *testNode, method, path, body string, into any) {
	o.t.Helper()
	status, answer, err := request(o.t.Context(), o.client, method, "http://"+n.addr+path, o.token, "", body)
	if err != nil || status >= 300 {
		o.t.Fatalf("%s %s: %d %s %v", method, path, status, answer, err)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(answer, into); err != nil {
		o.t.Fatalf("%s %s: %s: %v", method, path, answer, err)
	}
}

// refused asks for what is refused with a code.
func (o *office) refused(n *testNode, method, path, body, code string) {
	o.t.Helper()
	status, answer, err := request(o.t.Context(), o.client, method, "http://"+n.addr+path, o.token, "", body)
	var problem struct{ Code string }
	if err != nil || json.Unmarshal(answer, &problem) != nil || problem.Code != code {
		o.t.Fatalf("%s %s: %d %s %v, want %s", method, path, status, answer, err, code)
	}
}

// shops opens branches with 100 of a product.
func (o *office) shops(n *testNode, branches ...string) {
	o.t.Helper()
	for _, b := range branches {
		o.do(n, "POST", "/api/branches", fmt.Sprintf(`{"branchId":%q,"name":"Shop"}`, b), nil)
		o.do(n, "POST", "/api/branches/"+b+"/products", `{"productId":"tea","sku":"T","name":"Tea","priceMinor":250,"currency":"EUR","stock":100}`, nil)
	}
}

func (o *office) stock(n *testNode, branch string) int64 {
	o.t.Helper()
	var p domain.Product
	o.do(n, "GET", "/api/branches/"+branch+"/products/tea", "", &p)
	return p.Stock
}

func (o *office) dispatch(n *testNode, from, to string, quantity int) (id string) {
	o.t.Helper()
	var done struct{ Result domain.DispatchResult }
	o.do(n, "POST", "/api/branches/"+from+"/transfers", fmt.Sprintf(`{"toBranchId":%q,"lines":[{"productId":"tea","quantity":%d}]}`, to, quantity), &done)
	return done.Result.TransferID
}

// Once a dispatch is answered the other branch has it in transit, once a
// cancellation or a refusal is, the units are back: nobody has to wait.
func TestTransfer_is_where_the_answer_says(t *testing.T) {
	n, o := startNode(t, t.TempDir()), newOffice(t)
	o.shops(n, "b1", "b2")
	for range 20 {
		id := o.dispatch(n, "b1", "b2", 3)
		o.do(n, "POST", "/api/branches/b2/transfers/"+id+"/receive", `{"lines":[{"productId":"tea","received":1,"damaged":1}]}`, nil)
		o.do(n, "POST", "/api/branches/b1/transfers/"+id+"/cancel", "", nil)
		o.do(n, "POST", "/api/branches/b2/transfers/"+o.dispatch(n, "b2", "b1", 1)+"/cancel", "", nil)
		o.refused(n, "POST", "/api/branches/b1/transfers", `{"toBranchId":"ghost","lines":[{"productId":"tea","quantity":5}]}`, domain.CodeUnknownBranch)
		o.refused(n, "POST", "/api/branches/b2/transfers/"+id+"/receive", "", domain.CodeTransferState)
	}
	if b1, b2 := o.stock(n, "b1"), o.stock(n, "b2"); b1 != 60 || b2 != 120 {
		t.Errorf("stock %d and %d, want 60 and 120, and 20 are broken", b1, b2)
	}
	for _, s := range n.app.projections.Status() {
		if s.LastError != "" {
			t.Errorf("projection %s: %s", s.Name, s.LastError)
		}
	}
}

// The same over a socket, with the same answers, and offline sales.
func TestTransfer_and_sync_over_a_socket(t *testing.T) {
	n, o := startNode(t, t.TempDir()), newOffice(t)
	o.shops(n, "b1", "b2")
	c := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, signed("mia", domain.RoleManager, "b1", "b2"), "")
	ask := func(op, arg string) string {
		t.Helper()
		id := c.send(op, json.RawMessage(arg))
		got, raw := c.answer()
		if got != id {
			t.Fatalf("answer %s to %d, want one to %d", raw, got, id)
		}
		return string(raw)
	}
	var done struct {
		OK     bool
		Result domain.DispatchResult
	}
	ack := ask("command", `{"type":"transfer.dispatch","branchId":"b1","body":{"toBranchId":"b2","lines":[{"productId":"tea","quantity":3}]}}`)
	if err := json.Unmarshal([]byte(ack), &done); err != nil || !done.OK {
		t.Fatalf("ack %s, %v", ack, err)
	}
	received := ask("command", `{"type":"transfer.receive","branchId":"b2","body":{"transferId":"`+done.Result.TransferID+`"}}`)
	if !strings.HasPrefix(received, `{"ok":true,`) || !strings.Contains(received, `"status":"received"`) {
		t.Errorf("receive: %s", received)
	}
	for _, system := range []string{
		`{"type":"transfer.announce","branchId":"b2","body":{"transferId":"` + done.Result.TransferID + `","fromBranchId":"b1","lines":[{"productId":"tea","quantity":3}]}}`,
		`{"type":"transfer.return","branchId":"b1","body":{"transferId":"` + done.Result.TransferID + `","lines":[{"productId":"tea","quantity":3}]}}`,
	} {
		if got := ask("command", system); !strings.Contains(got, `"code":"role_forbidden"`) {
			t.Errorf("what is the system's: %s, want role_forbidden", got)
		}
	}
	const batch = `{"branchId":"b1","deviceId":"till-1","fromSeq":1,"operations":[{"seq":1,"lines":[{"productId":"tea","quantity":200}]},{"seq":2,"lines":[]}]`
	if got := ask("sync:submit", batch+`}`); !strings.HasPrefix(got, `{"ok":true,`) || !strings.Contains(got, `"applied":1,"duplicates":0,"conflicted":1,"rejected":1,"lastSeq":2,`) {
		t.Errorf("sync:submit: %s, want one applied, in conflict, and one rejected", got)
	}
	first := ask("sync:submit", batch+`,"commandId":"b-1"}`)
	if !strings.Contains(first, `"commandId":"b-1"`) || !strings.Contains(first, `"duplicates":2,`) {
		t.Errorf("sync:submit again: %s, want 2 duplicates", first)
	}
	if again := ask("sync:submit", batch+`,"commandId":"b-1"}`); again != first {
		t.Errorf("the same id has the answers\n%s\n%s", first, again)
	}
	for name, bad := range map[string]string{
		"unknown": batch + `,"x":1}`, "twice": batch + `,"fromSeq":1}`, "cased": batch + `,"DeviceId":"till-1"}`, "no_branch": `{"deviceId":"d","fromSeq":1,"operations":[]}`,
	} {
		if got := ask("sync:submit", bad); !strings.Contains(got, `"code":"validation"`) {
			t.Errorf("%s: %s, want validation", name, got)
		}
	}
	if got := ask("command", `{"type":"stock.count","type":"stock.count","branchId":"b1","body":{"productId":"tea","counted":5}}`); !strings.Contains(got, `"code":"validation"`) {
		t.Errorf("a member twice: %s, want validation", got)
	}
	if got := o.stock(n, "b1"); got != -103 {
		t.Errorf("stock %d, want -103", got)
	}
}
