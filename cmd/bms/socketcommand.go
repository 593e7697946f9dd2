package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"bms/actors"
	"bms/domain"
	"bms/transport/httpapi"
)

// socketCommandTimeout bounds a command that came over a socket.
const socketCommandTimeout = 15 * time.Second

// command has a client's command decided and answers it: {ok:true} with the
// members of an HTTP answer, or {ok:false, error}. It takes one of the
// connection's places, so that a client that sends without waiting is read no
// further than that.
func (s *sockets) command(c *actors.Connection, args []json.RawMessage, answer func(any)) {
	cmd, no := s.commandOf(c.Claims(), args)
	if no != nil {
		answer(actors.Refusal(no))
		return
	}
	if !c.Take() {
		return
	}
	go func() {
		defer c.Release()
		ctx, cancel := context.WithTimeout(context.Background(), socketCommandTimeout)
		defer cancel()
		commit, err := s.commands(ctx, cmd)
		if err != nil {
			if _, no := errors.AsType[*domain.Rejection](err); !no {
				s.logger.Error("command over a socket", "type", cmd.Type, "error", err)
			}
			answer(actors.Refusal(err))
			return
		}
		answer(okAnswer(commit, s.durability))
	}()
}

// okAnswer is an HTTP answer with "ok" in front.
func okAnswer(commit *domain.Commit, durability string) json.RawMessage {
	const ok = `{"ok":true,`
	done := domain.AppendAnswer(make([]byte, len(ok)-1, 512), commit, durability)
	copy(done, ok)
	return done
}

// commandOf reads {type, branchId?, commandId?, body}.
func (s *sockets) commandOf(claims domain.Identity, args []json.RawMessage) (domain.Command, *domain.Rejection) {
	var said map[string]json.RawMessage
	if len(args) != 1 || json.Unmarshal(args[0], &said) != nil || said == nil {
		return domain.Command{}, domain.Invalid(domain.FieldError{Field: "command", Message: "send one object: {type, branchId, commandId, body}"})
	}
	cmd := domain.Command{Identity: s.projections.Identity(claims), At: s.now()}
	var body json.RawMessage
	var wrong []domain.FieldError
	for key, raw := range said {
		var into any
		switch key {
		case "type":
			into = &cmd.Type
		case "branchId":
			into = &cmd.BranchID
		case "commandId":
			into = &cmd.ID
		case "body":
			body = raw
			continue
		default:
			wrong = append(wrong, domain.FieldError{Field: key, Message: "is not known here"})
			continue
		}
		if json.Unmarshal(raw, into) != nil {
			wrong = append(wrong, domain.FieldError{Field: key, Message: "must be a string"})
		}
	}
	if _, given := said["commandId"]; given {
		cmd.Keyed = true
		if !httpapi.ValidKey(cmd.ID) {
			wrong = append(wrong, domain.FieldError{Field: "commandId", Message: "must be 1 to 255 printable ASCII characters"})
		}
	} else {
		cmd.ID = uuid.Must(uuid.NewV7()).String()
	}
	if len(wrong) > 0 {
		return domain.Command{}, domain.Invalid(wrong...)
	}
	var no *domain.Rejection
	if cmd.Body, no = httpapi.DecodeCommand(cmd.Type, body); no != nil {
		return domain.Command{}, no
	}
	cmd.Fingerprint = httpapi.Fingerprint(cmd.Type, cmd.BranchID, cmd.Body)
	return cmd, nil
}
