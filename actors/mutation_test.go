package actors

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Test_what_is_broken_on_purpose_is_caught builds this package with one line
// broken at a time and expects its own tests of delivery to fail: they would
// notice a gap, a double, a wrong order, a right that outlives its end. The
// same build with nothing broken has to pass.
func Test_what_is_broken_on_purpose_is_caught(t *testing.T) {
	source, err := os.ReadFile("connection.go")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := deliveryTests(t, "connection.go", string(source)); err != nil || strings.Contains(out, "no tests to run") {
		t.Fatalf("with nothing broken: %v\n%s", err, out)
	}
	for name, m := range map[string]struct{ file, old, new string }{
		"doubles_across_rooms":          {"connection.go", "if !f.pos().After(c.cursor) {", "if false {"},
		"no_order_across_rooms":         {"cursor.go", "if sources > 1 {", "if false {"},
		"tails_asked_beyond_their_end":  {"tail.go", "if t.from.After(cursor) {", "if false {"},
		"tails_that_forget_silently":    {"tail.go", "t.from = t.frames[oldest.frames-1].pos()", ""},
		"tails_of_any_size":             {"tail.go", " || t.bytes-oldest.bytes >= t.bound.bytes", ""},
		"batches_cut_in_tails":          {"tail.go", "t.batches[n-1].number != number {", "t.batches[n-1].number <= number {"},
		"part_of_recent_for_all_of_it":  {"cursor.go", "if len(dst) == chunk {", "if false {"},
		"part_of_a_tail_for_all_of_it":  {"cursor.go", "len(dst)-before == chunk && upTo.After(last) {", "false {"},
		"stretches_of_concern_passed":   {"segment.go", "if st.concerns(members) {", "if st.concerns(members[:1]) {"},
		"part_of_a_room_for_all_of_it":  {"segment.go", "upTo.After(last) {", "false {"},
		"rooms_of_the_closed":           {"connection.go", "if c.ending != \"\" { // nothing is owed", "if false { // nothing is owed"},
		"catching_up_falls_asleep":      {"cursor.go", "if len(given) == len(dst) { // it was", "if false { // it was"},
		"a_turn_for_each_chunk":         {"cursor.go", "time.Since(begun) >= turnLease/2 {", "time.Since(begun) >= 0 {"},
		"a_turn_for_all_chunks":         {"cursor.go", "time.Since(begun) >= turnLease/2 {", "time.Since(begun) < 0 {"},
		"turns_that_wake_nobody":        {"cursor.go", "ask(turnToCatchUp, c.transport.Wake)", "ask(turnToCatchUp, func() {})"},
		"turns_asked_for_twice":         {"cursor.go", "if !t.comes() && c.ending == \"\" {", "if c.ending == \"\" {"},
		"turns_of_those_who_left":       {"connection.go", "c.members = nil\n\t\tc.giveBack()", "c.members = nil"},
		"turns_held_over_an_idle_one":   {"connection.go", "if c.turn.Load() != nil { // there", "if false { // there"},
		"turns_not_ended":               {"connection.go", "if c.turn.Load().has() {", "if false {"},
		"turns_kept_while_stuck":        {"turns.go", "next.state.CompareAndSwap(turnOffered, turnOver)", ""},
		"news_for_those_who_wait":       {"connection.go", "if !c.turn.Load().comes() {", "if true {"},
		"lost_news":                     {"room.go", "\t\ta.room.told.Store(false)\n\t\tfor", "\t\tfor"},
		"rights_from_now_not_from_then": {"membership.go", "join(name, c), since: at}", "join(name, c), since: c.hub.Head()}"},
		"rights_that_never_end":         {"membership.go", "c.members = members\n", "c.members = append(members, c.members...)\n"},
		"rights_judged_too_late":        {"connection.go", "&& c.rejudgeLocked(f.event) {", "&& c.rejudgeLocked(f.event) && false {"},
		"join_that_reaches_back":        {"membership.go", "next.joined[name] = c.hub.cfg.Log.Head()", "next.joined[name] = domain.Position{}"},
		"rooms_left_for_ever":           {"membership.go", "delete(next.left, name)", ""},
		"rooms_joined_for_once":         {"sessionrooms.go", "return c.hub.cfg.Sessions.Save(ctx, c.sid, rooms)", "rooms.Joined = nil; return c.hub.cfg.Sessions.Save(ctx, c.sid, rooms)"},
		"branches_come_back_early":      {"membership.go", "return left || !e.Pos.After(c.joined[name])", "return left"},
		"sessions_of_unknown_rooms":     {"connect.go", "if errors.Is(err, ErrSessionForgotten) {\n\t\t\treturn b, nil", "if errors.Is(err, ErrSessionForgotten) {\n\t\t\terr = nil"},
		"rooms_joined_in_what_is_lost":  {"sessionrooms.go", "r.Joined[name] = cursor", "_ = name"},
		"rooms_saved_by_who_has_gone":   {"sessionrooms.go", "if !c.hub.knows(c) {", "if false {"},
		"rooms_loaded_while_saved":      {"connect.go", "if r.SID != \"\" {", "if false && r.SID != \"\" {"},
		"leaving_after_the_end":         {"inbound.go", "over := c.ending != \"\"", "over := false"},
		"tokens_that_reach_forward":     {"inbound.go", "c.judgeLocked(c.cursor)", "c.judgeLocked(c.hub.cfg.Log.Head())"},
		"cursor_ahead_of_the_unread":    {"connection.go", "\t\treturn c.unread.at\n", "\t\treturn c.cursor\n"},
		"no_end_of_the_unread":          {"unread.go", "codec.LastUnread(e, c.session(true))", "codec.Event(e)"},
		"an_end_on_each_page_of_unread": {"unread.go", "if len(u.events) == 1 && u.more {", "if false {"},
		"unread_lost_in_between":        {"unread.go", "c.unread.at = upTo;", "c.unread.at = c.unread.upTo;"},
		"rights_that_came_back":         {"connect.go", "s.barred = s.barred || s.then != nil && judge() != nil", ""},
		"rooms_of_an_earlier_life":      {"connect.go", "\tb.sid, b.began = r.NewSID(), h.cfg.Now()\n\treturn b, nil\n", "\tif b.sid = r.SID; b.sid == \"\" {\n\t\tb.sid = r.NewSID()\n\t}\n\treturn b, nil\n"},
		"windows_into_the_past":         {"membership.go", "&& c.mayStillSeeLocked(f.event)", ""},
		"windows_that_never_close":      {"connection.go", "if c.now != nil && !c.nowAt.After(e.Pos) {", "if false {"},
		"rooms_cleaned_up_while_used":   {"room.go", "m.members > 0 || ", ""},
		"old_notifications_twice":       {"unread.go", "page[len(page)-1].Pos.After(b.upTo)", "false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caught(t, m.file, m.old, m.new)
		})
	}
}

