package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"bms/actors"
	"bms/domain"
	"bms/projections"
	"bms/transport/httpapi"
)

// unread gives the hub a user's unread notifications. The first page is of the
// log's present end, if that is not long in coming, so that what was
// acknowledged just now, on another device, is not among them. A read model
// that can't answer keeps nobody out: what is unread stays so.
func (s *sockets) unread(ctx context.Context, userID string, after domain.Position, limit int) ([]*domain.Event, error) {
	var behind error
	if after.Seq == 0 {
		wait, cancel := context.WithTimeout(ctx, s.waits.unread)
		defer cancel()
		behind = s.projections.WaitFor(wait, projections.Notifications, s.log.Head())
	}
	events, _, err := s.projections.Unread(ctx, userID, after, limit)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && after.Seq > 0:
		return nil, err
	case err != nil:
		s.logger.Warn("connecting without unread notifications", "user", userID, "error", err)
	case behind != nil:
		s.logger.Warn("connecting with unread notifications of a while ago", "user", userID, "error", behind)
	}
	return events, nil
}

// acked answers "notifications:ack".
type acked struct {
	OK bool `json:"ok"`
}

// acknowledge acknowledges a user's own notifications up to a position, which
// he may have from any event.
func (c *socketClient) acknowledge(args []json.RawMessage, answer func(any)) {
	pos, no := c.sockets.ackedPosition(args)
	if no != nil {
		answer(actors.Refusal(no))
		return
	}
	if !c.conn.Take() {
		return
	}
	c.beside(domain.CommandAckNotifications, func() any {
		ctx, cancel := context.WithTimeout(context.Background(), socketCommandTimeout)
		defer cancel()
		if err := c.sockets.acknowledge(ctx, c.conn.Claims(), pos); err != nil {
			return c.sockets.refusedCommand(ctx, domain.CommandAckNotifications, err)
		}
		return acked{true}
	}, answer)
}

// ackedPosition reads a position of this log: one beyond its end would
// acknowledge what is not sent yet.
func (s *sockets) ackedPosition(args []json.RawMessage) (pos domain.Position, no *domain.Rejection) {
	bad := func(message string) *domain.Rejection {
		return domain.Invalid(domain.FieldError{Field: "pos", Message: message})
	}
	var text string
	if len(args) != 1 || json.Unmarshal(args[0], &text) != nil {
		return pos, bad("send the pos of an event")
	}
	pos, err := domain.ParsePosition(text)
	if err != nil {
		return pos, bad("is not a position")
	}
	if errors.Is(s.log.Check(pos), domain.ErrUnknownPosition) {
		return pos, bad("is not a position of this log")
	}
	return pos, nil
}

// acknowledge gives the command, unless there is nothing unread up to the
// position: clients that acknowledge whatever they see don't make the log grow.
func (s *sockets) acknowledge(ctx context.Context, claims domain.Identity, pos domain.Position) error {
	id := s.projections.Identity(claims)
	if no := domain.MayCommand(id, domain.CommandAckNotifications, ""); no != nil {
		return no
	}
	wait, cancel := context.WithTimeout(ctx, s.waits.acked)
	defer cancel()
	if s.projections.WaitFor(wait, projections.Notifications, pos) == nil {
		if some, err := s.projections.AnyUnread(wait, id.UserID, pos); err == nil && !some {
			return nil
		}
	}
	cmd := domain.Command{
		ID: uuid.Must(uuid.NewV7()).String(), Type: domain.CommandAckNotifications,
		Identity: id, At: s.now(), Body: domain.AckNotifications{Pos: pos.String()},
	}
	cmd.Fingerprint = httpapi.Fingerprint(cmd.Type, "", cmd.Body)
	commit, err := s.bus.Do(ctx, cmd)
	if err != nil {
		return fmt.Errorf("acknowledge up to %s: %w", pos, err)
	}
	// It is durable, whatever comes of this: who reads his notifications next
	// is not to see them again.
	if err := s.projections.WaitFor(wait, projections.Notifications, commit.Position); err != nil {
		s.logger.Warn("unread notifications are behind an acknowledgement", "error", err)
	}
	return nil
}
