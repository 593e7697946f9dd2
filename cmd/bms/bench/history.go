package bench

import (
	"hash/crc32"
	"time"

	"bms/domain"
)

// History is all that is known of a run.
type History struct {
	// Log is what the node's log holds, in its order, at least from the first
	// event of the run on.
	Log []Event
	// Run is what the marks of the run begin with.
	Run string
	// Branches are those of the run: nobody else gives commands there.
	Branches []string
	Commands []Command
	// Connections are the subscribers, each over all its reconnects.
	Connections []Connection
	// Levels are the stock levels of the branches that the node shows at the
	// end of Log. Nil: not asked for.
	Levels []Level
	// Escalation is true for a node that runs with --alerts-repeat escalation.
	Escalation bool
	// Forgetful is true for a node that may have lost answered commands and
	// refused cursors for it, as --durability relaxed does when the machine
	// loses power.
	Forgetful bool
}

// Outcome is what became of a command.
type Outcome int

// Outcomes.
const (
	Unknown  Outcome = iota // no answer: it may have taken effect once, or not
	Answered                // it took effect
	Rejected                // it had no effect
)

// Command is a command that was sent, over all its repetitions.
type Command struct {
	// Mark names the command within its events; see Event.Mark.
	Mark    string
	Outcome Outcome
	// Sent is when it was first sent, Done when its answer came, since the
	// start of the run.
	Sent, Done time.Duration
	// Events are those in the answer, nil unless Answered. Internal events,
	// which nobody is shown, are not among them.
	Events []Received
	// Repeated counts repetitions that were answered otherwise than the
	// first answer.
	Repeated int
}

// Received is an event as it arrived somewhere: where in the log it says it is,
// and the Sum of its envelope.
type Received struct {
	Seq   uint64
	Index uint32
	Sum   uint32
}

func (r Received) pos() domain.Position { return domain.Position{Seq: r.Seq, Index: r.Index} }

// Connection is what a subscriber got.
type Connection struct {
	Name      string
	Identity  domain.Identity
	Namespace string
	// Received are the events in the order in which they came.
	Received []Received
	// Opens are the times it connected, the first one included.
	Opens []Open
}

// Open is a successful connect.
type Open struct {
	// At is how many events had been received before.
	At int
	// Cursor is true when the client said where it was.
	Cursor bool
	// Pos and Recovered are the session's.
	Pos       domain.Position
	Recovered bool
}

// Level is a row of GET /api/branches/{b}/inventory.
type Level struct {
	BranchID  string `json:"-"`
	ProductID string `json:"productId"`
	Stock     int64  `json:"stock"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum tells envelopes apart: CRC-32C.
func Sum(envelope []byte) uint32 { return crc32.Checksum(envelope, castagnoli) }
