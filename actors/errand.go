package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"bms/domain"
)

const (
	// readBatch is how many commits a load reads in one go.
	readBatch = 512
	// lookUpBatch is how many command ids are looked up in one go: a part
	// of a group, so that the first of many can be on their way to the disk
	// while the rest are looked up.
	lookUpBatch = 32
)

// What an errand of a stream comes back with.
type (
	looked struct {
		commands []*pending
		unknown  []*pending       // those of them whose id was looked up
		commits  []*domain.Commit // of unknown, nil: not in the log
		err      error            // about all commands
		loads    uint64           // stream.loads when the errand began
		rows     keptRows
	}
	// keptRows is what is kept beside the log of rows that commands need.
	keptRows struct {
		asked   bool
		crowded bool // what can be let go of is to be let go of
		rows    []domain.Row
		states  [][]byte
		version uint64
		err     error
	}
	loaded struct {
		held
		err error
		// doubt holds commands whose append ended with cause, and found
		// their commits as far as they are in the log.
		doubt []*pending
		found []*domain.Commit
		cause error
	}
	appended struct{ err error }
)

// errand runs f on a goroutine of its own and sends what it returns to the
// actor, which is not stopped meanwhile if a command waits for it. A panic in f
// becomes an error in a call of failed.
func (s *stream) errand(f func(ctx context.Context) any, failed func(error) any) {
	s.deciders.errands.Go(func() { s.self.Send(s.fenced(f, failed)) })
}

func (s *stream) fenced(f func(ctx context.Context) any, failed func(error) any) (outcome any) {
	defer func() {
		if reason := recover(); reason != nil {
			s.deciders.cfg.Logger.Error("errand of a stream panicked", "stream", s.name, "reason", reason, "stack", string(debug.Stack()))
			outcome = failed(fmt.Errorf("panic: %v", reason))
		}
	}()
	return f(s.deciders.ctx)
}

// lookUp asks the log for the ids that clients may have sent before, and what is
// kept beside it for rows that the commands need.
func (s *stream) lookUp() {
	if s.looking {
		return
	}
	crowded := s.part != nil && s.part.crowded()
	if len(s.unlooked) == 0 && !crowded {
		return
	}
	s.looking = true
	l := looked{loads: s.loads}
	var needed []domain.Row
	for _, p := range s.unlooked[:min(len(s.unlooked), lookUpBatch)] {
		if len(l.commands) > 0 && len(needed)+len(p.needs) > s.deciders.maxRows {
			break
		}
		l.commands, needed = append(l.commands, p), append(needed, p.needs...)
		if !p.looked {
			l.unknown = append(l.unknown, p)
		}
	}
	commands := l.commands
	s.unlooked = s.unlooked[len(commands):]
	if s.part != nil {
		missing := s.part.missing(needed)
		l.rows = keptRows{asked: crowded || len(missing) > 0, crowded: crowded, rows: missing}
	}
	s.errand(func(ctx context.Context) any {
		l.commits, l.err = s.find(ctx, l.unknown)
		if r := &l.rows; r.asked { // after the ids: see reject
			r.states, r.version, r.err = s.loadRows(ctx, r.rows)
		}
		return l
	}, func(err error) any { return looked{commands: commands, err: err} })
}

// find looks commands up by id; an entry is nil for one that isn't there.
func (s *stream) find(ctx context.Context, commands []*pending) ([]*domain.Commit, error) {
	commits := make([]*domain.Commit, len(commands))
	ctx, cancel := context.WithTimeout(ctx, s.deciders.cfg.AppendTimeout)
	defer cancel()
	for i, p := range commands {
		commit, err := s.deciders.cfg.Log.FindCommand(ctx, p.cmd.Identity.UserID, p.cmd.ID)
		switch {
		case errors.Is(err, domain.ErrNotFound):
		case err != nil:
			return nil, fmt.Errorf("look up a command for %q: %w", s.name, err)
		default:
			commits[i] = commit
		}
	}
	return commits, nil
}

func (s *stream) looked(l looked) {
	s.looking = false
	for _, p := range l.commands {
		p.queued = false
		if l.err != nil {
			s.answer(p, nil, s.refusal(l.err))
		}
	}
	if l.err != nil {
		return
	}
	for i, p := range l.unknown {
		if l.commits[i] != nil {
			s.settle(p, l.commits[i])
		} else {
			p.looked, p.lookedAt = true, l.loads
		}
	}
	if l.rows.asked && s.part != nil {
		s.take(l.rows, l.commands)
	}
}

