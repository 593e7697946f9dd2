package domain

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Event is something that happened and is, or is about to be, in the log.
type Event struct {
	// ID is a UUIDv7 made from the commit's time, user and command id and the
	// event's index (EventID), so that the same decision has the same ids.
	ID string
	// Type is one of the Type… constants; it is on disk for ever.
	Type string
	// Version is the version of the payload's schema, from 1.
	Version int
	// BranchID is empty where an event is not of one branch.
	BranchID string
	// UserID is who caused it; empty for the system.
	UserID string
	// At is when it was decided, UTC, whole milliseconds.
	At time.Time
	// Data is the payload as JSON, exactly as stored.
	Data json.RawMessage
	// Pos is set once the event is in the log.
	Pos Position

	payload Payload // set by who made the event; nil for one read from disk
}

// Payload is the typed data of an event: one of the structs in payloads.go.
type Payload interface {
	// EventType returns the Type… constant.
	EventType() string
}

// Payload returns the event's typed data, decoding Data if need be. The error
// wraps ErrUnknownEvent for a type or version this program doesn't know.
func (e *Event) Payload() (Payload, error) {
	if e.payload != nil {
		return e.payload, nil
	}
	return decodePayload(e.Type, e.Version, e.Data)
}

// AppendEnvelope appends the event as clients see it:
//
//	{"id","type","timestamp","branchId","userId"?,"data","pos"}
//
// data is the payload in its current version, whatever version is stored.
// branchId is null where the event is not of one branch, timestamp is RFC 3339
// in UTC with milliseconds, pos is left out before the event is in the log.
func (e *Event) AppendEnvelope(dst []byte) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendJSONString(dst, e.ID)
	dst = append(dst, `,"type":`...)
	dst = appendJSONString(dst, e.Type)
	dst = append(dst, `,"timestamp":"`...)
	dst = e.At.UTC().AppendFormat(dst, TimestampFormat)
	dst = append(dst, `","branchId":`...)
	if e.BranchID == "" {
		dst = append(dst, "null"...)
	} else {
		dst = appendJSONString(dst, e.BranchID)
	}
	if e.UserID != "" {
		dst = append(dst, `,"userId":`...)
		dst = appendJSONString(dst, e.UserID)
	}
	dst = append(dst, `,"data":`...)
	dst = append(dst, e.currentData()...)
	if e.Pos.Seq != 0 {
		dst = append(dst, `,"pos":"`...)
		dst = e.Pos.AppendTo(dst)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// TimestampFormat is the layout of every time in the interface: RFC 3339 with
// milliseconds; format UTC times only.
const TimestampFormat = "2006-01-02T15:04:05.000Z07:00"

// MarshalJSON returns the envelope.
func (e *Event) MarshalJSON() ([]byte, error) { return e.AppendEnvelope(nil), nil }

// EventID makes the id of the index-th event of a command: a UUIDv7 (RFC 9562,
// 5.7) whose time is the commit's and whose random bits are the SHA-256 of
// user, command id and index.
func EventID(at time.Time, userID, commandID string, index int) string {
	var buf [128]byte
	seed := append(buf[:0], userID...)
	seed = append(seed, 0)
	seed = append(seed, commandID...)
	seed = append(seed, 0)
	seed = strconv.AppendInt(seed, int64(index), 10)
	sum := sha256.Sum256(seed)
	return uuid7(at, [10]byte(sum[:10]))
}

// NewCommit makes the commit of a decision, ready for Log.Append: the events
// get their ids, the command's time and user.
func NewCommit(stream string, version uint64, c Command, d Decision) (*Commit, error) {
	if len(d.Events) > MaxEventsPerCommit {
		return nil, fmt.Errorf("%s makes %d events, a commit holds %d", c.Type, len(d.Events), MaxEventsPerCommit)
	}
	at := c.At.UTC().Truncate(time.Millisecond)
	commit := &Commit{
		Stream: stream, Version: version,
		UserID: c.Identity.UserID, CommandID: c.ID, CommandType: c.Type, Fingerprint: c.Fingerprint,
		At: at, Metadata: c.Metadata,
		Events: make([]Event, len(d.Events)),
	}
	for i, f := range d.Events {
		data, err := encode(f.Payload)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", f.Payload.EventType(), err)
		}
		commit.Events[i] = Event{
			ID: EventID(at, c.Identity.UserID, c.ID, i), Type: f.Payload.EventType(), Version: currentVersion(f.Payload.EventType()),
			BranchID: f.BranchID, UserID: c.Identity.UserID, At: at, Data: data, payload: f.Payload,
		}
	}
	if d.Result != nil {
		result, err := encode(d.Result)
		if err != nil {
			return nil, fmt.Errorf("encode result of %s: %w", c.Type, err)
		}
		commit.Result = result
	}
	return commit, nil
}

// Placed fills in the position of a commit and of its events: what a Log calls
// when it knows the sequence.
func (c *Commit) Placed(epoch, seq uint64) {
	c.Position = Position{Epoch: epoch, Seq: seq}
	for i := range c.Events {
		c.Events[i].Pos = Position{Epoch: epoch, Seq: seq, Index: uint32(i)}
		c.Position.Index = uint32(i)
	}
}
