package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// wrong are programs that the types of /events.d.ts must not let pass, each
// with the compiler's code for what is wrong.
var wrong = map[string]struct{ code, source string }{
	"an_event_that_there_is_not":        {"TS2345", `socket.on("inventory:changed", () => {});`},
	"a_field_that_there_is_not":         {"TS2339", `socket.on("inventory:updated", (event) => event.data.quantity);`},
	"a_number_as_a_text":                {"TS2322", `socket.on("inventory:updated", (event) => { const stock: string = event.data.stock; });`},
	"an_optional_field_as_if_there":     {"TS18048", `socket.on("transaction:status-changed", (event) => event.data.refundedMinor + 1);`},
	"a_branch_as_if_never_null":         {"TS18047", `socket.on("user:updated", (event) => event.branchId.length);`},
	"a_level_that_there_is_not":         {"TS2367", `socket.on("low-stock:alert", (event) => event.data.level === "empty");`},
	"data_before_the_type_is_known":     {"TS2339", `export const stock = (event: BmsEvent) => event.data.stock;`},
	"data_of_another_type":              {"TS2339", `export const stock = (event: BmsEvent) => event.type === "branch:updated" && event.data.stock;`},
	"a_type_left_out":                   {"TS2322", `export const tell = (event: BmsEvent) => { if (event.type === "user:updated") return; const none: never = event; };`},
	"an_event_changed":                  {"TS2339", `socket.on("product:updated", (event) => event.data.changes.push("name"));`},
	"an_internal_event":                 {"TS2345", `socket.on("transfer:dispatched", () => {});`},
	"a_message_that_no_server_takes":    {"TS2345", `socket.emit("room:enter", "branch:b1", () => {});`},
	"a_room_that_is_a_number":           {"TS2345", `socket.emit("room:join", 1, () => {});`},
	"an_answer_taken_for_a_yes":         {"TS2339", `socket.emit("room:join", "branch:b1", (answer) => answer.rooms);`},
	"a_command_that_there_is_not":       {"TS2820", `export const c: Command = { type: "stock.adjusts", branchId: "b1", body: { productId: "p", delta: 1, reason: "r" } };`},
	"a_command_without_a_branch":        {"TS2741", `export const c: AdjustStockCommand = { type: "stock.adjust", body: { productId: "p", delta: 1, reason: "r" } };`},
	"a_command_with_another_ones_body":  {"TS2741", `export const c: AdjustStockCommand = { type: "stock.adjust", branchId: "b1", body: { productId: "p", delta: 1 } };`},
	"a_field_of_a_body_in_another_case": {"TS2561", `export const c: AdjustStockCommand = { type: "stock.adjust", branchId: "b1", body: { productID: "p", delta: 1, reason: "r" } };`},
	"a_plain_request_with_no_room":      {"TS2322", `export const r: WebSocketRequest = { op: "room:join", id: 1, args: [] };`},
}

const wrongHead = `import { io, type Socket } from "socket.io-client";
import type { AdjustStockCommand, BmsEvent, ClientToServerEvents, Command, ServerToClientEvents, WebSocketRequest } from "./events";
declare const socket: Socket<ServerToClientEvents, ClientToServerEvents>;
export type Used = [typeof io, typeof socket, AdjustStockCommand, BmsEvent, Command, WebSocketRequest];
`

// compile runs the TypeScript compiler in strict mode. It looks into the types
// of the libraries, too.
func compile(t *testing.T, dir string, args ...string) (complaints string) {
	t.Helper()
	modules, err := filepath.Abs("node_modules")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", append([]string{
		filepath.Join(modules, "typescript", "bin", "tsc"), "--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes",
		"--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom",
	}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatalf("run the TypeScript compiler: %v", err)
	}
	return string(out)
}

