// Package audit checks a log against the rules by which it is written: what
// must hold of any log, whoever wrote it and whatever broke down meanwhile. It
// is a pure fold, commit by commit, like everything in domain; reading the log
// is the caller's.
//
// A stream is followed up to its first breach, but for what lies between streams:
// transfers, follow-ups and alerts, which after that are not judged at all.
//
// What it checks, a [Breach] names by its Rule:
//
//	sequence       commits follow each other without a gap, epochs rise
//	version        so do the versions of each stream
//	command        a user's command id is there once
//	event id       event ids, times and users are those of their commit
//	decode         every event is of a type and version this program knows
//	evolve         every event fits the state of its stream
//	stock          stock is the sum of the deltas, and not below zero unless
//	               the product's policy allows or the sale was made offline
//	movement       the stock that a transaction or transfer moves is what its
//	               lines say, no more has come back than went
//	transfer       units that left a branch are received, damaged, back, or in
//	               transit; and the two branches say the same of them
//	follow-up      what a transfer entails was done
//	alert          each low-stock alert has a cause, and each cause its alert,
//	               once
//	acknowledged   nobody has acknowledged what was not there
package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"bms/domain"
)

// Config is what an audit needs. The zero value is usable.
type Config struct {
	// Alerts says which causes must have an alert: domain.AlertEvery, or
	// domain.AlertEscalation. Empty is for a log whose mode is not known: those
	// that have one in either mode.
	Alerts domain.AlertMode
	// Grace is how much older than the last commit, by the commits' times, an
	// event must be for what follows from it to be missing. Zero is a minute.
	Grace time.Duration
	// Breaches is the number of breaches that are kept; all are counted. Zero
	// is 20.
	Breaches int
}

// Breach is a rule that a log does not keep to, and where.
type Breach struct {
	Position domain.Position
	Rule     string
	// Err says what is wrong. It wraps domain.ErrUnknownEvent for an event that
	// is newer than the program.
	Err error
}

func (b Breach) String() string { return fmt.Sprintf("%s %s: %v", b.Position, b.Rule, b.Err) }

// Report is what an audit came to.
type Report struct {
	Head                                      domain.Position
	Commits, Events, Messages                 int64
	Streams, Branches, Products, Transactions int64
	Transfers, InTransit, Users, Alerts       int64
	// Pending is the number of follow-ups and alerts that are not there and
	// need not be yet; Unalerted that of causes which only one of the two
	// modes alerts.
	Pending, Unalerted int64
	// Broken is the number of all breaches; Breaches are the first of them, in
	// the order in which they were found.
	Broken   int64
	Breaches []Breach
}

// Audit is an audit under way. It belongs to one goroutine.
type Audit struct {
	config    Config
	report    Report
	newest    time.Time
	streams   map[string]*stream
	commands  map[[16]byte]struct{}
	transfers map[string]*transfer
	follow    map[string]due
	causes    map[domain.Position]cause

	commit *domain.Commit // being looked at
	// lost is set once a stream was given up: what lies between streams can't
	// be judged any more then.
	lost bool
}

// stream is what is known of a stream.
type stream struct {
	version uint64
	state   domain.State // nil for alerts, and for one that can't be followed any more
	alerts  string       // the branch, in a stream of alerts
	branch  *branch      // beside the state of a branch
}

// due is what has to follow from an event.
type due struct {
	pos domain.Position
	at  time.Time
}

// New begins an audit of a log from its first commit on.
func New(c Config) *Audit {
	if c.Grace == 0 {
		c.Grace = time.Minute
	}
	if c.Breaches == 0 {
		c.Breaches = 20
	}
	return &Audit{
		config: c, streams: map[string]*stream{}, commands: map[[16]byte]struct{}{},
		transfers: map[string]*transfer{}, follow: map[string]due{}, causes: map[domain.Position]cause{},
	}
}

// breach notes a breach at the commit being looked at.
func (a *Audit) breach(rule, format string, args ...any) {
	a.breachAt(a.commit.Position, rule, format, args...)
}

func (a *Audit) breachAt(pos domain.Position, rule, format string, args ...any) {
	a.report.Broken++
	if len(a.report.Breaches) < a.config.Breaches {
		a.report.Breaches = append(a.report.Breaches, Breach{Position: pos, Rule: rule, Err: fmt.Errorf(format, args...)})
	}
}

