//go:build unix

package actors

import (
	"os"
	"runtime"
	"syscall"
)

// yielder lets everything else run that can. runtime.Gosched alone would not
// do: Go's scheduler looks at the network only when nothing is left to run, or
// every ten milliseconds, so that a goroutine that is always ready, however
// often it yields, makes what arrives wait for so long. A yielder waits to read
// from a pipe that it has just written to: it goes on when the network has been
// looked at.
type yielder struct {
	r, w *os.File
	raw  syscall.RawConn
}

// newYielder falls back to Gosched where there are no descriptors left.
func newYielder() *yielder {
	y := new(yielder)
	var err error
	if y.r, y.w, err = os.Pipe(); err != nil {
		return y
	}
	if y.raw, err = y.r.SyscallConn(); err != nil {
		y.raw = nil
	}
	return y
}

func (y *yielder) yield() {
	if y.raw == nil {
		runtime.Gosched()
		return
	}
	var b [1]byte
	written := false
	err := y.raw.Read(func(fd uintptr) (done bool) {
		if written {
			_, err := syscall.Read(int(fd), b[:])
			return err != syscall.EAGAIN && err != syscall.EINTR
		}
		// Only now, so that the news of it can't come before the wait.
		_, err := y.w.Write(b[:])
		written = err == nil
		return !written
	})
	if err != nil {
		runtime.Gosched()
	}
}

func (y *yielder) close() {
	if y.r != nil {
		_ = y.r.Close()
		_ = y.w.Close()
	}
}
