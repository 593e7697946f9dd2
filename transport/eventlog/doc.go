// Package eventlog keeps the log of commits in one SQLite file: it implements
// [bms/domain.Log], and a Watermill publisher and subscriber over the same log.
//
// # What is on disk
//
// A folder holds log.db, index.db (each with SQLite's own -wal and -shm beside
// it while open) and log.lock. Any SQLite tool opens log.db, also while the log
// is in use:
//
//	commits    one row per commit, events as a JSON array
//	epochs     where each epoch begins
//	offsets    how far each Watermill consumer group has acknowledged
//	meta       the marker that tells a clean from an unclean stop
//
// log.db is the log; index.db is made anew from it if absent or damaged, also
// while the log is in use. A command or version that it doesn't have is taken for
// new, so each of its pages has a checksum, too (bms/projections/pagesum).
//
// Every row of commits carries a CRC-32C over all its columns, sequences and
// stream versions are contiguous; all three are checked by every read, because
// SQLite itself does not notice a flipped bit in a page. Nor does it say so when
// it drops commits behind one in the write-ahead log: that is read before
// SQLite recovers it, and what can't be a torn tail is an error (see wal.go).
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
// All methods of [Log], [ReadOnly], [Publisher] and [Subscriber] are safe for
// concurrent use, but for ReadOnly.Close.
//
// # Measured
//
// On two cores and a disk shared with other programs, which kept both busy
// (load 3 to 14), so that rates differ between runs of the same code by a factor
// of three and more; CPU time, callers included, does not:
//
//	writers  durable commits/s  CPU a commit
//	1          1,300 –  4,900   85 – 127 µs
//	8          4,800 – 16,100   27 –  35 µs
//	64        15,000 – 68,700   13 –  17 µs
//	256       36,200 – 92,500   12 –  15 µs
//
// At 64 writers most runs gave 45,000 and more, the slow ones waited for the
// disk. Of a million commits: open 5 – 17 ms; read from the file 187,000 –
// 348,000 commits/s; a stream's last hundred 0.3 – 0.6 ms; find a command 23 –
// 40 µs, or that there is none 5 µs; make the index anew 8 s, once. See the
// benchmarks.
//
// Of 1.7 million commits (5 million events, 2.3 GB): open 5 ms, 180 ms after a
// kill with 20,000 commits not yet indexed; backup 171,000 commits/s (231 MB/s of
// log, to a tenth of that); restore with its index 73,000 commits/s.
package eventlog
