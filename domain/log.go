package domain

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Commit is one record of the log: all events of one command, kept or lost
// together. The log fills in Position and the events' Pos when it appends; from
// then on a commit is immutable and may be shared by any number of readers.
type Commit struct {
	// Position is the position of the commit's last event (index 0 if it has
	// none): "everything up to and including this commit".
	Position Position
	// Stream names the stream, for instance "branch/b1" (see StreamOf).
	Stream string
	// Version is the commit's number in its stream, from 1 without a gap.
	// The log refuses a commit whose version is not the next one.
	Version uint64
	// UserID and CommandID together take effect at most once in a log, for
	// ever. UserID is empty for what the system itself does.
	UserID    string
	CommandID string
	// CommandType is the command's name, for instance "stock.adjust".
	CommandType string
	// Fingerprint tells two bodies under one command id apart.
	Fingerprint string
	// At is the time of the decision, UTC, whole milliseconds.
	At time.Time
	// Metadata travels with the commit: W3C trace context ("traceparent",
	// "tracestate"), what else an edge adds, and MetadataDurability, which the
	// log sets when it appends. Nil is usual.
	Metadata map[string]string
	// Result is the command's result as the answer carries it.
	Result json.RawMessage
	Events []Event
	// Message is the payload of a record that was published through Watermill
	// as an opaque message and not as events. Such a record has no Events;
	// feeds and folds pass it by.
	Message []byte
}

// Size is about how many bytes the commit takes in a log.
func (c *Commit) Size() int {
	const perEvent = 64
	size := len(c.Result) + len(c.Message)
	for i := range c.Events {
		size += perEvent + len(c.Events[i].Data)
	}
	return size
}

// Errors of a Log. Wrapped; test with errors.Is.
var (
	// ErrVersionConflict is returned by Append when a commit's version is
	// not the next one of its stream: someone else has written. Nothing of
	// that commit was appended.
	ErrVersionConflict = errors.New("stream has moved on")
	// ErrDuplicateCommand is returned by Append when the log holds a commit
	// of the same user and command id. FindCommand gives it.
	ErrDuplicateCommand = errors.New("command is in the log already")
	// ErrLogUnavailable is returned when the log cannot take or give records
	// now (disk full, closing, no quorum). After an Append the outcome is
	// unknown unless the text says otherwise.
	ErrLogUnavailable = errors.New("log unavailable")
	// ErrCorrupt is returned by reads that meet a record whose checksum,
	// sequence or version is wrong. The text names file and position.
	ErrCorrupt = errors.New("log is corrupt")
	// ErrNotFound is returned by FindCommand when there is no such commit.
	ErrNotFound = errors.New("not in the log")
	// ErrUnknownPosition is returned by Check for a position that is not of
	// this log: another epoch, or beyond the end of its own.
	ErrUnknownPosition = errors.New("position is not of this log")
	// ErrTrimmed is returned by Check for a position before the first record
	// still kept.
	ErrTrimmed = errors.New("position is older than the log reaches")
)

// Appender adds commits to the log.
type Appender interface {
	// Append adds commits in order and returns once they are durable (under
	// relaxed durability: accepted). It takes ownership of the commits and
	// fills in their positions. Commits of one call that belong to one
	// stream carry consecutive versions.
	//
	// On an error a prefix of the commits may be in the log; where that
	// matters, forget what was assumed and read the stream again. It returns
	// ErrVersionConflict, ErrDuplicateCommand, ErrLogUnavailable or the
	// context's error (outcome unknown).
	Append(ctx context.Context, commits ...*Commit) error
	// FindCommand returns the commit of a user's command id, or ErrNotFound.
	FindCommand(ctx context.Context, userID, commandID string) (*Commit, error)
}

// Reader reads what is durable. Returned commits are shared; do not change
// them.
type Reader interface {
	// Read returns commits with a sequence above after, in order, at most
	// limit of them and perhaps fewer (a batch is bounded in bytes too). No
	// commits and no error means that after is the end.
	Read(ctx context.Context, after uint64, limit int) ([]*Commit, error)
	// ReadStream does the same within one stream, by version.
	ReadStream(ctx context.Context, stream string, after uint64, limit int) ([]*Commit, error)
}

// Follower follows the end of the log.
type Follower interface {
	// Head is the position of the last durable commit; Seq 0 for none. Its
	// epoch is that of the next append.
	Head() Position
	// Next is Read that waits until there is at least one commit after the
	// given sequence, or the context ends.
	Next(ctx context.Context, after uint64, limit int) ([]*Commit, error)
	// Check says whether reading on after p leaves no gap: nil,
	// ErrUnknownPosition or ErrTrimmed. Seq 0 of a known epoch is valid as
	// long as nothing was trimmed.
	Check(p Position) error
}

// Log is the durable log. Its contract is kept as a test (eventlogtest) that
// every implementation passes. All methods are safe for concurrent use.
type Log interface {
	Appender
	Reader
	Follower
}
