// Package projections keeps the read models: what the log comes to, in a form
// that answers questions at once.
//
// A projection is a pure fold of the log into one SQLite file of its own,
// {name}-v{version}.db. Rows and position are committed in one transaction, so
// a file is always exactly the fold of the log up to its position, whatever
// happened to the process. Files are disposable: one that is damaged, or not of
// this log, or of an older version, is thrown away and folded again.
//
// The only thing here that writes to the log is the alerts process, which
// appends the low-stock alerts that follow from stock changes, once per cause.
//
// # Concurrency properties
//
// All methods of [Set] are safe for concurrent use. Each projection has one
// goroutine that folds (started by Run) and is the only one to write its file;
// queries read from connections of their own and see the last committed batch.
// A projection that stops on an error stops alone.
package projections
