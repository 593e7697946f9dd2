package eventlog

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Durability says when an append is answered.
const (
	// Fsync answers when the commit is on disk.
	Fsync = "fsync"
	// Relaxed answers when the operating system has the commit; it is on
	// disk within a second. A crash of the process loses nothing, one of the
	// machine up to that second; after an unclean stop of either kind the
	// log begins a new epoch.
	Relaxed = "relaxed"
)

// Config is what Open needs. The zero value of every field but Dir is usable.
type Config struct {
	// Dir is the folder of the log; it is made if absent. One process at a
	// time may have it open.
	Dir string
	// Durability is Fsync (also when empty) or Relaxed.
	Durability string
	// Logger gets what no caller can be told: failed checkpoints, new epochs.
	// Nil discards it. Payloads are never logged.
	Logger *slog.Logger
	// Now is the clock that epochs are named by. Nil is time.Now.
	Now func() time.Time

	// Observe, if set, is told of every transaction, by the writer: it must
	// be quick and must not call the log.
	Observe func(Transaction)

	// QueueCalls and QueueBytes bound the appends under way. One more waits
	// until there is room or its context ends. Zero is 4096 calls and 64 MiB.
	QueueCalls int
	QueueBytes int64
	// RecentCommits and RecentBytes bound the commits kept in memory for
	// followers. Zero is 16384 commits and 32 MiB.
	RecentCommits int
	RecentBytes   int64
	// Readers is the number of connections for reads; one more read waits for
	// a free one or until its context ends. Zero is 4.
	Readers int
	// Streams bounds the streams whose last version is kept in memory; others
	// are looked up in the file. Zero is 65536.
	Streams int
	// IndexBatch is the number of commits whose index entries go to disk
	// together; until then they are in memory, and a start after a crash
	// indexes them again. Zero is 8192.
	IndexBatch int
	// CheckpointBytes is the size of the write-ahead log from which on it is
	// copied into the database. Zero is 32 MiB.
	CheckpointBytes int64
}

// Transaction is one group of appends on its way to disk.
type Transaction struct {
	Commits int
	// Took is from the begin to the end of the commit, fsync included.
	Took time.Duration
	// Err is nil if the group is in the log.
	Err error
}

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("eventlog: Config.Dir is empty")
	}
	switch c.Durability {
	case "":
		c.Durability = Fsync
	case Fsync, Relaxed:
	default:
		return c, fmt.Errorf("eventlog: Config.Durability is %q, want %q or %q", c.Durability, Fsync, Relaxed)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for _, f := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"QueueCalls", &c.QueueCalls, 4096},
		{"RecentCommits", &c.RecentCommits, 16384},
		{"Readers", &c.Readers, 4},
		{"Streams", &c.Streams, 65536},
		{"IndexBatch", &c.IndexBatch, 8192},
	} {
		if *f.value < 0 {
			return c, fmt.Errorf("eventlog: Config.%s is %d, want 0 for the default or more", f.name, *f.value)
		}
		if *f.value == 0 {
			*f.value = f.zero
		}
	}
	for _, f := range []struct {
		name  string
		value *int64
		zero  int64
	}{
		{"QueueBytes", &c.QueueBytes, 64 << 20},
		{"RecentBytes", &c.RecentBytes, 32 << 20},
		{"CheckpointBytes", &c.CheckpointBytes, 32 << 20},
	} {
		if *f.value < 0 {
			return c, fmt.Errorf("eventlog: Config.%s is %d, want 0 for the default or more", f.name, *f.value)
		}
		if *f.value == 0 {
			*f.value = f.zero
		}
	}
	return c, nil
}
