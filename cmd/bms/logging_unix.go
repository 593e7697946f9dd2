//go:build unix

package main

import (
	"os"
	"syscall"
)

// levelSignal is what changes the log level.
var levelSignal os.Signal = syscall.SIGUSR1
