package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"bms/projections"
)

// rebuildLines shows how rebuilds go: on a terminal as a bar in one line that
// is written over, elsewhere as a line each now and then.
type rebuildLines struct {
	out      io.Writer
	terminal bool
	width    int // of the line on the terminal
	now      func() time.Time
	told     map[string]time.Time // when a plain line was last written
}

// plainEvery is the least time between two plain lines about one projection.
const plainEvery = 2 * time.Second

func newRebuildLines(out io.Writer) *rebuildLines {
	return &rebuildLines{out: out, terminal: isTerminal(out), now: time.Now, told: map[string]time.Time{}}
}

const barWidth = 30

// bar draws a share of 0 to 1.
func bar(share float64) string {
	full := int(min(max(share, 0), 1) * barWidth)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]"
}

// share is how much of the log was folded.
func share(r *projections.Rebuild) float64 {
	if r.Head.Seq == 0 {
		return 1
	}
	return float64(r.Position.Seq) / float64(r.Head.Seq)
}

func (l *rebuildLines) progress(name string, r *projections.Rebuild) {
	eta := "unknown"
	if r.ETA != nil {
		eta = shortTime(*r.ETA)
	}
	done := fmt.Sprintf("%3.0f%%  %.0f events/s  ETA %s", 100*share(r), r.Rate, eta)
	if r.Parked > 0 {
		done += fmt.Sprintf("  %d parked", r.Parked)
	}
	if r.Error != "" {
		done += "  " + r.Error
	}
	if !l.terminal {
		if now := l.now(); now.Sub(l.told[name]) >= plainEvery {
			l.told[name] = now
			fmt.Fprintf(l.out, "%s: %s\n", name, strings.TrimSpace(done))
		}
		return
	}
	l.over(fmt.Sprintf("%-14s %s %s", name, bar(share(r)), done))
}

// over writes over the line on the terminal.
func (l *rebuildLines) over(line string) {
	line = strings.ReplaceAll(line, "\n", " ")
	if runes := []rune(line); len(runes) > 110 { // a longer one would wrap and stay
		line = string(runes[:110])
	}
	width := len([]rune(line))
	fmt.Fprintf(l.out, "\r%s%s", line, strings.Repeat(" ", max(l.width-width, 0)))
	l.width = width
}

// end makes place for what is written by others.
func (l *rebuildLines) end() {
	if l.width > 0 {
		fmt.Fprintln(l.out)
		l.width = 0
	}
}

func (l *rebuildLines) ended(name string, r *projections.Rebuild) {
	what := "rebuilt"
	if r.Verify {
		what = "verified"
	}
	if r.State != projections.RebuildDone {
		what = r.State
	}
	line := fmt.Sprintf("%s: %s, %d events in %s", name, what, r.Events, shortTime(r.Seconds))
	if r.Seconds > 0 {
		line += fmt.Sprintf(" (%.0f events/s)", float64(r.Events)/r.Seconds)
	}
	if v := r.Verification; v != nil {
		line += fmt.Sprintf(", at %s live %s, first fold %s, second %s", v.Position, v.Live, v.First, v.Second)
	}
	l.line(line)
}

func (l *rebuildLines) lost(name string) { l.line(name + ": lost sight of") }

// line writes a line that stays.
func (l *rebuildLines) line(line string) {
	if l.terminal && l.width > 0 {
		fmt.Fprintf(l.out, "\r%s\r", strings.Repeat(" ", l.width))
		l.width = 0
	}
	fmt.Fprintln(l.out, line)
}

// shortTime is a time in seconds for people.
func shortTime(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}