// typed makes a folder with the server's types and the client library.
func typed(t *testing.T, types []byte) string {
	t.Helper()
	dir := t.TempDir()
	modules, err := filepath.Abs("node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "events.d.ts", string(types))
	return dir
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A program in TypeScript that uses all of the types, and the real client's,
// compiles; and then it runs and gets what the types say.
func TestTypes_a_typescript_program_compiles_and_runs(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	types := n.must("GET", "/events.d.ts", "", nil).raw
	dir := typed(t, types)
	source, err := os.ReadFile("programs/types/till.ts")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "till.ts", string(source))
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile("(?s)```ts\n(.*?)```").FindSubmatch(readme)
	if first == nil {
		t.Fatal("README.md has no program in TypeScript")
	}
	write(t, dir, "readme.mts", strings.Replace(string(first[1]), "./events", "./events.mjs", 1))
	write(t, dir, "events.d.mts", string(types))
	write(t, dir, "node.d.ts", `declare const process: { argv: string[]; exit(code: number): never; on(signal: string, f: () => void): void; stdout: { write(text: string): void } };`)
	if complaints := compile(t, dir, "--outDir", "out", "till.ts", "readme.mts", "node.d.ts"); complaints != "" {
		t.Fatalf("the compiler says\n%s", complaints)
	}
	n.must("POST", "/api/branches", admin, map[string]any{"branchId": "b1", "name": "Tea house"})
	n.must("POST", "/api/branches/b1/products", admin, map[string]any{
		"productId": "tea", "sku": "T-1", "name": "Tea", "priceMinor": 250, "currency": "EUR", "stock": 5, "minStock": 1,
	})
	till := start(t, "till.js", nil, "node", filepath.Join(dir, "out", "till.js"), "http://"+n.addr+"/ws", token(t, "sam", "staff", "--branch", "b1"), "b1")
	for _, want := range []string{
		`{"on":"session","role":"staff","rooms":5,"recovered":false}`,
		`{"on":"joined","ok":true,"rooms":5}`,
		`{"on":"denied","code":"branch_forbidden"`,
		`{"on":"inventory:updated","text":"T-1: -1 -> 4 (tasted)","stock":4,"pos":true}`,
		`{"on":"sold","stock":4,"durability":"fsync","events":["inventory:updated"]}`,
	} {
		till.await(want, 0, func(line string) bool { return strings.HasPrefix(line, want) })
	}
}

// What the types don't allow doesn't compile.
func TestTypes_wrong_programs_do_not_compile(t *testing.T) {
	dir := typed(t, serve(t).must("GET", "/events.d.ts", "", nil).raw)
	files := []string{"--noEmit"}
	for name, w := range wrong {
		write(t, dir, name+".ts", wrongHead+w.source+"\n")
		files = append(files, name+".ts")
	}
	write(t, dir, "right.ts", wrongHead+`socket.on("inventory:updated", (event) => event.data.stock.toFixed());`)
	complaints := compile(t, dir, append(files, "right.ts")...)
	said := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\S+)\.ts\((\d+),\d+\): error (TS\d+)`).FindAllStringSubmatch(complaints, -1) {
		said[m[1]] = append(said[m[1]], fmt.Sprintf("%s in line %s", m[3], m[2]))
	}
	for name, w := range wrong {
		if got, want := strings.Join(said[name], ", "), w.code+" in line 5"; got != want {
			t.Errorf("%s: the compiler says %q, want %q", name, got, want)
		}
		delete(said, name)
	}
	if len(said) > 0 {
		t.Errorf("the compiler says, too, %v\n%s", said, complaints)
	}
}

// asked are messages that the server takes, each with the type of its answer;
// the id is the place in the list.
var asked = []struct{ request, answer string }{
	{`{"op":"room:join","id":0,"args":["branch:b1"]}`, "RoomsAnswer"},
	{`{"op":"room:join","id":1,"args":["branch:*"]}`, "Refused"},
	{`{"op":"room:leave","id":2,"args":["system:alerts"]}`, "RoomsAnswer"},
	{`{"op":"command","id":3,"args":[{"type":"product.create","branchId":"b1","body":{"productId":"tea","sku":"T-1","name":"Tea","priceMinor":250,"currency":"EUR","stock":5,"minStock":4}}]}`, "CreateProductDone"},
	{`{"op":"command","id":4,"args":[{"type":"product.change","branchId":"b1","body":{"productId":"tea","priceMinor":260}}]}`, "ChangeProductDone"},
	{`{"op":"command","id":5,"args":[{"type":"stock.adjust","branchId":"b1","commandId":"k","body":{"productId":"tea","delta":-1,"reason":"tasted","ref":"r"}}]}`, "AdjustStockDone"},
	{`{"op":"command","id":6,"args":[{"type":"stock.adjust-bulk","branchId":"b1","body":{"mode":"per-line","lines":[{"productId":"tea","delta":9,"reason":"found"},{"productId":"no","delta":1,"reason":"found"}]}}]}`, "AdjustStockBulkDone"},
	{`{"op":"command","id":7,"args":[{"type":"stock.count","branchId":"b1","body":{"productId":"tea","counted":6}}]}`, "CountStockDone"},
	{`{"op":"command","id":8,"args":[{"type":"transaction.create","branchId":"b1","body":{"transactionId":"t1","kind":"sale","status":"completed","deviceId":"d1","lines":[{"productId":"tea","quantity":2}]}}]}`, "CreateTransactionDone"},
	{`{"op":"command","id":9,"args":[{"type":"transaction.create","branchId":"b1","body":{"kind":"sale","status":"completed","lines":[{"productId":"tea","quantity":99}]}}]}`, "Refused"},
	{`{"op":"command","id":10,"args":[{"type":"transaction.set-status","branchId":"b1","body":{"transactionId":"t1","status":"partially_refunded","reason":"cold","lines":[{"productId":"tea","quantity":1,"restock":false}]}}]}`, "SetTransactionStatusDone"},
	{`{"op":"command","id":11,"args":[{"type":"user.set","body":{"userId":"sam","role":"manager","branches":["b1"],"disabled":false,"name":"Sam"}}]}`, "SetUserDone"},
	{`{"op":"command","id":12,"args":[{"type":"notification.send","body":{"audience":"branch:b1","severity":"warning","title":"Hello","message":"there","expiresAt":"2999-01-01T00:00:00Z"}}]}`, "SendNotificationDone"},
	{`{"op":"command","id":13,"args":[{"type":"branch.open","body":{"branchId":"b2","name":"Two"}}]}`, "OpenBranchDone"},
	{`{"op":"command","id":14,"args":[{"type":"product.create","branchId":"b2","body":{"productId":"tea","sku":"T-1","name":"Tea","priceMinor":250,"currency":"EUR"}}]}`, "CreateProductDone"},
	{`{"op":"command","id":15,"args":[{"type":"transfer.dispatch","branchId":"b1","body":{"toBranchId":"b2","lines":[{"productId":"tea","quantity":1}]}}]}`, "DispatchTransferDone"},
	{`{"op":"sync:submit","id":16,"args":[{"branchId":"b1","deviceId":"d1","fromSeq":1,"operations":[{"seq":1,"lines":[{"productId":"tea","quantity":1}]},{"seq":2,"lines":[{"productId":"no","quantity":1}]}]}]}`, "SyncDone"},
	{`{"op":"command","id":17,"args":[{"type":"product.delete","branchId":"b1","body":{"productId":"tea"}}]}`, "DeleteProductDone"},
	{`{"op":"notifications:ack","id":18,"args":["POS"]}`, "DoneAnswer"},
	{`{"op":"ping","id":19}`, "PongAnswer"},
}

// What goes over a socket is what the types say: each frame is a value of its
// type for the compiler, with every event of the contract among them.
func TestTypes_are_true_of_what_a_socket_gets(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	n.must("POST", "/api/branches", admin, map[string]any{"branchId": "b1", "name": "Tea house"})
	conn, response, err := websocket.Dial(t.Context(), "ws://"+n.addr+"/ws-admin?token="+admin, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)

	ts := &strings.Builder{}
	values := func(name, typed, value string) { fmt.Fprintf(ts, "export const %s: t.%s = %s;\n", name, typed, value) }
	ts.WriteString("import type * as t from \"./events\";\n")
	waiting := map[string]bool{"session": true, "stats": true}
	for _, eventType := range []string{
		"inventory:updated", "product:updated", "transaction:created", "transaction:status-changed", "low-stock:alert",
		"branch:updated", "user:updated", "sync:status", "system:notification",
	} {
		waiting[eventType] = true
	}
	answered, pos := 0, ""
	for frames := 0; len(waiting) > 0 || answered < len(asked); frames++ {
		_, frame, err := conn.Read(t.Context())
		if err != nil {
			t.Fatalf("read on, waiting for %v and answer %d: %v", waiting, answered, err)
		}
		var m struct {
			Type string
			ID   json.RawMessage
			Pos  string
			Data json.RawMessage
		}
		if err := json.Unmarshal(frame, &m); err != nil {
			t.Fatalf("frame %s: %v", frame, err)
		}
		values(fmt.Sprintf("frame%d", frames), "WebSocketMessage", string(frame))
		delete(waiting, m.Type)
		if m.Pos != "" {
			pos = m.Pos
		}
		if m.Type == "ack" {
			if string(m.ID) != strconv.Itoa(answered) {
				t.Fatalf("answer %s to request %d", frame, answered)
			}
			values(fmt.Sprintf("answer%d", answered), asked[answered].answer, string(m.Data))
			answered++
		}
		if (m.Type == "session" || m.Type == "ack") && answered < len(asked) { // the next one
			request := strings.Replace(asked[answered].request, "POS", pos, 1)
			values(fmt.Sprintf("request%d", answered), "WebSocketRequest", request)
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(request)); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := typed(t, n.must("GET", "/events.d.ts", "", nil).raw)
	write(t, dir, "seen.ts", ts.String())
	if complaints := compile(t, dir, "--noEmit", "seen.ts"); complaints != "" {
		t.Errorf("the compiler says\n%s\nof\n%s", complaints, ts)
	}
}
