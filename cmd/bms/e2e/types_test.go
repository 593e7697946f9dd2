package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
	dir := typed(t, n.must("GET", "/events.d.ts", "", nil).raw)
	source, err := os.ReadFile("programs/types/till.ts")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "till.ts", string(source))
	write(t, dir, "node.d.ts", `declare const process: { argv: string[]; exit(code: number): never; on(signal: string, f: () => void): void; stdout: { write(text: string): void } };`)
	if complaints := compile(t, dir, "--outDir", "out", "till.ts", "node.d.ts"); complaints != "" {
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
