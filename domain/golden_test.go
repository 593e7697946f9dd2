package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew: a diff in them is a decision about the interface")

// golden has an event of each type and version with every field set. What is
// on disk and on the wire must not change but on purpose.
var golden = []struct {
	branchID string
	version  int
	payload  Payload
}{
	{"b1", 1, InventoryUpdated{
		ProductID: "p1", SKU: "SKU-1", Delta: -2, Stock: 3, MinStock: 5, Version: 7,
		Reason: ReasonSale, Ref: "receipt 12", TransactionID: "t1",
	}},
	{"b1", 1, ProductUpdated{
		Action: ActionUpdated, ProductID: "p1", Changes: []string{"name", "priceMinor"},
		Product: Product{
			ProductID: "p1", SKU: "SKU-1", Name: `Crème <b>"brûlée"</b> & co`, PriceMinor: 1250, Currency: "EUR",
			Stock: 3, MinStock: 5, NegativeStock: NegativeOfflineOnly, Version: 8,
		},
	}},
	{"b1", 1, TransactionCreated{
		TransactionID: "t1", Kind: KindSale, Status: StatusCompleted, TotalMinor: 2550, Currency: "EUR", DeviceID: "till-1", OccurredAt: "2026-01-31T11:59:58.123Z",
		Lines: []Line{{ProductID: "p1", Quantity: 2, UnitPriceMinor: 1250}, {ProductID: "p2", Quantity: 1, UnitPriceMinor: 50}},
	}},
	{"b1", 1, TransactionStatusChanged{
		TransactionID: "t1", From: StatusCompleted, To: StatusPartiallyRefunded, Reason: "damaged", RefundedMinor: ptr(int64(1250)),
		Lines: []RefundLine{{ProductID: "p1", Quantity: 1, Restock: true}},
	}},
	{"b1", 1, LowStockAlert{
		ProductID: "p1", SKU: "SKU-1", Name: "Tea", Stock: 3, MinStock: 5, Level: LevelLow, First: true,
		CausePos: Position{Epoch: 1767225600000, Seq: 41, Index: 1},
	}},
	{"b1", 1, BranchUpdated{Action: ActionUpdated, Name: "Main street", Status: BranchClosed}},
	{"", 1, UserUpdated{
		UserID: "u1", Action: ActionUpdated, Role: RoleManager, Branches: []string{"b1", "b2"}, Disabled: true, Name: "Ann", Changes: []string{"role", "disabled"},
	}},
	{"b1", 1, SyncStatus{
		DeviceID: "till-1", Phase: SyncDone, Received: 5, Applied: 2, Duplicates: 1, Conflicted: 1, Rejected: 1, LastSeq: 9,
		Errors: []SyncError{{Seq: 8, Code: CodeUnknownProduct, Message: "there is no product p9"}},
	}},
	{"b1", 1, TransferDispatched{TransferID: frozenTransfer, FromBranchID: "b1", ToBranchID: "b2", Lines: []TransferLine{{ProductID: "p1", Quantity: 5}}}},
	{"b2", 1, TransferAnnounced{TransferID: frozenTransfer, FromBranchID: "b1", ToBranchID: "b2", Lines: []TransferLine{{ProductID: "p1", Quantity: 5}}}},
	{"b2", 1, TransferRefused{TransferID: frozenTransfer, FromBranchID: "b1", ToBranchID: "b2", Lines: []TransferLine{{ProductID: "p1", Quantity: 5}}, Reason: CodeBranchClosed}},
	{"b2", 1, TransferReceived{TransferID: frozenTransfer, Lines: []ReceivedLine{{ProductID: "p1", Received: 2, Damaged: 1}}}},
	{"b2", 1, TransferWithdrawn{TransferID: frozenTransfer, FromBranchID: "b1", ToBranchID: "b2", Lines: []TransferLine{{ProductID: "p1", Quantity: 2}}}},
	{"b1", 1, TransferReturned{TransferID: frozenTransfer, Lines: []ReturnedLine{{ProductID: "p1", Quantity: 2, WrittenOff: 1}}}},
	{"b1", 1, SyncHandled{DeviceID: "till-1", Seqs: []SeqRange{{From: 7, To: 9}, {From: 12, To: 12}}}},
	{"", 1, NotificationsAcked{UserID: "u1", Pos: Position{Epoch: 1767225600000, Seq: 41, Index: 1}}},
	{"", 1, SystemNotification{
		NotificationID: "n1", Severity: SeverityCritical, Title: "Closing early", Message: "At five.\nPlease cash up.", Audience: "user-role:staff", ExpiresAt: "2026-02-01T00:00:00.000Z",
	}},
}

