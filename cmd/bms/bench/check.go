package bench

import (
	"fmt"
	"strings"

	"bms/domain"
)

// Kind says which promise is broken.
type Kind string

// Kinds of violations.
const (
	// Of a connection (invariants 1 and 4).
	Lost      Kind = "lost"      // never received
	Gap       Kind = "gap"       // lost by a resume that was said to have recovered
	Doubled   Kind = "doubled"   // received twice
	Reordered Kind = "reordered" // received after a later one
	Foreign   Kind = "foreign"   // received by someone who may not see it
	Phantom   Kind = "phantom"   // received, and not in the log
	Altered   Kind = "altered"   // received with another content than the log has
	Refused   Kind = "refused"   // a good cursor was not gone on from

	// Of a command (invariant 3).
	Forgotten Kind = "forgotten" // answered, and not in the log
	Repeated  Kind = "repeated"  // in the log twice
	Undenied  Kind = "undenied"  // rejected, and in the log
	Unasked   Kind = "unasked"   // in the log, and nobody gave the command
	Answers   Kind = "answers"   // one key, two answers; or an answer other than the log
	Overtaken Kind = "overtaken" // in the log before what was answered before it was sent

	// Of the log and the read models (invariant 8).
	Log   Kind = "log"   // not in order, or an id twice
	Stock Kind = "stock" // not the sum of deltas
	Alert Kind = "alert" // none, or more than one, for a cause
	// Transfer: units are not conserved between branches.
	Transfer Kind = "transfer"
)

// Violation is a broken promise.
type Violation struct {
	Kind Kind `json:"kind"`
	// Who is the connection, command or product.
	Who    string          `json:"who"`
	Pos    domain.Position `json:"pos,omitzero"`
	Detail string          `json:"detail"`
}

func (v Violation) String() string {
	s := fmt.Sprintf("%s: %s: %s", v.Kind, v.Who, v.Detail)
	if v.Pos.Seq > 0 {
		s += " at " + v.Pos.String()
	}
	return s
}

// Verdict is what Check found.
type Verdict struct {
	// Connections, Events and Commands count what was checked; Events are the
	// received ones, Answered the commands with an answer.
	Connections int `json:"connections"`
	Resumes     int `json:"resumes"`
	Events      int `json:"events"`
	Logged      int `json:"logged"`
	Commands    int `json:"commands"`
	Answered    int `json:"answered"`
	Unknown     int `json:"unknown"`
	Products    int `json:"products"`
	Alerts      int `json:"alerts"`
	// Counts has the number of violations of each kind, Violations the first
	// ones of each.
	Counts     map[Kind]int `json:"counts"`
	Violations []Violation  `json:"violations"`
}

// listed is how many violations of a kind are kept.
const listed = 10

// OK reports whether every promise was kept.
func (v *Verdict) OK() bool { return len(v.Counts) == 0 }

// String tells the verdict in a few lines.
func (v *Verdict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d events received by %d connections (%d resumes), %d in the log, %d commands (%d answered, %d of unknown outcome), %d products, %d alerts: ",
		v.Events, v.Connections, v.Resumes, v.Logged, v.Commands, v.Answered, v.Unknown, v.Products, v.Alerts)
	if v.OK() {
		b.WriteString("exact")
		return b.String()
	}
	b.WriteString("BROKEN")
	for _, violation := range v.Violations {
		b.WriteString("\n  " + violation.String())
	}
	for kind, n := range v.Counts {
		if n > listed {
			fmt.Fprintf(&b, "\n  %s: %d in all", kind, n)
		}
	}
	return b.String()
}

// Check finds every contradiction in a history. It is pure.
//
// Of each connection: it got exactly the events of its branches and role that
// lie after its session's position, each once, in log order, with the log's
// content, across all its reconnects. Of each command: if answered, its events
// are in the log once, as answered, behind those answered before it was sent; if
// rejected, nothing; if unknown, once or not at all. Of each product: stock is
// the sum of deltas at every event and in the read model, and not below zero
// where that is denied; of each transfer, units are conserved. Of each cause of a low-stock alert: exactly one alert.
func Check(h *History) *Verdict {
	c := &checker{h: h, verdict: &Verdict{Counts: map[Kind]int{}}, at: make(map[place]int, len(h.Log))}
	c.checkLog()
	c.checkCommands()
	c.checkStock()
	c.checkAlerts()
	c.checkTransfers()
	c.checkConnections()
	return c.verdict
}

// place is a position without its epoch, which follows from the sequence.
type place struct {
	seq   uint64
	index uint32
}

func placeOf(p domain.Position) place { return place{p.Seq, p.Index} }

type checker struct {
	h       *History
	verdict *Verdict
	at      map[place]int // index in h.Log
}

func (c *checker) found(kind Kind, who string, pos domain.Position, format string, args ...any) {
	c.verdict.Counts[kind]++
	if c.verdict.Counts[kind] <= listed {
		c.verdict.Violations = append(c.verdict.Violations, Violation{kind, who, pos, fmt.Sprintf(format, args...)})
	}
}

// checkLog makes the index and checks that the log is one.
func (c *checker) checkLog() {
	c.verdict.Logged = len(c.h.Log)
	ids := make(map[string]struct{}, len(c.h.Log))
	for i := range c.h.Log {
		e := &c.h.Log[i]
		if i > 0 && !e.Pos.After(c.h.Log[i-1].Pos) {
			c.found(Log, e.Type, e.Pos, "comes after %s", c.h.Log[i-1].Pos)
		}
		if _, twice := ids[e.ID]; twice {
			c.found(Log, e.Type, e.Pos, "has the id %s of an event before it", e.ID)
		}
		ids[e.ID] = struct{}{}
		c.at[placeOf(e.Pos)] = i
	}
}

// logged returns the index in the log of an event as it arrived somewhere, and
// whether it is there with that content.
func (c *checker) logged(r Received) (index int, there, same bool) {
	i, ok := c.at[place{r.Seq, r.Index}]
	return i, ok, ok && c.h.Log[i].Sum == r.Sum
}
