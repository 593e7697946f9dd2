// Package domain is the business of BMS and nothing else: commands, events,
// the pure decisions between them, who may see what, and the contract of the
// log that keeps it all.
//
// A command is judged by the state of one stream (a branch, a user, the
// notifications, an inbox): [State.Decide] answers with the events that follow or with a
// [Rejection], [State.Evolve] folds an event into the state. Both are pure:
// the same log gives the same state, byte for byte, on every machine and on
// every replay. Hence the package has no clock, no randomness, no I/O and no
// goroutine, and imports the standard library only.
//
// # Concurrency properties
//
// A State has one owner and is not safe for concurrent use. A [Commit] that
// was appended, and the events in it, are immutable and may be shared.
package domain