const frozenTransfer = "019c13ec9e0070008000000000000001-b2"

func Test_event_json_is_frozen(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range golden {
		eventType := g.payload.EventType()
		name := strings.ReplaceAll(eventType, ":", "-") + ".v" + strconv.Itoa(g.version) + ".json"
		t.Run(name, func(t *testing.T) {
			seen[name] = true
			path := filepath.Join("testdata", "events", name)
			if g.version == currentVersion(eventType) { // older ones are only read
				got := envelope(t, g.branchID, g.payload)
				if *update {
					if err := os.WriteFile(path, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if want := readFile(t, path); !bytes.Equal(got, want) {
					t.Errorf("envelope is\n     %swant %s", got, want)
				}
			}
			var stored struct{ Data json.RawMessage }
			if err := json.Unmarshal(readFile(t, path), &stored); err != nil {
				t.Fatal(err)
			}
			decoded, err := decodePayload(eventType, g.version, stored.Data)
			if err != nil || !reflect.DeepEqual(decoded, g.payload) {
				t.Errorf("read back as %+v, %v\nwant %+v", decoded, err, g.payload)
			}
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "events"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("%s has no test", f.Name())
		}
	}
	if len(seen) < len(schemas) {
		t.Errorf("%d event types are frozen, there are %d", len(seen), len(schemas))
	}
}

func envelope(t *testing.T, branchID string, p Payload) []byte {
	t.Helper()
	data, err := encode(p)
	if err != nil {
		t.Fatal(err)
	}
	e := Event{
		ID: EventID(now, "u9", "command-1", 0), Type: p.EventType(), Version: currentVersion(p.EventType()), BranchID: branchID, UserID: "u9",
		At: now, Data: data, Pos: Position{Epoch: 1767225600000, Seq: 42},
	}
	return append(e.AppendEnvelope(nil), '\n')
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func Test_unknown_types_and_newer_versions_are_not_read(t *testing.T) {
	for eventType := range schemas {
		for _, version := range []int{-1, 0, currentVersion(eventType) + 1} {
			if p, err := decodePayload(eventType, version, []byte(`{}`)); !errors.Is(err, ErrUnknownEvent) {
				t.Errorf("%s version %d: %+v, %v; want ErrUnknownEvent", eventType, version, p, err)
			}
		}
	}
	if p, err := decodePayload("product:painted", 1, []byte(`{}`)); !errors.Is(err, ErrUnknownEvent) {
		t.Errorf("unknown type: %+v, %v; want ErrUnknownEvent", p, err)
	}
}

func Test_envelope_leaves_out_what_is_not_there(t *testing.T) {
	e := Event{ID: "e1", Type: TypeUserUpdated, Version: 1, At: now, Data: []byte(`{}`)}
	const want = `{"id":"e1","type":"user:updated","timestamp":"2026-01-31T12:00:00.000Z","branchId":null,"data":{}}`
	if got := string(e.AppendEnvelope(nil)); got != want {
		t.Errorf("envelope %s, want %s", got, want)
	}
}

func Test_answer(t *testing.T) {
	b := NewBranch("b1")
	given(t, b, RoleAdmin, opened, tea)
	c := commit(t, b, command(RoleStaff, AdjustStock{ProductID: "tea", Delta: 1, Reason: "found <it>"}))
	c.Placed(1767225600000, 42)
	const want = `{"commandId":"c1","pos":"1jdrdla00000000001a000","durability":"fsync","events":[` +
		`{"id":"ID","type":"inventory:updated","timestamp":"2026-01-31T12:00:00.000Z","branchId":"b1","userId":"staff",` +
		`"data":{"productId":"tea","sku":"T","delta":1,"stock":11,"minStock":3,"version":3,"reason":"found <it>"},"pos":"1jdrdla00000000001a000"}],` +
		`"result":{"productId":"tea","stock":11,"version":3}}`
	got := strings.Replace(string(AppendAnswer(nil, c)), c.Events[0].ID, "ID", 1)
	if got != want {
		t.Errorf("answer\n     %s\nwant %s", got, want)
	}
	empty := &Commit{CommandID: "c2", Position: Position{Epoch: 1767225600000, Seq: 43}, Metadata: map[string]string{MetadataDurability: DurabilityRelaxed}}
	const none = `{"commandId":"c2","pos":"1jdrdla00000000001b000","durability":"relaxed","events":[],"result":null}`
	if got := string(AppendAnswer(nil, empty)); got != none {
		t.Errorf("answer without events %s, want %s", got, none)
	}
}