// Commit looks at the next commit. It is quicker if the payloads are decoded
// (domain.Commit.DecodePayloads).
func (a *Audit) Commit(c *domain.Commit) {
	a.commit = c
	before := a.report.Head
	if c.Position.Seq != before.Seq+1 {
		a.breach("sequence", "commit %d follows commit %d", c.Position.Seq, before.Seq)
	}
	if c.Position.Epoch < before.Epoch {
		a.breach("sequence", "epoch %d follows epoch %d", c.Position.Epoch, before.Epoch)
	}
	a.report.Head = c.Position
	a.report.Commits++
	if c.At.After(a.newest) {
		a.newest = c.At
	}
	s := a.stream(c.Stream)
	if c.Version != s.version+1 {
		a.breach("version", "version %d of %q follows version %d", c.Version, c.Stream, s.version)
		a.giveUp(s) // what it lacks, every later event would complain of
	}
	s.version = c.Version
	a.command(c)
	if c.Message != nil {
		a.report.Messages++
		return
	}
	a.report.Events += int64(len(c.Events))
	a.ids(c)
	switch {
	case s.alerts != "":
		a.alert(s, c)
	case s.branch != nil:
		a.branch(s, c)
	case s.state != nil:
		a.other(s, c)
	}
}

func (a *Audit) stream(name string) *stream {
	if s, known := a.streams[name]; known {
		return s
	}
	s := &stream{}
	a.streams[name] = s
	a.report.Streams++
	if branch, ok := strings.CutPrefix(name, domain.StreamOfAlerts("")); ok {
		s.alerts = branch
		return s
	}
	state, err := domain.NewState(name)
	if err != nil {
		if a.commit.Message == nil && len(a.commit.Events) > 0 {
			a.breach("evolve", "%w", err)
		}
		return s
	}
	s.state = state
	switch state := state.(type) {
	case *domain.Branch:
		a.report.Branches++
		s.branch = newBranch(state)
	case *domain.User:
		a.report.Users++
	}
	return s
}

// command notes a command's id, which settles a follow-up.
func (a *Audit) command(c *domain.Commit) {
	if c.CommandID == "" {
		return
	}
	seed := binary.AppendUvarint(make([]byte, 0, 128), uint64(len(c.UserID)))
	sum := sha256.Sum256(append(append(seed, c.UserID...), c.CommandID...))
	key := [16]byte(sum[:16])
	if _, twice := a.commands[key]; twice {
		a.breach("command", "command %q of user %q was in the log before", c.CommandID, c.UserID)
	}
	a.commands[key] = struct{}{}
	if c.UserID == "" {
		delete(a.follow, c.CommandID)
	}
}

// ids checks what NewCommit makes of a decision.
func (a *Audit) ids(c *domain.Commit) {
	for i := range c.Events {
		e := &c.Events[i]
		if want := domain.EventID(c.At, c.UserID, c.CommandID, i); e.ID != want {
			a.breach("event id", "event %d has id %q, want %q", i, e.ID, want)
		}
		if e.UserID != c.UserID || !e.At.Equal(c.At) {
			a.breach("event id", "event %d is of user %q at %v, its commit of user %q at %v", i, e.UserID, e.At, c.UserID, c.At)
		}
	}
}

// evolve folds an event into its stream's state and returns its payload, or
// gives the stream up.
func (a *Audit) evolve(s *stream, i int) (domain.Payload, bool) {
	e := &a.commit.Events[i]
	p, err := a.payload(i)
	if err == nil {
		if err = s.state.Evolve(e); err == nil {
			return p, true
		}
		a.breach("evolve", "event %d: %w", i, err)
	}
	a.giveUp(s)
	return nil, false
}

// giveUp stops to follow a stream.
func (a *Audit) giveUp(s *stream) {
	s.state, s.branch = nil, nil
	a.lost = true
}

func (a *Audit) payload(i int) (domain.Payload, error) {
	p, err := a.commit.Events[i].Payload()
	switch {
	case errors.Is(err, domain.ErrUnknownEvent):
		a.breach("decode", "event %d: %w: a newer program wrote it", i, err)
	case err != nil:
		a.breach("decode", "event %d: %w", i, err)
	}
	return p, err
}

// other looks at a commit of a user, an inbox or the notifications.
func (a *Audit) other(s *stream, c *domain.Commit) {
	for i := range c.Events {
		p, ok := a.evolve(s, i)
		if !ok {
			return
		}
		if acked, ok := p.(domain.NotificationsAcked); ok && acked.Pos.After(c.Position) {
			a.breach("acknowledged", "user %q acknowledges %s, which was not there yet", acked.UserID, acked.Pos)
		}
	}
}

// Finish ends the audit: it checks what had to follow from events long since
// past, and returns the report.
func (a *Audit) Finish() Report {
	late := a.newest.Add(-a.config.Grace)
	if !a.lost {
		a.finishFollowUps(late)
		a.finishAlerts(late)
	}
	for _, s := range a.streams {
		if s.branch != nil {
			a.report.Products += int64(len(s.branch.state.Products))
			a.report.Transactions += int64(len(s.branch.state.Transactions))
		}
	}
	a.finishTransfers()
	return a.report
}
