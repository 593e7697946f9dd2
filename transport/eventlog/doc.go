// Package eventlog keeps the log of commits in one SQLite file: it implements
// [bms/domain.Log], and a Watermill publisher and subscriber over the same log.
//
// # What is on disk
//
// A folder holds log.db (with SQLite's own log.db-wal and log.db-shm beside it)
// and log.lock. Any SQLite tool opens log.db, also while the log is in use:
//
//	commits    one row per commit, events as a JSON array
//	epochs     where each epoch begins
//	offsets    how far each Watermill consumer group has acknowledged
//	meta       the marker that tells a clean from an unclean stop
//
// Every row of commits carries a CRC-32C over all its columns, sequences and
// stream versions are contiguous; all three are checked by every read, because
// SQLite itself does not notice a flipped bit in a page.
//
// # Concurrency properties
//
// One goroutine writes. Calls of [Log.Append] encode their records in the
// callers' goroutines and queue up; the writer takes all that has gathered into
// one transaction, so the cost of an fsync is shared by all who wait for it.
// Readers have their own connections and neither block the writer nor are
// blocked by it, except for the moment in which the write-ahead log starts
// over. Commits just appended are handed out from memory; a follower that keeps
// up does no I/O.
//
// Nothing is visible, by no method, before it is durable (with relaxed
// durability: before it is in the operating system's hands).
//
// All methods of [Log], [Publisher] and [Subscriber] are safe for concurrent
// use.
package eventlog
