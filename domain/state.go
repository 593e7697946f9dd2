package domain

// Decision is what a command comes to: events to append, and the result for
// the answer.
type Decision struct {
	Events []Fact
	// Result becomes the answer's result; nil for none.
	Result any
}

// Fact is an event before it has an id: payload and branch ("" for none).
type Fact struct {
	BranchID string
	Payload  Payload
}

// State is the write-side state of one stream. See the package comment for
// purity and ownership.
type State interface {
	// Decide judges a command by the state, which it does not change. It
	// returns either a decision or a rejection. Rights (MayCommand) are part
	// of the judgement.
	Decide(c Command) (Decision, *Rejection)
	// Evolve folds an event of the stream in. It returns an error only for
	// an event that cannot have been decided on this state (a damaged log)
	// or that this program doesn't know (ErrUnknownEvent).
	Evolve(e *Event) error
}
