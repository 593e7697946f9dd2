package chaos_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// diskSize is enough for what a node writes in an hour of chaos.
const diskSize = "512m"

// newDisk mounts a small disk of its own for the node, which can be filled. It
// reports false where that is not allowed: there the data folder is an ordinary
// one and no disk gets full.
func newDisk(t *testing.T) (*disk, bool) {
	t.Helper()
	d := &disk{dir: t.TempDir()}
	if err := syscall.Mount("bms-chaos", d.dir, "tmpfs", 0, "size="+diskSize); err != nil {
		t.Logf("no disk gets full: mount a tmpfs: %v", err)
		return d, false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, 0); err != nil {
			t.Errorf("unmount %s: %v", d.dir, err)
		}
	})
	return d, true
}

// disk holds the data folder.
type disk struct{ dir string }

func (d *disk) data() string { return filepath.Join(d.dir, "data") }

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill leaves no byte free.
func (d *disk) fill() error {
	f, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); ; {
		n, err := f.Write(chunk)
		switch {
		case err == nil:
		case n == 0 && len(chunk) == 1:
			return nil
		default:
			chunk = chunk[:max(1, len(chunk)/2)]
		}
	}
}

// free gives the space back.
func (d *disk) free() error {
	if err := os.Remove(d.ballast()); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("free the disk: %w", err)
	}
	return nil
}
