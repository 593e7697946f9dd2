//go:build unix

package eventlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const lockName = "log.lock"

// lock is the hold on a log's folder; the operating system lets go of it when
// the process ends in whatever way.
type lock struct{ file *os.File }

// lockDir takes the folder, or returns one error that says why not and what to
// do. It is a lock per open file, so a second Open in one process fails too.
func lockDir(dir string) (*lock, error) {
	if err := makeDir(dir, syncDir); err != nil {
		return nil, fmt.Errorf("log folder %q cannot be made: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("log folder %q is not writable: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32)) // only to name the holder
		_ = f.Close()                                  // nothing was written
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return nil, fmt.Errorf("%w: folder %q is held by process %s; stop that one or use another folder", ErrInUse, dir, strings.TrimSpace(string(holder)))
	}
	// The pid tells people who holds the lock; the lock holds without it. On
	// a full disk there may be no room for it.
	_ = f.Truncate(0)
	_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	return &lock{f}, nil
}

// makeDir makes a folder if it is not there, and those above it, and brings the
// name of each to disk: a folder whose name a power cut takes away is empty at
// the next start, whatever was synced in it.
func makeDir(dir string, sync func(dir string) error) error {
	var parents []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, filepath.Dir(d))
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, d := range parents {
		if err := sync(d); err != nil {
			return err
		}
	}
	return nil
}

// lockHeld reports whether some process has a folder.
func lockHeld(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // read only; it lets go of the lock, too
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func (l *lock) release() error { return l.file.Close() }
