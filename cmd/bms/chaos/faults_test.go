package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"bms/cmd/bms/bench"
)

// chaos makes faults, one after the other; those that last overlap.
type chaos struct {
	random *rand.Rand
	node   *node
	proxy  *proxy
	disk   *disk
	load   *bench.Load

	done   map[string]int
	filled bool     // the disk
	ending []ending // what is to be ended, by time
}

// ending ends a fault.
type ending struct {
	at  time.Time
	end func() error
}

// fault is a kind of fault. weight says how often it is chosen.
type fault struct {
	name   string
	weight int
	do     func(c *chaos) error
}

// faults are all that a node has to live with. canFill says whether its disk can
// be filled.
func faults(canFill bool) []fault {
	all := []fault{
		{"kill -9", 10, (*chaos).kill},
		{"kill -9 while starting", 3, (*chaos).killTwice},
		{"SIGTERM", 1, (*chaos).restart},
		{"freeze", 2, (*chaos).freeze},
		{"connections cut", 4, func(c *chaos) error { return c.weather(fair) }},
		{"connections stalled", 4, func(c *chaos) error { return c.weather(stall) }},
		{"connections delayed", 3, func(c *chaos) error { return c.weather(delay) }},
		{"connections half open", 3, func(c *chaos) error { return c.weather(hole) }},
		{"connections open one way", 2, func(c *chaos) error { return c.weather(oneWay) }},
		{"readers that pause", 4, func(c *chaos) error { return c.slow((*bench.Subscriber).Pause) }},
		{"readers of a byte a second", 2, func(c *chaos) error { return c.slow((*bench.Subscriber).Trickle) }},
		{"clients that drop", 3, (*chaos).drop},
	}
	if canFill {
		all = append(all, fault{"disk full", 2, (*chaos).fill})
	}
	return all
}

// run makes faults until the context ends, and then ends those that last.
func (c *chaos) run(ctx context.Context, faults []fault) error {
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	for {
		pause := time.NewTimer(time.Duration(50+c.random.IntN(900)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return c.heal()
		}
		if err := c.endUntil(time.Now()); err != nil {
			return err
		}
		if err := c.node.running(); err != nil {
			return err
		}
		at := c.random.IntN(total)
		for _, f := range faults {
			if at -= f.weight; at < 0 {
				if err := f.do(c); err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
				c.done[f.name]++
				break
			}
		}
	}
}

// later has a fault ended after a while.
func (c *chaos) later(most time.Duration, end func() error) {
	after := most/10 + time.Duration(c.random.Int64N(int64(most)))
	c.ending = append(c.ending, ending{time.Now().Add(after), end})
}

func (c *chaos) endUntil(now time.Time) error {
	var errs []error
	c.ending = slices.DeleteFunc(c.ending, func(e ending) bool {
		if e.at.After(now) {
			return false
		}
		errs = append(errs, e.end())
		return true
	})
	return errors.Join(errs...)
}

// heal ends all that lasts and has the node run.
func (c *chaos) heal() error {
	var errs []error
	for _, e := range c.ending {
		errs = append(errs, e.end())
	}
	c.ending = nil
	c.proxy.heal()
	for _, s := range c.load.Subscribers() {
		s.Resume()
	}
	return errors.Join(append(errs, c.free(), c.node.running())...)
}

// start starts the node. One that finds its disk full may refuse to; it then
// gets the space back.
func (c *chaos) start() error {
	err := c.node.start()
	if errors.Is(err, errEnded) && c.filled {
		if err := c.free(); err != nil {
			return err
		}
		return c.node.start()
	}
	return err
}

func (c *chaos) kill() error {
	c.node.kill()
	return c.start()
}

// killTwice kills, and kills again while it starts.
func (c *chaos) killTwice() error {
	c.node.kill()
	if _, err := c.node.launch(); err != nil {
		return err
	}
	<-time.After(time.Duration(c.random.IntN(150)) * time.Millisecond)
	return c.kill()
}

// restart stops the node in good order. One whose disk is full may say that it
// could not write all it wanted.
func (c *chaos) restart() error {
	if err := c.node.terminate(); err != nil && !(c.filled && errors.Is(err, errFailed)) {
		return err
	}
	return c.start()
}

// freeze stops the process for a while, as a machine under pressure does.
func (c *chaos) freeze() error {
	if err := c.node.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	<-time.After(time.Duration(c.random.IntN(2000)) * time.Millisecond)
	return c.node.cmd.Process.Signal(syscall.SIGCONT)
}

// weather changes the weather of some connections for a while, or with fair
// cuts them.
func (c *chaos) weather(w weather) error {
	share := []float64{0.05, 0.3, 1}[c.random.IntN(3)]
	if w == fair {
		c.proxy.some(c.random, share, (*pipe).cut)
		return nil
	}
	var hit []*pipe
	c.proxy.some(c.random, share, func(p *pipe) { p.set(w); hit = append(hit, p) })
	c.later(4*time.Second, func() error {
		for _, p := range hit {
			if weather(p.weather.Load()) != w {
				continue // it has ended
			}
			if w == hole || w == oneWay {
				p.cut()
			} else {
				p.set(fair)
			}
		}
		return nil
	})
	return nil
}

// slow slows some readers down for a while.
func (c *chaos) slow(how func(*bench.Subscriber)) error {
	var hit []*bench.Subscriber
	for _, s := range c.load.Subscribers() {
		if c.random.IntN(5) == 0 {
			how(s)
			hit = append(hit, s)
		}
	}
	c.later(6*time.Second, func() error {
		for _, s := range hit {
			s.Resume()
		}
		return nil
	})
	return nil
}

func (c *chaos) drop() error {
	for _, s := range c.load.Subscribers() {
		if c.random.IntN(4) == 0 {
			s.Drop()
		}
	}
	return nil
}

func (c *chaos) fill() error {
	if err := c.disk.fill(); err != nil {
		return err
	}
	c.filled = true
	c.later(2*time.Second, c.free)
	return nil
}

func (c *chaos) free() error {
	c.filled = false
	return c.disk.free()
}

// told lists the faults that were made.
func (c *chaos) told() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.done)) {
		fmt.Fprintf(&b, "%s: %d, ", name, c.done[name])
	}
	return strings.TrimSuffix(b.String(), ", ")
}
