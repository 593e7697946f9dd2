package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"bms/domain"
)

// Texts are the users'. What a browser or a spreadsheet would take for a
// program goes in and comes out as it is, everywhere, as JSON text.
func TestHostile_texts_come_back_as_they_were_typed(t *testing.T) {
	const text = `<script>alert("x")</script> =cmd()|' /C calc'!A0 & {{7*7}} ${HOME} '; DROP TABLE commits;-- \ ünïcödé 🫖`
	quoted := quote(t, text)
	s := newStage(t)
	client := newClient(t, 4)
	conn := listenTo(t, s.node, s.token)
	s.must(client, "POST", "/api/branches", `{"branchId":"b1","name":`+quoted+`}`)
	s.must(client, "POST", "/api/branches/b1/products", `{"productId":"tea","sku":`+quoted+`,"name":`+quoted+`,"priceMinor":1,"currency":"EUR","stock":5,"minStock":9}`)
	s.must(client, "POST", "/api/branches/b1/inventory/adjustments", `{"productId":"tea","delta":-1,"reason":`+quoted+`,"ref":`+quoted+`}`)
	s.must(client, "POST", "/api/branches/b1/transactions", `{"transactionId":"t1","kind":"sale","status":"completed","lines":[{"productId":"tea","quantity":1}]}`)
	s.must(client, "POST", "/api/branches/b1/transactions/t1/status", `{"status":"refunded","reason":`+quoted+`}`)
	s.must(client, "PUT", "/api/users/sam", `{"role":"staff","branches":["b1"],"disabled":false,"name":`+quoted+`}`)
	s.must(client, "POST", "/api/notifications", `{"audience":"branch:b1","severity":"critical","title":`+quoted+`,"message":`+quoted+`}`)

	for path, times := range map[string]int{
		"/api/branches/b1":                     1,
		"/api/branches/b1/products/tea":        2,
		"/api/branches/b1/products":            2,
		"/api/branches/b1/products?q=%3Cscrip": 2,
		"/api/branches/b1/products/tea/ledger": 2,
		"/api/branches/b1/transactions/t1":     1,
		"/api/events?type=product:updated":     2,
		"/api/events?type=user:updated":        1,
		"/api/events?type=system:notification": 2,
	} {
		got := string(s.must(client, "GET", path, ""))
		if n := strings.Count(got, quoted); n < times {
			t.Errorf("%s has the text %d times, want %d: %s", path, n, times, got)
		}
	}
	seen := map[string]int{}
	for seen[domain.TypeSystemNotification] == 0 {
		frame := conn.read(t)
		var e struct{ Type string }
		if err := json.Unmarshal([]byte(frame), &e); err != nil {
			t.Fatalf("frame %s: %v", frame, err)
		}
		seen[e.Type] += strings.Count(frame, quoted)
	}
	for eventType, least := range map[string]int{
		domain.TypeBranchUpdated: 1, domain.TypeProductUpdated: 2, domain.TypeInventoryUpdated: 2,
		domain.TypeTransactionStatusChanged: 1, domain.TypeUserUpdated: 1, domain.TypeSystemNotification: 2,
	} {
		if seen[eventType] < least {
			t.Errorf("sockets had the text in %s %d times, want %d", eventType, seen[eventType], least)
		}
	}
}