// take has rows in memory that commands need. Where they can't be had now, who
// needs them is told so; where they are useless, the state is made anew: of what
// is kept, if that has gone back or another owner has written, else of the log
// alone.
func (s *stream) take(r keptRows, commands []*pending) {
	if r.err != nil {
		s.deciders.cfg.Logger.Warn("rows of a stream can't be loaded", "stream", s.name, "error", r.err)
		for _, p := range commands {
			if !s.part.has(p.needs) {
				s.answer(p, nil, logUnavailable("what is kept of the branch cannot be read now; nothing was done, ask again"))
			}
		}
		return
	}
	var err error
	if r.version > s.version {
		err = fmt.Errorf("%w: version %d is kept beside the log, %d was the last", domain.ErrVersionConflict, r.version, s.version)
	} else {
		if r.crowded {
			s.part.shrink(r.version, s.needed())
		}
		err = s.part.put(r.rows, r.states, r.version)
	}
	if err == nil {
		return
	}
	s.deciders.cfg.Logger.Warn("the state of a stream is made anew", "stream", s.name, "error", err)
	s.forget()
	s.distrust = s.distrust || !errors.Is(err, errKeptBack) && !errors.Is(err, domain.ErrVersionConflict)
}

// needed are the rows that those who wait need.
func (s *stream) needed() map[domain.Row]bool {
	rows := map[domain.Row]bool{}
	for _, p := range s.waiting {
		for _, r := range p.needs {
			rows[r] = true
		}
	}
	return rows
}

// load reads the state. doubt holds commands whose append ended with cause;
// they are looked up too.
func (s *stream) load(doubt []*pending, cause error) {
	if s.loading {
		return
	}
	s.loading = true
	distrust := s.distrust
	s.errand(func(ctx context.Context) any {
		start := s.deciders.cfg.Now()
		l := loaded{doubt: doubt, cause: cause}
		l.held, l.err = s.restore(ctx, distrust)
		if l.err == nil && len(doubt) > 0 {
			l.found, l.err = s.find(ctx, doubt)
		}
		if s.deciders.cfg.Observe.Loaded != nil {
			s.deciders.cfg.Observe.Loaded(s.deciders.cfg.Now().Sub(start), l.err)
		}
		return l
	}, func(err error) any {
		return loaded{doubt: doubt, cause: cause, err: fmt.Errorf("load %q: %w", s.name, err)}
	})
}

// restore makes the state out of what is kept beside the log, unless that is
// distrusted, and the log.
func (s *stream) restore(ctx context.Context, distrust bool) (h held, err error) {
	if !distrust && s.deciders.cfg.Load != nil {
		if h, err = s.kept(ctx); err == nil && h.state != nil {
			err = s.readOn(ctx, &h)
		}
		if unavailable(err) {
			return held{}, fmt.Errorf("load %q: %w", s.name, err)
		}
		if err != nil {
			s.deciders.cfg.Logger.Warn("stream is read from its beginning, for want of its kept state", "stream", s.name, "error", err)
		} else if h.state != nil {
			return h, nil
		}
	}
	state, err := s.deciders.newState(s.name)
	if err != nil {
		return held{}, fmt.Errorf("make a state for %q: %w", s.name, err)
	}
	h = s.hold(state, 0)
	if err := s.readOn(ctx, &h); err != nil {
		return held{}, fmt.Errorf("load %q: %w", s.name, err)
	}
	return h, nil
}

// readOn brings what is held up to the end of the stream.
func (s *stream) readOn(ctx context.Context, h *held) error {
	for {
		commits, err := s.read(ctx, h.version)
		if err != nil || len(commits) == 0 {
			return err
		}
		if err := s.fold(ctx, h, commits); err != nil {
			return err
		}
	}
}

// kept is what is kept beside the log of the state, nothing if nothing is, and
// what came after it, as far as one read gives it. It is an error if the log has
// no commit of that version: then the state is not of this log.
func (s *stream) kept(ctx context.Context) (held, error) {
	state, version, err := s.deciders.cfg.Load(ctx, s.name)
	if err != nil || state == nil || version == 0 {
		return held{}, err
	}
	commits, err := s.read(ctx, version-1)
	if err != nil {
		return held{}, err
	}
	if len(commits) == 0 {
		return held{}, fmt.Errorf("it is of version %d, which the log has not", version)
	}
	h := s.hold(state, version)
	return h, s.fold(ctx, &h, commits[1:])
}

