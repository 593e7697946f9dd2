//go:build !linux

package actors

import (
	"runtime"
	"time"
)

// Yielder lets everything else run that can. It is for one goroutine.
type Yielder struct{}

// NewYielder makes a Yielder, to be closed.
func NewYielder() *Yielder { return new(Yielder) }

// Yield lets every other goroutine run that can.
func (*Yielder) Yield() { runtime.Gosched() }

func yieldThread() time.Duration { return 0 }

// Close frees what it holds.
func (*Yielder) Close() {}
