package domain

import "fmt"

// Inbox is the state of a user's inbox: up to where he has acknowledged the
// notifications that were sent to him alone.
type Inbox struct {
	UserID string   `json:"userId"`
	Acked  Position `json:"acked"`
}

// AckResult is the result of notification.ack: up to where is acknowledged now.
type AckResult struct {
	Pos Position `json:"pos"`
}

// Decide judges notification.ack, which gives the internal notifications:acked
// if it goes beyond what was acknowledged before, else nothing. That the
// position is one of the log is the edge's to check: one that lies beyond its
// end would acknowledge what was not sent yet.
func (i *Inbox) Decide(c Command) (Decision, *Rejection) {
	if r := judge(c); r != nil {
		return Decision{}, r
	}
	body, ok := c.Body.(AckNotifications)
	if !ok || c.Identity.UserID != i.UserID {
		return Decision{}, wrongStream(c, StreamOfInbox(i.UserID))
	}
	pos, err := ParsePosition(body.Pos)
	if err != nil {
		return Decision{}, Invalid(FieldError{Field: "pos", Message: msgPosition})
	}
	if !pos.After(i.Acked) {
		return Decision{Result: AckResult{Pos: i.Acked}}, nil
	}
	return Decision{
		Events: []Fact{{Payload: NotificationsAcked{UserID: i.UserID, Pos: pos}}},
		Result: AckResult{Pos: pos},
	}, nil
}

// Evolve folds a notifications:acked in.
func (i *Inbox) Evolve(e *Event) error {
	payload, err := e.Payload()
	if err != nil {
		return err
	}
	p, ok := payload.(NotificationsAcked)
	if !ok || p.UserID != i.UserID {
		return misplaced(e, StreamOfInbox(i.UserID))
	}
	if !p.Pos.After(i.Acked) {
		return fmt.Errorf("inbox of %s: event %s acknowledges %s after %s", i.UserID, e.ID, p.Pos, i.Acked)
	}
	i.Acked = p.Pos
	return nil
}
