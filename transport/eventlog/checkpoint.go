package eventlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// checkpoints copies the write-ahead log into the database beside the writer,
// on a connection of its own, so that no append waits for it; and, with relaxed
// durability, brings the write-ahead log to disk in time, on another goroutine.
type checkpoints struct {
	mu      sync.Mutex // held while conn is used
	conn    *conn      // has the index attached
	relaxed bool
	wal     *os.File // relaxed only; held, so that a sync never wants a descriptor
	many    int64    // pages in the write-ahead log that call for a warning
	logger  *slog.Logger

	asked  chan struct{} // capacity 1
	dirty  atomic.Bool   // relaxed: there may be something not yet on disk
	copied atomic.Bool   // the writer may start the write-ahead log over
	hook   func(step string)
	wake   func() // makes the writer look at copied
}

// flushEvery is how often relaxed commits are brought to disk. The promise is
// one second; a flush itself takes time.
const flushEvery = 500 * time.Millisecond

// fewFrames is how many pages may be left to copy for the writer to do it.
const fewFrames = 512

func (k *checkpoints) ask() {
	select {
	case k.asked <- struct{}{}:
	default:
	}
}

// run copies whenever it is asked to, until stop is closed.
func (k *checkpoints) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-k.asked:
			k.checkpoint()
		}
	}
}

// flush brings relaxed commits to disk in time until stop is closed. It waits for
// no checkpoint, which may take as long as the disk pleases.
func (k *checkpoints) flush(stop <-chan struct{}) {
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		if !k.dirty.Swap(false) {
			continue
		}
		k.hook("syncing")
		if err := k.wal.Sync(); err != nil {
			k.dirty.Store(true)
			k.logger.Error("bring relaxed commits to disk", "error", err)
		}
		k.hook("synced")
	}
}

// checkpoint copies until little is left, which it leaves to the writer: only
// between two of its transactions can the write-ahead log start over.
func (k *checkpoints) checkpoint() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hook("checkpointing")
	if _, _, err := walCheckpoint(k.conn, "idx"); err != nil {
		k.logger.Warn("copy the index's write-ahead log into the database", "error", err)
	}
	var frames, copied int64
	for range 4 {
		var err error
		if frames, copied, err = walCheckpoint(k.conn, "main"); err != nil {
			k.logger.Warn("copy the write-ahead log into the database", "error", err)
			return
		}
		if frames-copied <= fewFrames {
			break
		}
	}
	if frames > k.many {
		k.logger.Warn("the write-ahead log has grown long: some other program keeps a read of the log open", "pages", frames, "copied", copied)
	}
	k.copied.Store(true)
	k.wake()
}

// walCheckpoint copies as much as it can without waiting for anybody, and
// returns how many pages the write-ahead log has and how many of them are in
// the database now. When that is all, the next write starts it over, unless a
// reader is still in it.
func walCheckpoint(c *conn, database string) (frames, copied int64, err error) {
	row, err := c.queryOne("PRAGMA " + database + ".wal_checkpoint(PASSIVE)")
	if err != nil {
		return 0, 0, err
	}
	frames, _ = row[1].(int64)
	copied, _ = row[2].(int64)
	return frames, copied, nil
}

// syncFile brings a file's content to disk through a descriptor of our own. It
// is not for databases in use: closing it would drop SQLite's locks.
func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close() // the first error is the one that counts
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return f.Close()
}
