//go:build !race

package e2e_test

// raceFlag builds the binary with what the test was built with.
var raceFlag []string
