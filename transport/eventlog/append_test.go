package eventlog

import (
	"testing"

	"bms/domain"
)

// A commit says how durable it was itself, also one that follows from another
// and takes its metadata over.
func Test_a_commit_says_how_durable_it_was(t *testing.T) {
	dir := t.TempDir()
	inherited := map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	for i, durability := range []string{Relaxed, Fsync, Relaxed} {
		l := open(t, Config{Dir: dir, Durability: durability})
		c := &domain.Commit{Stream: "x", Version: uint64(i) + 1, CommandID: durability + string(rune('a'+i)), Metadata: inherited}
		if err := l.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		kept, err := l.FindCommand(t.Context(), "", c.CommandID)
		if err != nil {
			t.Fatal(err)
		}
		if kept.Durability() != durability || kept.Metadata["traceparent"] == "" {
			t.Errorf("%s with metadata %v, want %s and the trace", kept.Durability(), kept.Metadata, durability)
		}
		inherited = kept.Metadata
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
