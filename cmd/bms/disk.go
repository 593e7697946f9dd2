//go:build linux || darwin || freebsd

package main

import (
	"fmt"
	"syscall"
)

// leastFree is the room on the data folder's disk below which a node is not
// ready: other nodes, or somebody who makes room, should take over before the
// log can't take commands any more.
const leastFree = 256 << 20

// nearlyFull says so of a folder's disk; empty if it isn't, or can't be told.
func nearlyFull(folder string) string {
	free, ok := freeBytes(folder)
	if !ok {
		return ""
	}
	return judgeFree(free)
}

// freeBytes is the room on a folder's disk; ok is false if it can't be told.
func freeBytes(folder string) (free uint64, ok bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, false
	}
	return uint64(s.Bavail) * uint64(s.Bsize), true
}

func judgeFree(free uint64) string {
	if free >= leastFree {
		return ""
	}
	return fmt.Sprintf("disk nearly full: %d MB are free in the data folder, want %d", free>>20, leastFree>>20)
}
