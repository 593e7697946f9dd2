package httpapi

import (
	"regexp"
	"strings"
	"testing"

	"bms/domain"
)

// That the compiler takes the types, with socket.io-client's, is tested with
// the compiler (cmd/bms/e2e); here it is what they say.
func Test_types_have_every_event_and_command(t *testing.T) {
	types := newShop(t, nil).must("", "GET", "/events.d.ts", "").body
	for eventType := range samples(t) {
		if got := strings.Contains(types, `"`+eventType+`": (event: `); got == domain.Internal(eventType) {
			t.Errorf("%s: there %v, internal %v", eventType, got, domain.Internal(eventType))
		}
	}
	for _, row := range commandRoutes {
		if row.command != domain.CommandSubmitSync && !strings.Contains(types, `type: "`+row.command+`";`) {
			t.Errorf("command %s is missing", row.command)
		}
	}
	declared := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^export (?:interface|type) (\w+)`).FindAllStringSubmatch(types, -1) {
		declared[m[1]]++
	}
	for name, times := range declared {
		if times != 1 {
			t.Errorf("%s is declared %d times", name, times)
		}
	}
	for _, want := range []string{
		`  ping: (ack: (answer: PongAnswer | Refused) => void) => void;` + "\n",
		`  | { op: "ping"; id?: number | string; args?: [] }` + "\n",
		`  | { op: "room:join"; id?: number | string; args: [room: string] }` + "\n",
		"export interface PongAnswer {\n  ok: true;\n  pos: Position;\n}\n",
		"  branchId: string | null;\n  userId?: string;\n  data: D;\n  pos: Position;\n",
		`  level: "low" | "out" | "negative";` + "\n  first: boolean;\n  causePos: Position;\n",
		"  refundedMinor?: number;\n  lines?: readonly RefundLine[];\n",
		`  negativeStock: "deny" | "offline-only" | "allow";` + "\n  version: number;\n",
	} {
		if !strings.Contains(types, want) {
			t.Errorf("types lack\n%s", want)
		}
	}
}
