package main

import (
	"fmt"
	"sync"
	"time"
)

// feedPatience is how long the feed may stand before the log's end without the
// node being unready.
const feedPatience = 10 * time.Second

// feedWatch notices a feed that has stopped without an error: the log goes on
// and the feed does not.
//
// # Concurrency properties
//
// All methods are safe for concurrent use.
type feedWatch struct {
	log, feed func() uint64 // the sequences up to which they are
	now       func() time.Time

	mu    sync.Mutex // guards what follows
	at    uint64     // where the feed was at the last look
	since time.Time  // since when it has been there with more to come; zero before the first look
}

// look is called once a second.
func (w *feedWatch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	log, feed := w.log(), w.feed() // in this order: the feed may be ahead, not behind for nothing
	if feed >= log || feed != w.at || w.since.IsZero() {
		w.at, w.since = feed, w.now()
	}
}

// unready says that the feed stands still, or nothing.
func (w *feedWatch) unready() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	log, feed := w.log(), w.feed()
	stood := w.now().Sub(w.since)
	if feed >= log || feed != w.at || w.since.IsZero() || stood < feedPatience {
		return nil
	}
	return []string{fmt.Sprintf("the feed stands still: %d commits before the end of the log for %s", log-feed, stood.Truncate(time.Second))}
}
