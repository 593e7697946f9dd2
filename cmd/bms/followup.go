package main

import (
	"context"
	"log/slog"
	"time"

	"bms/domain"
)

// followUps gives at once what commits entail, before they are answered: who
// has dispatched a transfer finds it in transit at the other branch. It is a
// courtesy. The projections' courier gives the same commands, which take effect
// once, also when this process is killed right here.
type followUps struct {
	do     func(context.Context, domain.Command) (*domain.Commit, error)
	wait   time.Duration // an answer waits no longer
	now    func() time.Time
	logger *slog.Logger
}

// of gives what a commit entails, and what that entails.
func (f *followUps) of(ctx context.Context, commit *domain.Commit) {
	if !entails(commit) { // as nearly always
		return
	}
	ctx, cancel := context.WithTimeout(ctx, f.wait)
	defer cancel()
	f.chase(ctx, commit)
}

func entails(commit *domain.Commit) bool {
	for i := range commit.Events {
		if domain.Internal(commit.Events[i].Type) {
			return true
		}
	}
	return false
}

func (f *followUps) chase(ctx context.Context, commit *domain.Commit) {
	for i := range commit.Events {
		follow, err := domain.FollowUps(&commit.Events[i])
		if err != nil {
			f.logger.ErrorContext(ctx, "what follows from an event", "event", commit.Events[i].ID, "error", err)
			return
		}
		for _, cmd := range follow {
			cmd.At, cmd.Metadata = f.now(), commit.Metadata
			next, err := f.do(ctx, cmd)
			if err != nil {
				f.logger.WarnContext(ctx, "a transfer's next step is late", "command", cmd.ID, "error", err)
				continue
			}
			f.chase(ctx, next)
		}
	}
}
