package main

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bms/domain"
)

// A log that can't be written is a reason not to send commands here, for as long
// as that lasts. The system refuses the writes, as it would those beyond a full
// disk.
func TestReady_says_that_the_log_takes_no_commits(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.do(t, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 4096
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	open := func(branch string) error {
		_, err := n.app.bus.Do(t.Context(), domain.Command{
			ID: "late-" + branch, Keyed: true, Type: domain.CommandOpenBranch, BranchID: branch,
			Identity: domain.Identity{UserID: "bench", Role: domain.RoleAdmin}, At: time.Now(), Body: domain.OpenBranch{BranchID: branch, Name: "Shop"},
		})
		return err
	}
	err := open("b2")
	says := func() bool {
		return slices.ContainsFunc(n.app.unready(), func(reason string) bool { return strings.Contains(reason, domain.ErrLogUnavailable.Error()) })
	}
	unready := says()
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if rejectCode(err) != domain.CodeLogUnavailable {
		t.Fatalf("the command came to %v, want log_unavailable", err)
	}
	if !unready {
		t.Errorf("unready because of %q, want that the log is unavailable", n.app.unready())
	}
	// It may have tried by itself before, and be in the pause after that.
	for err = open("b3"); rejectCode(err) == domain.CodeLogUnavailable; err = open("b3") {
	}
	if err != nil {
		t.Fatal(err)
	}
	if says() {
		t.Errorf("it takes commits again, and is unready because of %q", n.app.unready())
	}
}
