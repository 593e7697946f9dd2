package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"bms/actors"
	"bms/domain"
	"bms/transport/commandbus"
	"bms/transport/httpapi"
)

// socketCommandTimeout bounds a command that came over a socket.
const socketCommandTimeout = 15 * time.Second

// command has a client's command decided and answers it: {ok:true} with the
// members of an HTTP answer, or {ok:false, error}. It is sent off here, in the
// client's reader, so that what a client sends without waiting is decided in
// its order. It takes one of the connection's places, so that such a client is
// read no further than that.
func (c *socketClient) command(read func(json.RawMessage) (domain.Command, *domain.Rejection), args []json.RawMessage, answer func(any)) {
	if len(args) != 1 {
		answer(actors.Refusal(oneObject()))
		return
	}
	cmd, no := read(args[0])
	if no != nil {
		answer(actors.Refusal(no))
		return
	}
	if !c.conn.Take() {
		return
	}
	s := c.sockets
	cmd.Identity, cmd.At = s.projections.Identity(c.conn.Claims()), s.now()
	ctx, cancel := context.WithTimeout(context.Background(), socketCommandTimeout)
	ctx, end := s.spans.Command(ctx, cmd.Type, c.conn.SID(), c.namespace)
	var pending *commandbus.Pending
	err := s.commands.before(ctx, cmd)
	if err == nil {
		pending, err = s.bus.Begin(ctx, cmd)
	}
	if err != nil {
		cancel()
		c.conn.Release()
		answer(s.refusedCommand(ctx, cmd.Type, err))
		end(err)
		return
	}
	c.beside(cmd.Type, func() any {
		defer cancel()
		commit, err := pending.Wait(ctx)
		defer func() { end(err) }()
		if err != nil {
			return s.refusedCommand(ctx, cmd.Type, err)
		}
		s.commands.after(ctx, commit)
		return okAnswer(commit)
	}, answer)
}

// refusedCommand is the answer to a command that came to an error, which is
// logged if it is a fault.
func (s *sockets) refusedCommand(ctx context.Context, commandType string, err error) any {
	if _, no := errors.AsType[*domain.Rejection](err); !no {
		s.logger.ErrorContext(ctx, "command over a socket", "type", commandType, "error", err)
	}
	return actors.Refusal(err)
}

// okAnswer is an HTTP answer with "ok" in front.
func okAnswer(commit *domain.Commit) json.RawMessage {
	const ok = `{"ok":true,`
	done := domain.AppendAnswer(make([]byte, len(ok)-1, 512), commit)
	copy(done, ok)
	return done
}

func oneObject() *domain.Rejection {
	return domain.Invalid(domain.FieldError{Field: "args", Message: "send one object"})
}

// readCommand reads {type, branchId?, commandId?, body}.
func readCommand(raw json.RawMessage) (domain.Command, *domain.Rejection) {
	var cmd domain.Command
	members, no := membersOf(raw)
	if no != nil {
		return cmd, no
	}
	wrong := takeString(nil, members, "type", &cmd.Type)
	wrong = takeAddress(wrong, members, &cmd)
	body := members["body"]
	delete(members, "body")
	wrong = appendForeign(wrong, members)
	if cmd.Type == domain.CommandAckNotifications {
		wrong = append(wrong, domain.FieldError{Field: "type", Message: "is done by notifications:ack"})
	}
	if len(wrong) > 0 {
		return cmd, domain.Invalid(wrong...)
	}
	return withBody(cmd, body)
}

// readSync reads {branchId, commandId?, deviceId, fromSeq, operations}: a
// command whose body has branch and id in it.
func readSync(raw json.RawMessage) (domain.Command, *domain.Rejection) {
	cmd := domain.Command{Type: domain.CommandSubmitSync}
	members, no := membersOf(raw)
	if no != nil {
		return cmd, no
	}
	var wrong []domain.FieldError
	if _, there := members["branchId"]; !there {
		wrong = append(wrong, domain.FieldError{Field: "branchId", Message: "is missing"})
	}
	if wrong = takeAddress(wrong, members, &cmd); len(wrong) > 0 {
		return cmd, domain.Invalid(wrong...)
	}
	body, err := json.Marshal(members)
	if err != nil { // they have been JSON
		return cmd, oneObject()
	}
	return withBody(cmd, body)
}

// membersOf reads an object, which must not have a member twice.
func membersOf(raw json.RawMessage) (map[string]json.RawMessage, *domain.Rejection) {
	members, err := domain.Members(raw)
	if twice, ok := errors.AsType[*domain.TwiceError](err); ok {
		return nil, domain.Invalid(domain.FieldError{Field: fmt.Sprintf("%.*s", maxShown, twice.Name), Message: "is there twice"})
	}
	if err != nil {
		return nil, oneObject()
	}
	return members, nil
}

// takeAddress takes branchId and commandId, which may be left out, out of a
// command's members.
func takeAddress(wrong []domain.FieldError, members map[string]json.RawMessage, cmd *domain.Command) []domain.FieldError {
	wrong = takeString(wrong, members, "branchId", &cmd.BranchID)
	_, cmd.Keyed = members["commandId"]
	before := len(wrong)
	wrong = takeString(wrong, members, "commandId", &cmd.ID)
	if cmd.Keyed && len(wrong) == before && !httpapi.ValidKey(cmd.ID) {
		wrong = append(wrong, domain.FieldError{Field: "commandId", Message: "must be 1 to 255 printable ASCII characters"})
	}
	return wrong
}

// takeString takes a member that must be a string, if it is there, out of the
// others.
func takeString(wrong []domain.FieldError, members map[string]json.RawMessage, name string, into *string) []domain.FieldError {
	raw, there := members[name]
	delete(members, name)
	if there && (raw[0] != '"' || json.Unmarshal(raw, into) != nil) {
		wrong = append(wrong, domain.FieldError{Field: name, Message: "must be a string"})
	}
	return wrong
}

// maxForeign bounds the members that are named in an answer because nobody
// knows them, and maxShown what of a name is repeated, in characters.
const (
	maxForeign = 20
	maxShown   = 64
)

// appendForeign names the members that are left, in order.
func appendForeign(wrong []domain.FieldError, members map[string]json.RawMessage) []domain.FieldError {
	names := slices.Sorted(maps.Keys(members))
	for _, name := range names[:min(len(names), maxForeign)] {
		wrong = append(wrong, domain.FieldError{Field: fmt.Sprintf("%.*s", maxShown, name), Message: "is not known here"})
	}
	return wrong
}

// withBody completes a command by its body, and by an id if it has none.
func withBody(cmd domain.Command, body json.RawMessage) (domain.Command, *domain.Rejection) {
	if !cmd.Keyed {
		cmd.ID = uuid.Must(uuid.NewV7()).String()
	}
	var no *domain.Rejection
	if cmd.Body, no = httpapi.DecodeCommand(cmd.Type, body); no != nil {
		return cmd, no
	}
	// As over HTTP, whatever the client says of it: one key is for one command,
	// whichever way it comes.
	switch body := cmd.Body.(type) {
	case domain.OpenBranch:
		if cmd.BranchID == "" {
			cmd.BranchID = body.BranchID
		}
	case domain.SetUser, domain.ChangeUser, domain.SendNotification:
		cmd.BranchID = "" // is of none
	}
	cmd.Fingerprint = httpapi.Fingerprint(cmd.Type, cmd.BranchID, cmd.Body)
	return cmd, nil
}
