package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// meter shows how far something is: on a terminal in one line that is written
// over and over, else in a plain line now and then.
type meter struct {
	out      io.Writer
	what     string
	now      func() time.Time
	terminal bool
	every    time.Duration
	started  time.Time
	last     time.Time
	width    int // of the line on the terminal
}

const (
	meterOnTerminal = 200 * time.Millisecond
	meterElsewhere  = 5 * time.Second
	meterBar        = 30 // characters
)

// newMeter begins to measure. Call end when it is done.
func newMeter(out io.Writer, what string, now func() time.Time) *meter {
	m := &meter{out: out, what: what, now: now, every: meterElsewhere, started: now()}
	if isTerminal(out) {
		m.terminal, m.every = true, meterOnTerminal
	}
	m.last = m.started
	return m
}

// tell shows how much of how much is done, if it is time for it.
func (m *meter) tell(done, of uint64) {
	now := m.now()
	if now.Sub(m.last) < m.every || of == 0 {
		return
	}
	m.last = now
	share := min(float64(done)/float64(of), 1)
	rate := float64(done) / max(now.Sub(m.started).Seconds(), 1e-9)
	left := time.Duration(float64(of-min(done, of)) / max(rate, 1e-9) * float64(time.Second)).Round(time.Second)
	line := fmt.Sprintf("%s %3.0f %%, %d of %d, %.0f/s, %v left", m.what, 100*share, done, of, rate, left)
	if !m.terminal {
		fmt.Fprintln(m.out, line)
		return
	}
	full := int(share * meterBar)
	line = fmt.Sprintf("[%s%s] %s", strings.Repeat("#", full), strings.Repeat(".", meterBar-full), line)
	fmt.Fprintf(m.out, "\r%-*s", m.width, line)
	m.width = len(line)
}

// end wipes the line on the terminal and returns how long it took.
func (m *meter) end() time.Duration {
	if m.width > 0 {
		fmt.Fprintf(m.out, "\r%-*s\r", m.width, "")
		m.width = 0
	}
	return m.now().Sub(m.started)
}
