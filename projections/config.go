package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"bms/domain"
)

// Names of the projections.
const (
	Branches      = "branches"
	Inventory     = "inventory"
	Transactions  = "transactions"
	Transfers     = "transfers"
	Alerts        = "alerts"
	Stats         = "stats"
	Users         = "users"
	Notifications = "notifications"
)

// Values of Config.AlertsRepeat.
const (
	RepeatEvery      = "every"
	RepeatEscalation = "escalation"
)

// Config is what a Set needs. Dir, Log and Append must be given.
type Config struct {
	// Dir is the folder of the projection files; made if it doesn't exist.
	// It belongs to the Set alone.
	Dir string
	// Log is read and followed.
	Log interface {
		domain.Reader
		domain.Follower
	}
	// Append takes the derived alerts.
	Append domain.Appender
	// Commands has a command decided and returns its commit, that of the
	// first time if it was given before. Nil means that what transfers entail
	// is given by somebody else. It is called while Run runs.
	Commands func(context.Context, domain.Command) (*domain.Commit, error)
	// AlertsRepeat is RepeatEvery (default: each change that leaves stock at
	// or below the minimum alerts) or RepeatEscalation (only crossing it and
	// getting worse).
	AlertsRepeat string
	// Logger gets a line when a file is thrown away, a projection stops or a
	// fold fails. Default: discard.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Observe is told what happens, for metrics.
	Observe Hooks

	// fault, if not nil, is called at each step between an event and what
	// becomes of it, where a test breaks things.
	fault func(projection, step string)
}

// Steps at which Config.fault is called.
const (
	stepFolded    = "folded"    // rows changed, not committed
	stepCommitted = "committed" // committed, not yet to be seen by WaitFor
	stepDerived   = "derived"   // alerts or commands made, not appended
	stepAppended  = "appended"  // they are in the log, their fold to come
	stepParking   = "parking"   // commit parked, not committed
	stepSwapping  = "swapping"  // a rebuilt file has caught up, and doesn't serve
	stepPromoted  = "promoted"  // it is marked as the one that serves, and doesn't yet
	stepNoted     = "noted"     // a digest is noted
	stepSwapped   = "swapped"   // it serves, the one before is still there
)

func (c *Config) step(projection, step string) {
	if c.fault != nil {
		c.fault(projection, step)
	}
}

func (c *Config) defaults() error {
	switch {
	case c.Dir == "":
		return errors.New("projections.Config.Dir is empty")
	case c.Log == nil:
		return errors.New("projections.Config.Log is nil")
	case c.Append == nil:
		return errors.New("projections.Config.Append is nil")
	}
	switch c.AlertsRepeat {
	case "":
		c.AlertsRepeat = RepeatEvery
	case RepeatEvery, RepeatEscalation:
	default:
		return fmt.Errorf("projections.Config.AlertsRepeat is %q, want %q or %q", c.AlertsRepeat, RepeatEvery, RepeatEscalation)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Hooks are called from the projections' goroutines and must not block. Nil
// ones are left out.
type Hooks struct {
	// Folded is called after a batch is committed.
	Folded func(projection string, commits, events int, took time.Duration)
	// Projected is called after a batch was committed by a projection that
	// follows the log, with those of its commits that concern the projection
	// and have metadata, as those of a trace have; it is not called if there
	// are none, nor by rebuilds. live is false while it catches up.
	Projected func(projection string, live bool, commits []*domain.Commit, from, to time.Time)
	// Deriving is called with commits made from other commits, before they are
	// appended. Their metadata is that of their causes, and may be changed.
	// What it returns is called once they are in the log, or not.
	Deriving func(commits []*domain.Commit) (ended func(error))
	// Alerted is called after alerts were appended; duplicates are those that
	// were in the log already.
	Alerted func(appended, duplicates int)
	// Rebuilt is called after a rebuild or a verification has ended.
	Rebuilt func(projection string, r Rebuild)
	// Failed is called for each error that stops a projection, for a moment
	// or for good.
	Failed func(projection string, err error)
}

// States of a projection.
const (
	StateLive       = "live"
	StateRebuilding = "rebuilding"
	StateParked     = "parked"
	StateFailed     = "failed"
)

// Status is the row of a projection in GET /api/projections.
type Status struct {
	Name string `json:"name"`
	// Version is that of the file that serves: an older one while a new
	// version is folded for the first time.
	Version  int             `json:"version"`
	Position domain.Position `json:"position"`
	Head     domain.Position `json:"head"`
	// LagEvents is the number of events not folded yet: counted in the batch
	// at hand, and beyond it estimated from the records not folded yet and the
	// events that those before had. It is 0 only if nothing is left.
	LagEvents uint64 `json:"lagEvents"`
	// LagSeconds is the age of the oldest record not folded yet.
	LagSeconds float64 `json:"lagSeconds"`
	State      string  `json:"state"`
	// Rate is events folded per second, lately.
	Rate float64 `json:"rate"`
	// ETA is the number of seconds until live at this rate; 0 when live,
	// null when unknown.
	ETA *float64 `json:"eta"`
	// Parked is the number of events set aside: those of commits that failed,
	// and of those that wait behind them.
	Parked    int    `json:"parked"`
	LastError string `json:"lastError"`
	// Digest is the digest noted last.
	Digest *NotedDigest `json:"digest,omitempty"`
	// Rebuild is the one under way, LastRebuild the one that ended last.
	Rebuild     *Rebuild `json:"rebuild,omitempty"`
	LastRebuild *Rebuild `json:"lastRebuild,omitempty"`
	// LagRecords is the number of log records not folded yet.
	LagRecords uint64 `json:"-"`
	// Stalled says that it has been at one place for long with more to fold.
	Stalled bool `json:"-"`
}