func (s *stream) read(ctx context.Context, after uint64) ([]*domain.Commit, error) {
	ctx, cancel := context.WithTimeout(ctx, s.deciders.cfg.AppendTimeout)
	defer cancel()
	return s.deciders.cfg.Log.ReadStream(ctx, s.name, after, readBatch)
}

func (s *stream) loaded(l loaded) {
	s.loading = false
	if l.err != nil {
		// Nothing can be said about a command: neither about one in doubt
		// nor about one that waits for the state.
		refusal := s.refusal(l.err)
		for _, p := range l.doubt {
			s.answer(p, nil, s.unknown(p))
		}
		waiting := s.waiting
		s.waiting = nil
		for _, p := range waiting {
			s.answer(p, nil, refusal)
		}
		return
	}
	s.held, s.distrust = l.held, false
	s.loads++
	var again []*pending
	for i, p := range l.doubt {
		p.lookedAt = s.loads // they were looked up after the state was read
		p.tries++
		switch {
		case l.found[i] != nil:
			s.settle(p, l.found[i])
		case unavailable(l.cause):
			s.answer(p, nil, s.unknown(p))
		case settled(l.cause):
			switch {
			case p.tries < maxTries:
				again = append(again, p)
			case p.handed:
				s.answer(p, nil, s.unknown(p))
			default:
				s.answer(p, nil, busy("others are changing %s; ask again", s.name))
			}
		case p.commit == nil && p.tries < maxTries:
			again = append(again, p)
		case p.commit == nil || p.alone || len(l.doubt) == 1:
			s.answer(p, nil, fmt.Errorf("append to %q: %w", s.name, l.cause))
		default:
			// One commit that the log doesn't like must not take the
			// others with it.
			p.alone = true
			again = append(again, p)
		}
	}
	s.again(again)
}

// append puts the group into the log, in one go.
func (s *stream) append() {
	s.appending = true
	commits := s.commits
	s.errand(func(ctx context.Context) any {
		ctx, cancel := context.WithTimeout(ctx, s.deciders.cfg.AppendTimeout)
		defer cancel()
		start := s.deciders.cfg.Now()
		err := s.deciders.cfg.Log.Append(ctx, commits...)
		if s.deciders.cfg.Observe.Appended != nil {
			s.deciders.cfg.Observe.Appended(len(commits), s.deciders.cfg.Now().Sub(start), err)
		}
		return appended{err}
	}, func(err error) any { return appended{err} })
}

func (s *stream) appended(a appended) {
	group := s.disband()
	s.appending = false
	if a.err != nil {
		s.deciders.cfg.Logger.Warn("append failed, its outcome is read from the log", "stream", s.name, "commands", len(group), "error", a.err)
		if !settled(a.err) {
			s.doubts(group)
		}
		// What is kept beside the log holds durable commits only, so it and
		// what came after are enough. On a full disk every append ends here.
		s.forget()
		s.load(group, a.err)
		return
	}
	s.believes()
	durable := s.deciders.cfg.Observe.Durable
	var now time.Time
	if durable != nil {
		now = s.deciders.cfg.Now()
	}
	for _, p := range group {
		if p.commit != nil {
			if durable != nil {
				durable(p.commit, now.Sub(p.since))
			}
			s.answer(p, p.commit, nil)
		} else {
			s.answer(p, nil, p.rejection)
		}
	}
}

// unavailable reports whether an error of the log says nothing about the
// commands.
func unavailable(err error) bool {
	return errors.Is(err, domain.ErrLogUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// refusal is the answer to a command that was not decided because of an error
// of the log.
func (s *stream) refusal(err error) error {
	if !unavailable(err) {
		return err
	}
	s.deciders.cfg.Logger.Warn("log unavailable", "stream", s.name, "error", err)
	return logUnavailable("the log cannot be read now; nothing was done, ask again")
}

// unknown is the answer to a command of which, when an append has failed, the
// log can't say whether it is in it now or later: this one or, under a client's
// id, an equal one before it.
func (s *stream) unknown(p *pending) error {
	if !p.handed && !p.cmd.Keyed {
		return logUnavailable("the log is not available now; nothing was done, ask again")
	}
	return logUnavailable("the log is not available now; the command may yet take effect, ask again with the same id")
}
