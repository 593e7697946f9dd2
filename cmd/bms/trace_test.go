package main

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"bms/domain"
	"bms/transport/telemetry"
	"bms/transport/telemetry/otlptest"
)

// A client's trace, sampled.
const (
	clientTrace = "0af7651916cd43dd8448eb211c80319c"
	clientSpan  = "b7ad6b7169203331"
)

// openTracedShop starts a node with a product of which a sale leaves too little.
func openTracedShop(t *testing.T, dir string) *testNode {
	t.Helper()
	n := startNode(t, dir)
	n.commit(t, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "b1"})
	n.commit(t, domain.CommandCreateProduct, "b1", domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "Tea", PriceMinor: 100, Currency: "EUR", Stock: new(int64(6)), MinStock: 5})
	return n
}

const tracedSale = `{"kind":"sale","status":"completed","lines":[{"productId":"p1","quantity":2}]}`

// sellOverHTTP sells with that traceparent, none if empty.
func (n *testNode) sellOverHTTP(t *testing.T, traceparent string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.addr+"/api/branches/b1/transactions", strings.NewReader(tracedSale))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+signed("till", domain.RoleStaff, "b1"))
	if traceparent != "" {
		r.Header.Set("Traceparent", traceparent)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(answer.Body); err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatalf("sale: %s, %v: %s", answer.Status, err, body.String())
	}
}

// untilAlert reads until the alert, waits until every projection has it, and
// returns its position.
func (n *testNode) untilAlert(t *testing.T, screen *testSocket) string {
	t.Helper()
	for {
		e := screen.next()
		if e.Type != domain.TypeLowStockAlert {
			continue
		}
		pos, err := domain.ParsePosition(e.Pos)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range n.app.projections.Names() {
			if err := n.app.projections.WaitFor(t.Context(), name, pos); err != nil {
				t.Fatal(err)
			}
		}
		return e.Pos
	}
}

// stopAfter stops the node once its clients have gone, whom it need not send
// away in waves. All spans are with the collector then.
func (n *testNode) stopAfter(clients ...*testSocket) {
	for _, c := range clients {
		_ = c.conn.CloseNow()
	}
	n.stop()
}

// tree is spans as lines "parent > name", where the parent is named by its path.
func tree(spans []otlptest.Span, root string) (lines []string) {
	children := map[string][]otlptest.Span{}
	for _, s := range spans {
		children[s.Parent] = append(children[s.Parent], s)
	}
	var walk func(id, path string)
	walk = func(id, path string) {
		for _, s := range children[id] {
			at := strings.TrimPrefix(path+" > "+s.Name, " > ")
			lines = append(lines, at)
			walk(s.ID, at)
		}
	}
	walk(root, "")
	slices.Sort(lines)
	return lines
}

// saleTree is what a traced sale of too much looks like, under its root.
func saleTree(root string) (lines []string) {
	handle := root + " > publish transaction.create > handle transaction.create"
	derive := handle + " > derive low-stock:alert"
	lines = []string{
		root, root + " > publish transaction.create", handle, handle + " > decide transaction.create",
		handle + " > append", handle + " > feed", handle + " > feed > write",
		handle + " > project branches", handle + " > project inventory", handle + " > project transactions", handle + " > project alerts", handle + " > project stats",
		derive, derive + " > append", derive + " > feed", derive + " > feed > write", derive + " > project alerts",
	}
	slices.Sort(lines)
	return lines
}

func wantTree(t *testing.T, got, want []string) {
	t.Helper()
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("no span %s", line)
		}
	}
	if len(got) != len(want) || t.Failed() {
		t.Errorf("%d spans, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
}

func TestTrace_of_a_sale_over_http_reaches_the_sockets_and_the_alert(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			c := otlptest.Start(t, protocol)
			t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off") // only the client's is sampled
			t.Setenv("OTEL_SERVICE_NAME", "shop")
			n := openTracedShop(t, t.TempDir())
			screen := n.connect(t, telemetry.ProtocolSocketIO, domain.NamespaceAll, signed("boss", domain.RoleAdmin), "")
			n.sellOverHTTP(t, "00-"+clientTrace+"-"+clientSpan+"-01")
			n.untilAlert(t, screen)
			n.stopAfter(screen)

			spans := c.Spans()
			for _, s := range spans {
				if s.Trace != clientTrace || s.Resource["service.name"] != "shop" {
					t.Errorf("span %s of trace %s and service %q, want %s and shop", s.Name, s.Trace, s.Resource["service.name"], clientTrace)
				}
			}
			wantTree(t, tree(spans, clientSpan), saleTree("POST /api/branches/{b}/transactions"))
			for _, s := range spans {
				if s.Name == "write" && s.Attributes["bms.sid"] != screen.session.SID {
					t.Errorf("write to %q, want the session %q", s.Attributes["bms.sid"], screen.session.SID)
				}
			}
		})
	}
}

