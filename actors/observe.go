package actors

import (
	"log/slog"
	"runtime/debug"
	"time"

	"bms/domain"
)

// Observe holds hooks for metrics. They are called on the goroutines of the
// actors, must not block, and may be nil. A panic in one is logged and changes
// nothing else.
type Observe struct {
	// Appended is called once per append with the number of commits in it.
	Appended func(commits int, took time.Duration, err error)
	// Durable is called once per commit that has become durable; took counts
	// from Submit.
	Durable func(commit *domain.Commit, took time.Duration)
	// Decided is called once per decision on a command that has metadata, as
	// those of a trace have; a command may be decided anew.
	Decided func(Decided)
	// Answered is called once per answer. The outcome is "accepted", a
	// rejection's code, or "fault"; took counts from Submit.
	Answered func(cmd *domain.Command, outcome string, took time.Duration)
	// Loaded is called once per load of a stream's state.
	Loaded func(took time.Duration, err error)
}

// Decided is a decision on a command.
type Decided struct {
	Command *domain.Command
	Stream  string
	// Submitted is when it was submitted; From and To are when deciding began
	// and ended.
	Submitted, From, To time.Time
	// Commit is what was decided, yet to be appended. It is nil for a
	// rejection, or a fault.
	Commit    *domain.Commit
	Rejection *domain.Rejection
}

// fenced returns the hooks with a fence around each.
func (o Observe) fenced(logger *slog.Logger) Observe {
	fence := func(hook string) {
		if reason := recover(); reason != nil {
			logger.Error("hook of the deciders panicked", "hook", hook, "reason", reason, "stack", string(debug.Stack()))
		}
	}
	fenced := o
	if o.Appended != nil {
		fenced.Appended = func(commits int, took time.Duration, err error) {
			defer fence("appended")
			o.Appended(commits, took, err)
		}
	}
	if o.Durable != nil {
		fenced.Durable = func(commit *domain.Commit, took time.Duration) {
			defer fence("durable")
			o.Durable(commit, took)
		}
	}
	if o.Decided != nil {
		fenced.Decided = func(d Decided) {
			defer fence("decided")
			o.Decided(d)
		}
	}
	if o.Answered != nil {
		fenced.Answered = func(cmd *domain.Command, outcome string, took time.Duration) {
			defer fence("answered")
			o.Answered(cmd, outcome, took)
		}
	}
	if o.Loaded != nil {
		fenced.Loaded = func(took time.Duration, err error) {
			defer fence("loaded")
			o.Loaded(took, err)
		}
	}
	return fenced
}