// quote is a text as JSON, with nothing escaped that need not be.
func quote(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

// Amounts at the edges of what a number holds, and more than there is of
// anything: refused with the code that says so, over HTTP and over a socket
// alike, and no trace in the log.
func TestHostile_amounts_that_cannot_be(t *testing.T) {
	s := newStage(t)
	client := newClient(t, 4)
	s.must(client, "POST", "/api/branches", `{"branchId":"b1","name":"Shop"}`)
	s.must(client, "POST", "/api/branches", `{"branchId":"b2","name":"Shop"}`)
	for _, b := range []string{"b1", "b2"} {
		for product, fields := range map[string]string{
			"tea":   `"priceMinor":250,"stock":10`,
			"free":  `"priceMinor":0,"stock":10,"negativeStock":"allow"`,
			"vault": `"priceMinor":9223372036854775807,"stock":9223372036854775807`,
			"late":  `"priceMinor":1,"stock":0,"negativeStock":"offline-only"`,
		} {
			s.must(client, "POST", "/api/branches/"+b+"/products", fmt.Sprintf(`{"productId":%q,"sku":%[1]q,"name":"x","currency":"EUR",%s}`, product, fields))
		}
	}
	const b1 = "/api/branches/b1"
	sale := func(lines string) string { return `{"kind":"sale","status":"completed","lines":[` + lines + `]}` }
	purchase := func(lines string) string { return `{"kind":"purchase","status":"completed","lines":[` + lines + `]}` }
	line := func(product string, quantity int64) string {
		return fmt.Sprintf(`{"productId":%q,"quantity":%d}`, product, quantity)
	}
	bulk := func(mode string, lines int, last string) string {
		return `{"mode":"` + mode + `","lines":[` + strings.Repeat(`{"productId":"tea","delta":1,"reason":"x"},`, lines-1) + last + `]}`
	}
	s.must(client, "POST", b1+"/transactions", `{"transactionId":"sold","kind":"sale","status":"completed","lines":[`+line("tea", 2)+`]}`)
	s.must(client, "POST", b1+"/transactions/sold/status", `{"status":"partially_refunded","reason":"x","lines":[`+line("tea", 1)+`]}`)
	var transfer struct{ Result struct{ TransferID string } }
	if err := json.Unmarshal(s.must(client, "POST", b1+"/transfers", `{"toBranchId":"b2","lines":[`+line("tea", 2)+`]}`), &transfer); err != nil {
		t.Fatal(err)
	}
	receive := "/api/branches/b2/transfers/" + transfer.Result.TransferID + "/receive"
	s.must(client, "POST", receive, `{}`)

	socket := listenTo(t, s.node, s.token)
	before := s.commits("b1") + s.commits("b2")
	for name, c := range map[string]struct {
		method, path, body string
		code               string
		says               string // part of the answer
	}{
		"a_sale_of_none":           {"POST", b1 + "/transactions", sale(line("tea", 0)), domain.CodeInvalidQuantity, ""},
		"a_sale_of_less_than_none": {"POST", b1 + "/transactions", sale(line("tea", -1)), domain.CodeInvalidQuantity, ""},
		"a_sale_of_the_least":      {"POST", b1 + "/transactions", sale(line("tea", math.MinInt64)), domain.CodeInvalidQuantity, ""},
		"more_than_there_is":       {"POST", b1 + "/transactions", sale(line("tea", 8)), domain.CodeInsufficientStock, `"lines":[{"productId":"tea","available":7,"asked":8}]`},
		"more_in_two_lines":        {"POST", b1 + "/transactions", sale(line("tea", 4) + "," + line("tea", 4)), domain.CodeInsufficientStock, `"available":7,"asked":8`},
		"one_line_of_two_short":    {"POST", b1 + "/transactions", sale(line("free", 50) + "," + line("tea", 50)), domain.CodeInsufficientStock, `"lines":[{"productId":"tea","available":7,"asked":50}]`},
		"online_what_is_offline":   {"POST", b1 + "/transactions", sale(line("late", 1)), domain.CodeInsufficientStock, `"productId":"late"`},
		"the_total_too_great":      {"POST", b1 + "/transactions", sale(line("vault", 2)), domain.CodeOverflow, ""},
		"the_sum_too_great":        {"POST", b1 + "/transactions", purchase(line("free", math.MaxInt64) + "," + line("free", math.MaxInt64)), domain.CodeOverflow, ""},
		"the_stock_too_great":      {"POST", b1 + "/transactions", purchase(`{"productId":"vault","quantity":1,"unitPriceMinor":1}`), domain.CodeOverflow, ""},
		"the_price_below_zero":     {"POST", b1 + "/transactions", sale(`{"productId":"tea","quantity":1,"unitPriceMinor":-1}`), domain.CodeValidation, "lines[0].unitPriceMinor"},
		"sold_next_year":           {"POST", b1 + "/transactions", `{"kind":"sale","status":"completed","occurredAt":"2999-01-01T00:00:00Z","lines":[` + line("tea", 1) + `]}`, domain.CodeOccurredAtInvalid, ""},
		"1001_lines":               {"POST", b1 + "/transactions", sale(strings.Repeat(line("tea", 1)+",", 1000) + line("tea", 1)), domain.CodeBatchTooLarge, ""},
		"an_adjustment_by_nothing": {"POST", b1 + "/inventory/adjustments", `{"productId":"tea","delta":0,"reason":"x"}`, domain.CodeInvalidQuantity, ""},
		"an_adjustment_too_great":  {"POST", b1 + "/inventory/adjustments", `{"productId":"vault","delta":1,"reason":"x"}`, domain.CodeOverflow, ""},
		"an_adjustment_the_least":  {"POST", b1 + "/inventory/adjustments", fmt.Sprintf(`{"productId":"free","delta":%d,"reason":"x"}`, int64(math.MinInt64)), domain.CodeInvalidQuantity, ""},
		"a_count_below_zero":       {"PUT", b1 + "/products/tea/stock", `{"counted":-1}`, domain.CodeInvalidQuantity, ""},
		"a_bulk_of_1001":           {"POST", b1 + "/inventory/adjustments/bulk", bulk("per-line", 1001, `{"productId":"tea","delta":1,"reason":"x"}`), domain.CodeBatchTooLarge, ""},
		"a_bulk_with_one_bad_line": {"POST", b1 + "/inventory/adjustments/bulk", bulk("atomic", 1000, `{"productId":"none","delta":1,"reason":"x"}`), domain.CodeUnknownProduct, `"index":999`},
		"more_back_than_sold":      {"POST", b1 + "/transactions/sold/status", `{"status":"partially_refunded","reason":"x","lines":[` + line("tea", 2) + `]}`, domain.CodeOverRefund, `"refundable":1,"asked":2`},
		"void_after_refund":        {"POST", b1 + "/transactions/sold/status", `{"status":"voided","reason":"x"}`, domain.CodeInvalidTransition, `"from":"partially_refunded"`},
		"sent_more_than_there_is":  {"POST", b1 + "/transfers", `{"toBranchId":"b2","lines":[` + line("tea", 8) + `]}`, domain.CodeInsufficientStock, ""},
		"received_twice":           {"POST", receive, `{}`, domain.CodeTransferState, ""},
		"1001_offline_sales": {"POST", b1 + "/sync", `{"deviceId":"till","fromSeq":1,"operations":[` +
			strings.Repeat(`{"seq":1,"lines":[`+line("tea", 1)+`]},`, 1000) + `{"seq":2,"lines":[` + line("tea", 1) + `]}]}`, domain.CodeBatchTooLarge, ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer, err := request(t.Context(), client, c.method, "http://"+s.node.addr+c.path, s.token, name, c.body)
			if err != nil {
				t.Fatal(err)
			}
			var problem struct {
				Code   string
				Status int
			}
			if err := json.Unmarshal(answer, &problem); err != nil {
				t.Fatalf("%d %s: %v", status, answer, err)
			}
			if problem.Code != c.code || problem.Status != status || !strings.Contains(string(answer), c.says) {
				t.Errorf("answer %d %.300s, want %s with %q", status, answer, c.code, c.says)
			}
			ack := socket.overSocket(t, c.path, c.body)
			if !strings.HasPrefix(ack, `{"ok":false,"error":{"code":"`+c.code+`"`) || !strings.Contains(ack, c.says) {
				t.Errorf("over a socket %.300s, want %s with %q", ack, c.code, c.says)
			}
		})
	}
	if got := s.commits("b1") + s.commits("b2"); got != before {
		t.Errorf("%d commits of what was refused, want none", got-before)
	}
}

// commits counts a branch's.
func (s *stage) commits(branchID string) int {
	s.t.Helper()
	commits, err := s.node.app.log.ReadStream(s.t.Context(), domain.StreamOfBranch(branchID), 0, 10_000)
	if err != nil {
		s.t.Fatal(err)
	}
	return len(commits)
}
