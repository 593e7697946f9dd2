package projections

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"bms/domain"
)

// While there is always somebody who looks at a file, its write-ahead log starts
// over all the same (invariant 9).
func TestTheWriteAheadLogIsBoundedWhileLooksOverlap(t *testing.T) {
	const pages, commits = 100, 200
	f, err := openFile(filepath.Join(t.TempDir(), "x.db"), "CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL);", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.boundWAL(pages); err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var looking sync.WaitGroup
	looks := make(chan struct{}, 1)
	for range maxReaders {
		looking.Go(func() {
			for !done.Load() {
				if _, err := f.view(t.Context(), func(v *snapshot) error {
					select {
					case looks <- struct{}{}:
					default:
					}
					_, err := v.one(t.Context(), func(row) error { return nil }, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT sum(i) FROM n")
					return err
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	longest := int64(0)
	for n := range commits {
		if n%100 == 0 {
			<-looks // they go on
		}
		if err := f.begin(); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := f.writer.exec("INSERT OR REPLACE INTO rows VALUES (?, hex(randomblob(1000)))", int64(n*7919+i*31)%5000); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.commit(domain.Position{Epoch: 1, Seq: uint64(n + 1)}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(f.path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, info.Size())
	}
	done.Store(true)
	looking.Wait()
	if err := f.shut(); err != nil {
		t.Fatal(err)
	}
	// A quarter more than the pages, and a commit, if no look takes as long as
	// they are held back; on a slow machine some do.
	if longest > 8*pages*walFrame {
		t.Errorf("the write-ahead log grew to %d pages, want %d at most", longest/walFrame, 8*pages)
	}
	t.Logf("it grew to %d pages", longest/walFrame)
}

// Whoever looks for longer than looks are held back is waited for again, and does
// not keep others out.
func TestALongLookKeepsNobodyOut(t *testing.T) {
	f, err := openFile(filepath.Join(t.TempDir(), "x.db"), "CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL);", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.boundWAL(10); err != nil {
		t.Fatal(err)
	}
	long, err := f.hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fold := func(from, to int) {
		t.Helper()
		for n := from; n < to; n++ {
			if err := f.begin(); err != nil {
				t.Fatal(err)
			}
			if err := f.writer.exec("INSERT INTO rows VALUES (?, hex(randomblob(3000)))", int64(n)); err != nil {
				t.Fatal(err)
			}
			if err := f.commit(domain.Position{Epoch: 1, Seq: uint64(n + 1)}); err != nil {
				t.Fatal(err)
			}
			if p, err := f.view(t.Context(), func(*snapshot) error { return nil }); err != nil || p.Seq != uint64(n+1) {
				t.Fatalf("looked at %v, %v, want commit %d", p, err, n+1)
			}
		}
	}
	fold(0, 8)
	if long.pos.Seq != 0 {
		t.Errorf("the long look is at %v, want the beginning", long.pos)
	}
	if err := long.release(); err != nil {
		t.Fatal(err)
	}
	fold(8, 60)
	info, err := os.Stat(f.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Size() / walFrame; got > 30 {
		t.Errorf("the write-ahead log has %d pages after the long look has ended, want 30 at most", got)
	}
	if err := f.shut(); err != nil {
		t.Fatal(err)
	}
}
