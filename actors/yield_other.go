//go:build !unix

package actors

import "runtime"

// yielder lets everything else run that can.
type yielder struct{}

func newYielder() *yielder { return new(yielder) }
func (*yielder) yield()    { runtime.Gosched() }
func (*yielder) close()    {}