// caught breaks one line of a file and expects a test to say so. That the
// mutant can't be built or takes too long says nothing of the tests.
func caught(t *testing.T, file, old, changed string) {
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), old); n != 1 {
		t.Fatalf("%s has %q %d times, want it once: the mutant has to follow the code", file, old, n)
	}
	mutant := strings.Replace(string(source), old, changed, 1)
	out, err := deliveryTests(t, file, mutant)
	if err == nil { // what order things come in is Go's scheduler's, too
		out, err = deliveryTests(t, file, mutant, "TEST_SEEDS=1000")
	}
	if err == nil {
		t.Fatalf("the mutant passes:\n%s", out)
	}
	if why := undecided(out); why != "" {
		t.Fatalf("the mutant is not caught but %s (%v):\n%s", why, err, out)
	}
}

// undecided says why the output of a test that went wrong does not show that a
// test has failed; empty if it does. A bubble in which everybody waits for ever
// ends without the name of its test.
func undecided(out string) string {
	switch {
	case strings.Contains(out, "test timed out"):
		return "took too long"
	case strings.Contains(out, "build failed]"), strings.Contains(out, "setup failed]"):
		return "can't be built"
	case !strings.Contains(out, "--- FAIL: ") && !strings.Contains(out, "panic: deadlock: "):
		return "ended otherwise"
	}
	return ""
}

func Test_what_does_not_show_that_a_mutant_was_caught(t *testing.T) {
	for name, tt := range map[string]struct{ out, want string }{
		"a_failure":        {"--- FAIL: Test_x (0.00s)\n    x_test.go:1: got 1\nFAIL\nFAIL\tbms/actors\t0.1s\n", ""},
		"a_deadlock":       {"panic: deadlock: all goroutines in bubble are blocked\n\ngoroutine 7 [running]:\nFAIL\tbms/actors\t0.1s\n", ""},
		"a_timeout":        {"panic: test timed out after 10m0s\n\trunning tests:\n\t\tTest_x (1s)\n--- FAIL: Test_y (0.00s)\nFAIL\tbms/actors\t600s\n", "took too long"},
		"no_build":         {"# bms/actors\n./tail.go:7:1: declared and not used: t\nFAIL\tbms/actors [build failed]\n", "can't be built"},
		"no_setup":         {"# bms/actors\ntail.go:1:1: expected 'package'\nFAIL\tbms/actors [setup failed]\n", "can't be built"},
		"killed":           {"signal: killed\nFAIL\tbms/actors\t9s\n", "ended otherwise"},
		"nothing_was_said": {"", "ended otherwise"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := undecided(tt.out); got != tt.want {
				t.Errorf("undecided %q, want %q", got, tt.want)
			}
		})
	}
}

// deliveryTests runs the tests of delivery with another content of one file, and
// with what is to be added to the environment.
func deliveryTests(t *testing.T, file, content string, environ ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	mutant := filepath.Join(dir, file)
	if err := os.WriteFile(mutant, []byte(content), 0o600); err != nil {
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
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-short", "-timeout=10m", "-overlay", overlayFile,
		"-run", "schedules|cursor|rooms|rights|role_that_ends|connection_sees|session|unread|stuck|empty_room|catching_up|who_leaves|turn|tail|large_commit", ".")
	cmd.Env = append(os.Environ(), environ...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
