package actors

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Test_what_is_broken_on_purpose_is_caught builds this package with one line
// broken at a time and expects its own tests of delivery to fail: they would
// notice a gap, a double, a wrong order, a right that outlives its end.
func Test_what_is_broken_on_purpose_is_caught(t *testing.T) {
	for name, m := range map[string]struct{ file, old, new string }{
		"doubles_across_rooms":          {"connection.go", "if !f.pos().After(c.cursor) {", "if false {"},
		"no_order_across_rooms":         {"cursor.go", "if sources > 1 {", "if false {"},
		"tails_asked_beyond_their_end":  {"tail.go", "if t.from.After(cursor) {", "if false {"},
		"tails_that_forget_silently":    {"tail.go", "t.from = t.ring[t.next].pos()", "_ = t.from"},
		"part_of_recent_for_all_of_it":  {"cursor.go", "if len(dst) == recentChunk {", "if false {"},
		"stretches_of_concern_passed":   {"segment.go", "if st.concerns(members) {", "if st.concerns(members[:1]) {"},
		"part_of_a_room_for_all_of_it":  {"segment.go", "upTo.After(last) {", "false {"},
		"no_order_in_segments":          {"segment.go", "if sources > 1 {", "if false {"},
		"rooms_of_the_closed":           {"connection.go", "if c.ending != \"\" { // nothing is owed", "if false { // nothing is owed"},
		"catching_up_falls_asleep":      {"connection.go", "if len(given) == len(dst) { // it was", "if false { // it was"},
		"lost_news":                     {"room.go", "\t\ta.room.told.Store(false)\n\t\tfor", "\t\tfor"},
		"rights_from_now_not_from_then": {"connection.go", "since: at, hidden", "since: c.hub.Head(), hidden"},
		"rights_that_never_end":         {"connection.go", "domain.MayJoin(c.identity, m.room.name) == nil", "true"},
		"rights_judged_too_late":        {"connection.go", "&& c.rejudgeLocked(f.event) {", "&& c.rejudgeLocked(f.event) && false {"},
		"join_that_reaches_back":        {"inbound.go", "member{room: room, since: c.hub.cfg.Log.Head()}", "member{room: room}"},
		"rooms_cleaned_up_while_used":   {"room.go", "m.members > 0 || ", ""},
		"old_notifications_twice":       {"unread.go", "events[len(events)-1].Pos.After(b.upTo)", "false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caught(t, m.file, m.old, m.new)
		})
	}
}

// caught runs the tests of delivery with one line of a file changed.
func caught(t *testing.T, file, old, changed string) {
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(source), old) != 1 {
		t.Fatalf("%s has %q %d times, want it once: the mutant has to follow the code", file, old, strings.Count(string(source), old))
	}
	dir := t.TempDir()
	mutant := filepath.Join(dir, file)
	if err := os.WriteFile(mutant, []byte(strings.Replace(string(source), old, changed, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {here: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	test := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-short", "-timeout=60s", "-overlay", overlayFile,
		"-run", "schedules|cursor|rooms|rights|role_that_ends|connection_sees|session|unread|stuck|empty_room|catching_up|who_leaves", ".")
	out, err := test.CombinedOutput()
	if strings.Contains(string(out), "[build failed]") {
		t.Fatalf("the mutant doesn't compile:\n%s", out)
	}
	if _, failed := errors.AsType[*exec.ExitError](err); !failed {
		t.Fatalf("the mutant passes (%v):\n%s", err, out)
	}
}
