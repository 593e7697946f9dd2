package actors

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"bms/domain"
)

const (
	// maxGroup is how many commands are decided and appended together. A
	// group also ends with the commit that reaches maxGroupEvents or
	// maxGroupBytes: a batch of sales can have thousands of events.
	maxGroup       = 256
	maxGroupEvents = 8192
	maxGroupBytes  = 4 << 20
	// maxTries is how often a command is decided anew because someone else
	// has written to its stream, before it is answered "busy".
	maxTries = 5
)

// stream is the actor that decides on one stream. It is the only one in this
// process that adds to it; the versions in the log are the fence against
// others.
//
// Three errands to the log run on goroutines of their own, each at most one at
// a time, and come back as messages: looking up command ids, loading the
// state, appending a group. Commands that come meanwhile wait, are then decided
// together, each on the state after the accepted ones before it, and appended
// together. Nothing that rests on an event is answered before that event is
// durable (invariant 1).
//
// Whatever leaves the state in doubt (an append that did not clearly succeed, a
// panic) has the same cure: forget the state, read it from the log again, and
// ask the log for the commands in question. What may be answered while the
// append itself is in doubt is said in barrier.go.
type stream struct {
	deciders *Deciders
	self     *Ref
	name     string

	held         // with the group's commits; nothing: not loaded
	loads uint64 // number of loads so far

	waiting   []*pending // in order of arrival; some may have been answered
	unlooked  []*pending // those of waiting whose id or rows are still to be looked up
	keys      map[commandKey]*pending
	looking   bool
	loading   bool
	appending bool
	distrust  bool // load from the log alone, not from what is kept beside it
	doubt     bool // an append may still be under way; see barrier.go

	deciding *pending         // being decided right now, so that a panic has a name
	group    []*pending       // decided and not answered
	commits  []*domain.Commit // of the group
	events   int              // of the commits
	bytes    int              // of the commits, about
}

type commandKey struct{ user, id string }

// pending is a command on its way through a stream.
type pending struct {
	cmd   domain.Command
	reply func(*domain.Commit, error)
	entry *entry // of its actor; nil for one that goes to none
	since time.Time

	admitted bool         // counted in
	needs    []domain.Row // of the state, if it is in part
	queued   bool         // to be looked up, or being so
	looked   bool         // its id is not in the log, or need not be looked up
	lookedAt uint64       // stream.loads when it was looked up
	answered bool
	alone    bool // to be in a group of its own
	handed   bool // to the log, in an append that may still be under way
	tries    int
	// followers have the same user and command id and came while this one
	// was on its way.
	followers []*pending

	// The decision, once it is in a group: one of the two.
	commit    *domain.Commit
	rejection *domain.Rejection
}

func (p *pending) key() commandKey { return commandKey{p.cmd.Identity.UserID, p.cmd.ID} }

// answer calls reply, for the first time only.
func (p *pending) answer(d *Deciders, commit *domain.Commit, err error) {
	if p.answered {
		return
	}
	p.answered = true
	if d.cfg.Observe.Answered != nil {
		d.cfg.Observe.Answered(&p.cmd, outcome(err), d.cfg.Now().Sub(p.since))
	}
	if p.admitted {
		d.discharge(p.entry, p.cmd.Size) // first, so that who has the answer has the room
	}
	defer func() {
		if reason := recover(); reason != nil {
			d.cfg.Logger.Error("reply to a command panicked", "command", p.cmd.Type, "reason", reason, "stack", string(debug.Stack()))
		}
	}()
	p.reply(commit, err)
}

func outcome(err error) string {
	var no *domain.Rejection
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &no):
		return no.Code
	default:
		return "fault"
	}
}

// Receive implements Behavior.
func (s *stream) Receive(msg any) {
	switch msg := msg.(type) {
	case *pending:
		s.enqueue(msg)
	case looked:
		s.looked(msg)
	case loaded:
		s.loaded(msg)
	case appended:
		s.appended(msg)
	}
	s.proceed()
}

// Panicked implements Behavior. The command that was being decided is to blame:
// it is answered with a fault, the others of its group are decided again on the
// state as the log has it (invariant 7).
func (s *stream) Panicked(reason any) {
	if p := s.deciding; p != nil {
		s.spoiled(p, fmt.Errorf("decide %s on %q: panic: %v", p.cmd.Type, s.name, reason))
	}
	s.proceed()
}

func (s *stream) spoiled(p *pending, err error) {
	s.deciding = nil
	s.again(s.disband())
	s.forget()
	s.distrust = true
	s.answer(p, nil, err) // and work drops it from those that wait
}

func (s *stream) forget() { s.held = held{} }

// disband ends the group and returns it.
func (s *stream) disband() []*pending {
	group := s.group
	s.group, s.commits, s.events, s.bytes = nil, nil, 0, 0
	return group
}

// full reports whether nothing more goes into the group.
func (s *stream) full() bool {
	return len(s.group) >= maxGroup || s.events >= maxGroupEvents || s.bytes >= maxGroupBytes
}

func (s *stream) enqueue(p *pending) {
	if s.deciders.cfg.LoadRows != nil && p.needs == nil {
		p.needs = domain.Needed(p.cmd)
	}
	if !p.cmd.Keyed {
		p.looked = true
		s.waiting = append(s.waiting, p)
		if s.part != nil && len(p.needs) > 0 {
			s.toLookUp(p)
		}
		return
	}
	if first, ok := s.keys[p.key()]; ok {
		first.followers = append(first.followers, p)
		return
	}
	if s.keys == nil {
		s.keys = make(map[commandKey]*pending)
	}
	s.keys[p.key()] = p
	s.waiting = append(s.waiting, p)
	s.toLookUp(p)
}

