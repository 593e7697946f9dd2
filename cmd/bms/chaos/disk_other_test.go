//go:build !linux

package chaos_test

import "testing"

// newDisk knows no way here to make a disk that can be filled.
func newDisk(t *testing.T) (*disk, bool) {
	t.Helper()
	return &disk{dir: t.TempDir()}, false
}

type disk struct{ dir string }

func (d *disk) data() string { return d.dir }
func (d *disk) fill() error  { return nil }
func (d *disk) free() error  { return nil }
