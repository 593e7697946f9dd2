package projections

import (
	"context"
	"fmt"
	"os"
	"time"

	"bms/projections/pagesum"
)

// SQLite copies a write-ahead log into the file beside those who read, but only
// when nobody reads what is in it can it start over, at the next write. While
// looks overlap that moment never comes by itself, and it would grow until the
// disk is full. So when it has grown long, new looks are held back for a moment,
// until those under way have ended and the rest is copied.

const (
	// walPages is the number of pages in the write-ahead log from which on each
	// commit copies them into the file. When it has grown by a quarter more,
	// looks are held back.
	walPages = 8000
	// walFrame is what a page takes there, in bytes.
	walFrame = pagesum.Size + 24
	// holdBack is the longest that looks are held back at first. If one takes
	// longer, all go on, until the log has grown by half of walPages; then it
	// is waited for twice as long, and so on, up to holdBackLast.
	holdBack     = 100 * time.Millisecond
	holdBackLast = 5 * time.Second
)

// walBound bounds the write-ahead log of a file. The goroutine that writes owns
// it.
type walBound struct {
	pages    int64
	due      int64         // bytes at which looks are held back
	patience time.Duration // for how long, at most
}

// boundWAL sets the number of pages from which on commits copy.
func (f *file) boundWAL(pages int64) error {
	f.wal.pages = pages
	f.wal.ease()
	// When it starts over, what is beyond the limit is cut off.
	return f.writer.script(fmt.Sprintf("PRAGMA wal_autocheckpoint = %d; PRAGMA journal_size_limit = %d", pages, pages*walFrame))
}

// ease is for a log that is not too long.
func (w *walBound) ease() { w.due, w.patience = (w.pages+w.pages/4)*walFrame, holdBack }

// shortenWAL has the write-ahead log start over with the next commit if it has
// grown too long. Call it between two transactions. If it can't, that is no reason
// to take the last one for failed: if it is the disk, the next one says so.
func (f *file) shortenWAL() {
	size := int64(0)
	if info, err := os.Stat(f.path + "-wal"); err == nil {
		size = info.Size()
	}
	if size <= (f.wal.pages+1)*walFrame { // it has started over
		f.wal.ease()
	}
	if size < f.wal.due {
		return
	}
	readers := f.takeReaders(f.wal.patience)
	f.wal.due, f.wal.patience = size+f.wal.pages/2*walFrame, min(2*f.wal.patience, holdBackLast)
	defer func() {
		for _, c := range readers {
			f.readers <- c
		}
	}()
	if len(readers) == maxReaders {
		_, _ = f.writer.one(context.Background(), func(row) error { return nil }, "PRAGMA wal_checkpoint(PASSIVE)")
	}
}

// takeReaders takes all connections of those who look at the file, or as many as
// there are to be had in a time.
func (f *file) takeReaders(atMost time.Duration) (readers []*conn) {
	late := time.NewTimer(atMost)
	defer late.Stop()
	for range maxReaders {
		select {
		case c := <-f.readers:
			readers = append(readers, c)
		case <-late.C:
			return readers
		}
	}
	return readers
}
