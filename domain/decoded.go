package domain

import "errors"

// DecodePayloads decodes the payloads of all events and keeps them, so that
// whoever asks for one again gets it for nothing. Only the owner of a commit
// that nobody else has may call it. The errors are those of Event.Payload,
// joined; an event that can't be decoded is left as it was.
func (c *Commit) DecodePayloads() error {
	var errs []error
	for i := range c.Events {
		p, err := c.Events[i].Payload()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.Events[i].payload = p
	}
	return errors.Join(errs...)
}

// Decoded returns a copy of the event that keeps its payload, for who asks for it
// more than once. The error is that of Payload.
func (e *Event) Decoded() (Event, error) {
	copied := *e
	var err error
	copied.payload, err = e.Payload()
	return copied, err
}