func (s *stream) toLookUp(p *pending) {
	if !p.queued {
		p.queued = true
		s.unlooked = append(s.unlooked, p)
	}
}

// ready reports whether a command can be decided: its id has been looked up, and
// all rows that it needs are in memory.
func (s *stream) ready(p *pending) bool {
	return p.looked && !p.queued && (s.part == nil || s.part.has(p.needs))
}

// again puts commands of a group back in front of those that wait.
func (s *stream) again(group []*pending) {
	if len(group) == 0 {
		return
	}
	for _, p := range group {
		p.commit, p.rejection = nil, nil
	}
	s.waiting = append(group[:len(group):len(group)], s.waiting...)
}

// answer answers a command and those with the same id. One that has the id but
// another body is answered "idempotency_mismatch" if the id has taken effect,
// and is on its own otherwise.
func (s *stream) answer(p *pending, commit *domain.Commit, err error) {
	if p.cmd.Keyed && s.keys[p.key()] == p {
		delete(s.keys, p.key())
	}
	followers := p.followers
	p.followers = nil
	p.answer(s.deciders, commit, err)
	for _, f := range followers {
		switch {
		case f.cmd.Fingerprint == p.cmd.Fingerprint:
			f.answer(s.deciders, commit, err)
		case commit != nil:
			f.answer(s.deciders, nil, mismatch(f.cmd))
		default:
			s.enqueue(f)
		}
	}
}

// settle answers a command with the commit that the log has under its id.
func (s *stream) settle(p *pending, commit *domain.Commit) {
	if commit.Fingerprint != p.cmd.Fingerprint {
		s.answer(p, nil, mismatch(p.cmd))
		return
	}
	s.answer(p, commit, nil)
}

func mismatch(cmd domain.Command) *domain.Rejection {
	return domain.Reject(domain.CodeIdempotencyMismatch, "the id %q was used for another command; take a new one", cmd.ID)
}

// proceed starts what can be started.
func (s *stream) proceed() {
	s.work()
	s.lookUp() // last, since an answer may put followers in the queue
}

// work decides what waits, or loads the state for it.
func (s *stream) work() {
	s.dropAnswered()
	if s.appending {
		return
	}
	if s.state == nil {
		if len(s.waiting) > 0 {
			s.load(nil, nil)
		}
		return
	}
	for len(s.waiting) > 0 && s.ready(s.waiting[0]) && !s.full() {
		p := s.waiting[0]
		if p.alone && len(s.group) > 0 {
			break
		}
		if !s.decide(p) {
			break
		}
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		s.dropAnswered()
		if p.alone && len(s.group) > 0 {
			break
		}
	}
	if s.state == nil { // spoiled
		s.load(nil, nil)
		return
	}
	for _, p := range s.waiting[:min(len(s.waiting), maxGroup)] {
		if p.looked && !s.ready(p) {
			s.toLookUp(p)
		}
	}
	if len(s.group) == 0 {
		return
	}
	if len(s.commits) == 0 {
		s.barrier()
	}
	s.append()
}

func (s *stream) dropAnswered() {
	for len(s.waiting) > 0 && s.waiting[0].answered {
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
	}
}

// decide judges the first command that waits. A rejection is answered at once
// if it rests on durable events only and no append is in doubt. It returns false
// if the command has to stay: to be looked up again, or because it has spoiled
// the state.
func (s *stream) decide(p *pending) bool {
	s.deciding = p // stays set by a panic: see Panicked
	var began time.Time
	traced := len(p.cmd.Metadata) > 0 && s.deciders.cfg.Observe.Decided != nil
	if traced {
		began = s.deciders.cfg.Now()
	}
	decision, no := s.state.Decide(p.cmd)
	if no != nil {
		if traced {
			s.decided(p, began, nil, no)
		}
		s.deciding = nil
		return s.reject(p, no)
	}
	commit, err := domain.NewCommit(s.name, s.version+1, p.cmd, decision)
	if err != nil {
		s.deciding = nil
		s.answer(p, nil, fmt.Errorf("decide %s on %q: %w", p.cmd.Type, s.name, err))
		return true
	}
	for i := range commit.Events {
		if err := s.evolve(&commit.Events[i]); err != nil {
			s.spoiled(p, fmt.Errorf("evolve %q by its own %s: %w", s.name, commit.Events[i].Type, err))
			return false
		}
	}
	if traced {
		s.decided(p, began, commit, nil)
	}
	// State and version are one: until both are of this commit, a panic
	// forgets them.
	s.version++
	p.commit = commit
	s.group = append(s.group, p)
	s.commits = append(s.commits, commit)
	s.events += len(commit.Events)
	s.bytes += commit.Size()
	s.deciding = nil
	return true
}

func (s *stream) decided(p *pending, began time.Time, commit *domain.Commit, no *domain.Rejection) {
	s.deciders.cfg.Observe.Decided(Decided{
		Command: &p.cmd, Stream: s.name, Submitted: p.since, From: began, To: s.deciders.cfg.Now(), Commit: commit, Rejection: no,
	})
}

func (s *stream) reject(p *pending, no *domain.Rejection) bool {
	if p.cmd.Keyed && p.lookedAt != s.loads {
		// The state has been loaded since the id was looked up, and may
		// hold what the id did meanwhile: through another owner, or an
		// append that was given up and came late. Its effect must not be
		// the reason to reject it.
		p.looked = false
		s.toLookUp(p)
		return false
	}
	if len(s.commits) == 0 && !s.doubt {
		s.answer(p, nil, no)
		return true
	}
	p.rejection = no
	s.group = append(s.group, p)
	return true
}
