// Package e2e_test runs the bms binary as its users do: as a process, spoken
// to over HTTP and by unmodified socket.io-client programs in Node (see
// programs/), killed and started again.
package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// bms is the binary under test, built as these tests are: with the race
// detector if they have it.
var bms string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bms-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := exec.LookPath("node"); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need Node: the clients they test with are JavaScript")
		return 1
	}
	if _, err := os.Stat("node_modules/socket.io-client"); err != nil {
		fmt.Fprintln(os.Stderr, "the client libraries are not installed: run make test, or npm ci in cmd/bms/e2e")
		return 1
	}
	bms = filepath.Join(dir, "bms")
	build := exec.Command("go", slices.Concat([]string{"build"}, raceFlag, []string{"-o", bms, "bms/cmd/bms"})...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build bms:", err)
		return 1
	}
	return m.Run()
}
