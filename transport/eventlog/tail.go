package eventlog

import "sync"

// tail is the part of the index that is not in its file yet. It holds at most
// one batch, and only what is durable in the log.
type tail struct {
	mu       sync.RWMutex // guards all below
	entries  []indexEntry // by seq
	commands map[[16]byte]uint64
}

func (t *tail) add(entries []indexEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(entries)
}

// set replaces all.
func (t *tail) set(entries []indexEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = t.entries[:0]
	clear(t.commands)
	t.put(entries)
}

// put needs mu.
func (t *tail) put(entries []indexEntry) {
	if t.commands == nil {
		t.commands = map[[16]byte]uint64{}
	}
	t.entries = append(t.entries, entries...)
	for i := range entries {
		if e := &entries[i]; e.keyed {
			t.commands[e.command] = e.seq
		}
	}
}

func (t *tail) end() (last indexEntry, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.entries) == 0 {
		return indexEntry{}, false
	}
	return t.entries[len(t.entries)-1], true
}

// command returns the sequence of a command, or 0.
func (t *tail) command(key [16]byte) uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.commands[key]
}

// stream returns up to limit entries of a stream after a version.
func (t *tail) stream(stream string, after uint64, limit int) (entries []indexEntry) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := range t.entries {
		if e := &t.entries[i]; e.version > after && e.stream == stream {
			if entries = append(entries, *e); len(entries) == limit {
				break
			}
		}
	}
	return entries
}