func TestTrace_of_a_sale_over_a_socket_begins_with_its_command(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			c := otlptest.Start(t, "grpc")
			n := openTracedShop(t, t.TempDir())
			screen := n.connect(t, protocol, domain.NamespaceAll, signed("boss", domain.RoleAdmin), "")
			till := n.connect(t, protocol, domain.NamespacePOS, signed("till", domain.RoleStaff, "b1"), "")
			sale := map[string]any{"kind": "sale", "status": "completed", "lines": []any{map[string]any{"productId": "p1", "quantity": 2}}}
			if a := till.ask("command", map[string]any{"type": domain.CommandCreateTransaction, "branchId": "b1", "body": sale}); !a.OK {
				t.Fatalf("sale: %+v", a)
			}
			n.untilAlert(t, screen)
			if pos := n.untilAlert(t, till); pos == "" {
				t.Error("no alert at the till")
			}
			n.stopAfter(screen, till)

			spans := c.Spans()
			root := slices.IndexFunc(spans, func(s otlptest.Span) bool { return s.Parent == "" && s.Name == "command transaction.create" })
			if root < 0 {
				t.Fatalf("no root among %d spans", len(spans))
			}
			want := saleTree("command transaction.create")
			for _, line := range want {
				if strings.HasSuffix(line, "> write") { // to the till, too
					want = append(want, line)
				}
			}
			wantTree(t, tree(slices.DeleteFunc(spans, func(s otlptest.Span) bool { return s.Trace != spans[root].Trace }), ""), want)
		})
	}
}

func TestTrace_of_a_replay_is_its_own_and_links_to_what_it_replays(t *testing.T) {
	c := otlptest.Start(t, "http/protobuf")
	dir := t.TempDir()
	n := openTracedShop(t, dir)
	before := n.app.log.Head().String()
	screen := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, signed("boss", domain.RoleAdmin), "")
	n.sellOverHTTP(t, "00-"+clientTrace+"-"+clientSpan+"-01")
	n.untilAlert(t, screen)
	n.stopAfter(screen)
	live := c.Spans()
	var linked []string
	for _, s := range live {
		if strings.HasPrefix(s.Name, "handle ") || strings.HasPrefix(s.Name, "derive ") {
			linked = append(linked, s.ID)
		}
	}

	n = startNode(t, dir)
	screen = n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, signed("boss", domain.RoleAdmin), before)
	n.untilAlert(t, screen)
	n.stopAfter(screen)
	var links []string // of all writes: the session may take the first event along
	for _, s := range c.Spans()[len(live):] {
		if s.Trace == clientTrace {
			t.Errorf("span %s in the trace of what is replayed", s.Name)
		}
		if s.Name == "replay" {
			links = append(links, s.Links...)
			if s.Parent != "" {
				t.Errorf("replay %+v, want it without a parent", s)
			}
		}
	}
	slices.Sort(linked)
	slices.Sort(links)
	if links = slices.Compact(links); !slices.Equal(links, linked) {
		t.Errorf("replay links to %v, want %v", links, linked)
	}
}

func TestTrace_makes_no_span_of_what_is_not_sampled(t *testing.T) {
	for name, tt := range map[string]struct{ variables, traceparent string }{
		"by_the_client":  {"", "00-" + clientTrace + "-" + clientSpan + "-00"},
		"by_the_sampler": {"OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0", ""},
		"always_off":     {"OTEL_TRACES_SAMPLER=always_off", "00-" + clientTrace + "-" + clientSpan + "-01"},
		"disabled":       {"OTEL_SDK_DISABLED=true", "00-" + clientTrace + "-" + clientSpan + "-01"},
	} {
		t.Run(name, func(t *testing.T) {
			c := otlptest.Start(t, "http/protobuf")
			for variable := range strings.FieldsSeq(tt.variables) {
				key, value, _ := strings.Cut(variable, "=")
				t.Setenv(key, value)
			}
			n := openTracedShop(t, t.TempDir())
			screen := n.connect(t, telemetry.ProtocolSocketIO, domain.NamespaceAll, signed("boss", domain.RoleAdmin), "")
			n.sellOverHTTP(t, tt.traceparent)
			n.untilAlert(t, screen)
			n.stopAfter(screen)
			if spans := c.Spans(); len(spans) > 0 {
				t.Errorf("%d spans, want none: %s", len(spans), fmt.Sprint(spans))
			}
		})
	}
}
