package actors

import (
	"os"
	"runtime"
	"syscall"
	"time"
)

// Yielder lets everything else run that can. runtime.Gosched alone would not
// do: Go's scheduler looks at the network only when nothing is left to run, or
// every ten milliseconds, so that a goroutine that is always ready, however
// often it yields, makes what arrives wait for so long. A Yielder waits to read
// from a pipe that it has just written to: it goes on when the network has been
// looked at. It is for one goroutine.
type Yielder struct {
	r, w *os.File
	raw  syscall.RawConn // nil where there were no descriptors left: Gosched has to do
}

// NewYielder makes a Yielder, to be closed.
func NewYielder() *Yielder {
	y := new(Yielder)
	var err error
	if y.r, y.w, err = os.Pipe(); err != nil {
		return y
	}
	if y.raw, err = y.r.SyscallConn(); err != nil {
		y.raw = nil
	}
	return y
}

// Yield lets every other goroutine run that can, also those for which something
// has arrived.
func (y *Yielder) Yield() {
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

// yieldThread lets the system run another thread in place of this one, and
// returns how long that took. A thread that has something to do at last, as
// when its commit has come back from the disk, is not let in before the running
// one has had its milliseconds, though both be ours.
func yieldThread() time.Duration {
	began := time.Now()
	_, _, _ = syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) // never fails
	return time.Since(began)
}

// Close frees the pipe.
func (y *Yielder) Close() {
	if y.r != nil {
		_ = y.r.Close()
		_ = y.w.Close()
	}
}
