//go:build !unix

package main

import "os"

// levelSignal is what changes the log level: here there is no such signal.
var levelSignal os.Signal
