//go:build !(linux || darwin || freebsd)

package main

// nearlyFull can't tell on this system.
func nearlyFull(string) string { return "" }

// freeBytes can't tell on this system.
func freeBytes(string) (free uint64, ok bool) { return 0, false }
