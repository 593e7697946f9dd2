package domain

import "strings"

// Severities of a notification.
const (
	SeverityInfo     = "info"
	SeverityWarning  = "warning"
	SeverityCritical = "critical"
)

// Notifications is the state of the notifications' stream. Whether one was
// read is each user's affair and no part of it.
type Notifications struct {
	// Sent is the number of notifications.
	Sent int64 `json:"sent"`
}

// NotificationResult is the result of notification.send.
type NotificationResult struct {
	NotificationID string `json:"notificationId"`
}

// Decide judges notification.send, which gives one system:notification; it is
// of a branch if its audience is the branch's room.
func (n *Notifications) Decide(c Command) (Decision, *Rejection) {
	if r := judge(c); r != nil {
		return Decision{}, r
	}
	body, ok := c.Body.(SendNotification)
	if !ok {
		return Decision{}, wrongStream(c, StreamNotifications)
	}
	if r := mayAddress(c.Identity, body.Audience); r != nil {
		return Decision{}, r
	}
	branch, ok := strings.CutPrefix(body.Audience, prefixBranch)
	if !ok {
		branch = ""
	}
	id := madeID(c, "notification")
	expires := ""
	if body.ExpiresAt != "" {
		at, err := parseTime(body.ExpiresAt)
		if err != nil {
			return Decision{}, Invalid(FieldError{Field: "expiresAt", Message: msgTime})
		}
		expires = formatTime(at)
	}
	return Decision{
		Result: NotificationResult{NotificationID: id},
		Events: []Fact{{BranchID: branch, Payload: SystemNotification{
			NotificationID: id, Severity: body.Severity, Title: body.Title, Message: body.Message,
			Audience: body.Audience, ExpiresAt: expires,
		}}},
	}, nil
}

// Evolve counts a system:notification.
func (n *Notifications) Evolve(e *Event) error {
	payload, err := e.Payload()
	if err != nil {
		return err
	}
	if _, ok := payload.(SystemNotification); !ok {
		return misplaced(e, StreamNotifications)
	}
	n.Sent++
	return nil
}
