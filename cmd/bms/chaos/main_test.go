package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Binaries under test: as shipped, and with its fail points.
var bms, bmsFailing string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bms-chaos-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bms, bmsFailing = filepath.Join(dir, "bms"), filepath.Join(dir, "bms-failing")
	for _, args := range [][]string{{"-o", bms}, {"-tags", "failpoints", "-o", bmsFailing}} {
		build := exec.Command("go", append(append([]string{"build"}, args...), "bms/cmd/bms")...)
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build bms:", err)
			return 1
		}
	}
	return m.Run()
}
