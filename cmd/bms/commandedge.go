package main

import (
	"context"
	"errors"
	"log/slog"

	"bms/domain"
	"bms/projections"
	"bms/transport/commandbus"
	"bms/transport/eventlog"
)

// commandEdge is what HTTP and sockets do with a command before it goes over
// the bus and after it came back, so that both answer alike.
//
// # Concurrency properties
//
// All methods are safe for concurrent use.
type commandEdge struct {
	bus         *commandbus.Bus
	log         *eventlog.Log
	projections *projections.Set
	followUps   *followUps
	waits       waits
	logger      *slog.Logger
}

// do has a command decided, and what it entails.
func (e *commandEdge) do(ctx context.Context, cmd domain.Command) (*domain.Commit, error) {
	if err := e.before(ctx, cmd); err != nil {
		return nil, err
	}
	commit, err := e.bus.Do(ctx, cmd)
	if err == nil {
		e.after(ctx, commit)
	}
	return commit, err
}

// before refuses a transfer to a branch that is unknown or closed as far as the
// read model knows. It is a courtesy: the sending branch, which decides, knows
// nothing of others, and units sent to a branch that is closed meanwhile come
// back. What the domain will reject anyway is left to it, and so is a repeat,
// whose answer stands.
func (e *commandEdge) before(ctx context.Context, cmd domain.Command) error {
	body, ok := cmd.Body.(domain.DispatchTransfer)
	if !ok || domain.Validate(cmd) != nil || domain.MayCommand(cmd.Identity, cmd.Type, cmd.BranchID) != nil {
		return nil
	}
	to, err := e.destination(ctx, body.ToBranchID)
	var no *domain.Rejection
	switch {
	case errors.Is(err, projections.ErrNotFound):
		no = domain.Reject(domain.CodeUnknownBranch, "there is no branch %s", body.ToBranchID)
	case err == nil && to.Status == domain.BranchClosed:
		no = domain.Reject(domain.CodeBranchClosed, "branch %s is closed; reopen it first", body.ToBranchID)
	default: // it is open, or nobody knows
		return nil
	}
	if cmd.Keyed {
		if _, err := e.log.FindCommand(ctx, cmd.Identity.UserID, cmd.ID); !errors.Is(err, domain.ErrNotFound) {
			return nil
		}
	}
	return no
}

// destination is a branch as of now, or projections.ErrNotFound. Another error
// says that the read model can't tell in time.
func (e *commandEdge) destination(ctx context.Context, branchID string) (projections.Branch, error) {
	ctx, cancel := context.WithTimeout(ctx, e.waits.fresh)
	defer cancel()
	if err := e.projections.WaitFor(ctx, projections.Branches, e.log.Head()); err != nil {
		return projections.Branch{}, err
	}
	to, _, err := e.projections.Branch(ctx, branchID)
	return to, err
}

// after does what an answer waits for: the commit's follow-ups, and the users'
// directory, so that whatever comes next is judged by a change of a user. The
// commit is durable whatever comes of it.
func (e *commandEdge) after(ctx context.Context, commit *domain.Commit) {
	e.followUps.of(ctx, commit)
	if commit.CommandType != domain.CommandSetUser && commit.CommandType != domain.CommandChangeUser {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, e.waits.users)
	defer cancel()
	if err := e.projections.WaitFor(ctx, projections.Users, commit.Position); err != nil {
		e.logger.WarnContext(ctx, "the users' directory is behind a change of a user", "pos", commit.Position, "error", err)
	}
}
