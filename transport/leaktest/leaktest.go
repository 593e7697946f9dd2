// Package leaktest has tests fail that leave goroutines behind.
//
// It is goleak with more patience: that looks for less than half a second, in
// which a goroutine that has been told to end may not get a processor.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines have to end.
const patience = 20 * time.Second

// Main runs a package's tests and exits, with 1 if all pass and goroutines are
// left. It is for TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := find(); err != nil {
			fmt.Fprintf(os.Stderr, "all tests pass, and leave behind: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Check returns a function that fails the test if goroutines are left which
// were not there when Check was called.
func Check(t *testing.T) func() {
	before := goleak.IgnoreCurrent()
	return func() {
		t.Helper()
		if err := find(before); err != nil {
			t.Error(err)
		}
	}
}

// find is goleak.Find until it finds nothing, or has been patient enough.
func find(options ...goleak.Option) error {
	for enough := time.Now().Add(patience); ; {
		err := goleak.Find(options...)
		if err == nil || time.Now().After(enough) {
			return err
		}
	}
}
