// Package projections keeps the read models: what the log comes to, in a form
// that answers questions at once.
//
// A projection is a pure fold of the log into one SQLite file of its own,
// {name}-v{version}.db, or {name}-v{version}.{n}.db when it was rebuilt n
// times. Rows and position are committed in one transaction, so a file is always
// exactly the fold of the log up to its position, whatever happened to the
// process. Files are disposable: one that is damaged, or not of this log, is
// thrown away and folded again. Meanwhile queries see what has been folded so
// far, each answer with its position, and Unready says so.
//
// Every page of every file has a checksum, which is compared at each read: a
// changed bit is not served, nor decided upon. So there is nothing to check
// before a file serves, however large it is; once a projection is live, and at
// each digest from then on, all its rows are read in the background, so that
// damage is found where nobody asks, too. A log that is damaged, or has lost its
// end, is no reason to throw a file away.
//
// A rebuild folds into the next generation's file beside the one that serves and
// is swapped in when it has caught up; nobody sees an error, or time go back. A
// new version of a fold is rebuilt so at the start, and until it is done the old
// version's file serves, at the position where it was left, if the new queries
// can read it (definition.reads). If they can't, the new file serves from its
// beginning on, as after damage.
//
// A commit that can't be folded is tried three times and then parked, with its
// error, in the transaction that passes it. Later ones that share a key with it
// wait behind it, all else goes on. An event that is newer than this program is
// never parked: it stops the projection.
//
// What writes to the log are the alerts process, which appends the low-stock
// alerts that follow from stock changes, once per cause, and the courier, which
// gives the commands that transfers entail. Neither does so on a rebuild's
// account: a swap takes over from the file before what was settled.
//
// # Concurrency properties
//
// All methods of [Set] are safe for concurrent use. Each projection has one
// goroutine that folds and is the only one to write the file that serves, and
// one that rebuilds, idle mostly; Run starts them. Queries read from connections
// of their own and see the last committed batch. A projection that stops on an
// error stops alone.
package projections
