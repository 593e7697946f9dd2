package projections

import (
	"context"
	"errors"

	"bms/domain"
)

// definition is a projection: what it is called, what its rows look like and
// how events become rows. To add one, write a file with its definition, its
// fold and its queries, and list it in definitions.
type definition struct {
	name string
	// version rises with every change of schema or fold: the new one is
	// folded into a new file.
	version int
	// variant tells files apart that are folded under different settings;
	// usually empty.
	variant string
	// reads lists older versions whose files the queries can read: such a file
	// serves while the new version is folded beside it. Files of another
	// variant can always be read.
	reads []int
	// schema is the SQL that makes the tables. The rows must follow from the
	// log alone, and so must every id that is given to them.
	schema string
	// types are the events it folds; only their payloads are decoded.
	types []string
	// wants, if not nil, picks commits that matter to it whatever events
	// they hold.
	wants func(*domain.Commit) bool
	// keys calls add with the keys of a commit: commits that share one are
	// folded in order, also when one of them is parked, while others pass it.
	// Nil means that the key is the commit's stream.
	keys func(c *domain.Commit, add func(string))
	// start makes the fold of a file just opened.
	start func(*file) (fold, error)
	// serve, if not nil, is called when a file becomes the one that serves,
	// also for one of a version in reads.
	serve func(*file) error
	// inherit, if not nil, takes over what doesn't follow from the log from
	// the file that served before, within a transaction of the new one.
	// The error is errNoGood for a file that has nothing to give.
	inherit func(into *file, from *conn) error
	// begin, if not nil, is called instead, likewise, for a file that has none
	// to inherit from.
	begin func(ctx context.Context, into *file, log logReader) error
}

// logReader is what of the log is read.
type logReader interface {
	domain.Reader
	domain.Follower
}

// errNoGood is returned for a file that can't be inherited from.
var errNoGood = errors.New("the file is no good")

// fold turns events into rows of a file, through the file's writer. All is
// called by one goroutine, between the file's begin and commit, except for
// start, forget and published.
type fold interface {
	// commit is called, before apply, once for each commit that is wanted or
	// holds events of the projection's types.
	commit(c *domain.Commit) error
	// apply folds one event. An error gives the whole batch up.
	apply(c *domain.Commit, e *domain.Event, p domain.Payload) error
	// flush writes the rows that apply has held back: many events of one
	// batch often change the same row.
	flush() error
	// forget drops what is held back or cached; the batch was rolled back.
	forget() error
	// published is called after the batch was committed and before its
	// position can be seen by WaitFor.
	published()
}

// basic is the part of fold that most don't need.
type basic struct{}

func (basic) commit(*domain.Commit) error { return nil }
func (basic) published()                  {}
