package domain

import (
	"fmt"
	"strings"
)

// Streams of the log: the unit of order and of decision.
const (
	streamBranch = "branch/"
	streamUser   = "user/"
	streamAlerts = "alerts/"
	streamInbox  = "inbox/"
	// StreamNotifications is the one stream of all notifications.
	StreamNotifications = "notifications"
)

// StreamOfBranch names the stream of a branch.
func StreamOfBranch(branchID string) string { return streamBranch + branchID }

// StreamOfUser names the stream of a user.
func StreamOfUser(userID string) string { return streamUser + userID }

// StreamOfAlerts names the stream of a branch's low-stock alerts, which stands
// beside the branch's own because that has one writer.
func StreamOfAlerts(branchID string) string { return streamAlerts + branchID }

// StreamOfInbox names the stream of what a user has acknowledged.
func StreamOfInbox(userID string) string { return streamInbox + userID }

// StreamOf names the stream that decides a command: "branch/{branchId}",
// "user/{userId}", "notifications" or "inbox/{userId}" of who gives it. One command is not decided by the branch
// in whose name it is given: the sending branch's transfer.cancel, by the
// receiving branch, which its transfer's id names. The error is a [*Rejection]
// (validation) for an unknown command type, a body of another type, or an id
// that is none.
func StreamOf(c Command) (string, error) {
	row, known := commands[c.Type]
	if !known {
		return "", unknownCommand()
	}
	if row.inBranch {
		if id := branchOf(c); !ValidID(id) {
			return "", Invalid(FieldError{Field: "branchId", Message: msgID})
		}
		id := decidingBranch(c)
		if id == "" {
			return "", Invalid(FieldError{Field: "transferId", Message: msgTransferID})
		}
		return StreamOfBranch(id), nil
	}
	switch body := c.Body.(type) {
	case SetUser:
		return userStream(body.UserID)
	case ChangeUser:
		return userStream(body.UserID)
	case SendNotification:
		return StreamNotifications, nil
	case AckNotifications:
		if !ValidID(c.Identity.UserID) {
			return "", Invalid(FieldError{Field: "userId", Message: msgID})
		}
		return StreamOfInbox(c.Identity.UserID), nil
	default:
		return "", Invalid(FieldError{Field: "body", Message: "is not the body of " + c.Type})
	}
}

// decidingBranch returns the branch that decides a command of a branch; empty
// if its transfer's id is none.
func decidingBranch(c Command) string {
	if cancel, ok := c.Body.(CancelTransfer); ok {
		to, _ := transferDestination(cancel.TransferID)
		return to
	}
	return branchOf(c)
}

// branchOf returns the branch in whose name a command is given; who opens one
// may name it in the body alone.
func branchOf(c Command) string {
	if open, ok := c.Body.(OpenBranch); ok && c.BranchID == "" {
		return open.BranchID
	}
	return c.BranchID
}

func userStream(userID string) (string, error) {
	if !ValidID(userID) {
		return "", Invalid(FieldError{Field: "userId", Message: msgID})
	}
	return StreamOfUser(userID), nil
}

// NewState returns the state of a stream before its first event: a *Branch,
// *User, *Notifications or *Inbox. It returns an error for a stream in which nothing
// is decided, such as the alerts'.
func NewState(stream string) (State, error) {
	if id, ok := strings.CutPrefix(stream, streamBranch); ok && ValidID(id) {
		return NewBranch(id), nil
	}
	if id, ok := strings.CutPrefix(stream, streamUser); ok && ValidID(id) {
		return &User{ID: id}, nil
	}
	if id, ok := strings.CutPrefix(stream, streamInbox); ok && ValidID(id) {
		return &Inbox{UserID: id}, nil
	}
	if stream == StreamNotifications {
		return &Notifications{}, nil
	}
	return nil, fmt.Errorf("no commands are decided in stream %q", stream)
}

// MarshalState returns the canonical JSON of a state: equal states give equal
// bytes.
func MarshalState(s State) ([]byte, error) { return marshal(s) }
