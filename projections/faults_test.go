package projections

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

// lines is a logger's output, safe to read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (r *running) path(projection string) string { return r.byName[projection].served.file.path }

// A file that is no good is found when it is opened, and folded again.
func TestDamagedFilesAreFoldedAgain(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"flipped_bit_within_a_value": func(t *testing.T, path string) {
			raw := read(t, path)
			at := bytes.Index(raw, []byte("SKU-p1"))
			if at < 0 {
				t.Fatal("no such value in the file")
			}
			raw[at+4] ^= 1
			write(t, path, raw)
		},
		"truncated": func(t *testing.T, path string) { write(t, path, read(t, path)[:5000]) },
		"truncated_without_a_seal": func(t *testing.T, path string) {
			write(t, path, read(t, path)[:5000])
			remove(t, sealName(path))
		},
		"pages_of_rubbish_without_a_seal": func(t *testing.T, path string) {
			raw := read(t, path)
			for i := 4096; i < len(raw); i++ {
				raw[i] ^= 0x5a
			}
			write(t, path, raw)
			remove(t, sealName(path))
		},
		"not_a_database": func(t *testing.T, path string) {
			write(t, path, []byte(strings.Repeat("no database. ", 1000)))
			remove(t, sealName(path))
		},
		"empty": func(t *testing.T, path string) {
			write(t, path, nil)
			remove(t, sealName(path))
		},
		"gone": func(t *testing.T, path string) { remove(t, path) },
		"another_schema": func(t *testing.T, path string) {
			remove(t, sealName(path))
			c, err := connect(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.script("PRAGMA user_version = 1; DROP TABLE products"); err != nil {
				t.Fatal(err)
			}
			if err := c.close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			shop := newShop(t)
			shop.open("b1")
			shop.product("b1", "p1", 10, 5)
			for range 300 {
				shop.adjust("b1", "p1", 1)
			}
			dir := t.TempDir()
			r := run(t, config(dir, shop.log))
			r.settle(shop.log)
			want := r.digests()
			path := r.path(Inventory)
			r.close()
			damage(t, path)
			said := &lines{}
			c := config(dir, shop.log)
			c.Logger = slog.New(slog.NewTextHandler(said, nil))
			r = run(t, c)
			r.settle(shop.log)
			compare(t, r.digests(), want)
			if name != "empty" && !strings.Contains(said.String(), "projection=inventory") {
				t.Errorf("the log says %q, want a line on the inventory's file", said)
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestFilesOfAnotherLogAreFoldedAgain(t *testing.T) {
	dir := t.TempDir()
	first := newShop(t)
	first.trade(rand.New(rand.NewPCG(1, 1)), 300)
	r := run(t, config(dir, first.log))
	r.settle(first.log)
	r.close()

	second := newShop(t)
	second.log.BeginEpoch() // recreated
	second.trade(rand.New(rand.NewPCG(2, 2)), 500)
	r = run(t, config(dir, second.log))
	r.settle(second.log)
	got := r.digests()
	fresh := run(t, config(t.TempDir(), second.log))
	fresh.settle(second.log)
	compare(t, got, fresh.digests())
}

// A query that meets damage has the file folded again while the node runs.
func TestDamageFoundByAQueryIsMended(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	r := run(t, config(t.TempDir(), shop.log))
	r.settle(shop.log)
	want := r.digests()
	runner := r.byName[Inventory]
	hurt, err := runner.look()
	if err != nil {
		t.Fatal(err)
	}
	runner.progress.damage(hurt, &stale{})
	hurt.views.Done()
	for { // until it is mended
		f, err := runner.look()
		if err == nil {
			f.views.Done()
			if f != hurt {
				break
			}
		}
		if err := r.WaitFor(t.Context(), Inventory, shop.adjust("b1", "p1", 0+1).Position); err != nil {
			t.Fatal(err)
		}
	}
	r.settle(shop.log)
	if got := r.digests(); got[Inventory] == want[Inventory] {
		t.Error("the digest is as before, want one with the adjustments since")
	}
	fresh := run(t, config(t.TempDir(), shop.log))
	fresh.settle(shop.log)
	compare(t, r.digests(), fresh.digests())
}

type stale struct{}

func (*stale) Error() string { return "a page is rubbish" }
func (*stale) Unwrap() error { return errStale }

// rotten is a log that can be read up to a sequence only: a page after it is
// damaged, and SQLite says so.
type rotten struct {
	domain.Log
	from  uint64
	cause error
}

func newRotten(t *testing.T, log domain.Log, from uint64) rotten {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log.db")
	write(t, path, []byte(strings.Repeat("no database. ", 1000)))
	_, cause := connect(path, "journal_mode(WAL)")
	if !damaged(cause) {
		t.Fatalf("SQLite says %v, want it to see the damage", cause)
	}
	return rotten{log, from, fmt.Errorf("%w: %s: %w", domain.ErrCorrupt, "log.db", cause)}
}

func (l rotten) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	if after >= l.from {
		return nil, l.cause
	}
	return l.Log.Read(ctx, after, min(limit, int(l.from-after)))
}

func (l rotten) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	return l.Read(ctx, after, limit)
}

// Damage in the log is not damage in what was folded of it: the files stay, and
// serve.
func TestADamagedLogCostsNoFile(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(93, 1)), 300)
	c := config(t.TempDir(), shop.log)
	r := run(t, c)
	r.settle(shop.log)
	want, path := r.digests(), r.path(Users)
	r.close()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}

	log := newRotten(t, shop.log, shop.log.Head().Seq)
	failed := make(chan string, 1000)
	c.Log = log
	c.Observe.Failed = func(projection string, _ error) {
		select {
		case failed <- projection:
		default:
		}
	}
	r = run(t, c)
	times := map[string]int{}
	for len(times) < len(r.Names()) || slices.Min(slices.Collect(maps.Values(times))) < 3 {
		times[<-failed]++
	}
	compare(t, r.digests(), want)
	for _, s := range r.Status() {
		if s.State != StateFailed || !strings.Contains(s.LastError, "log.db") {
			t.Errorf("%s is %s with error %q, want it failed for log.db", s.Name, s.State, s.LastError)
		}
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the users' file was made anew, or is gone: %v", err)
	}
}

func TestOldVersionsGoOnceTheNewOneIsLive(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	c := config(t.TempDir(), shop.log)
	r := run(t, c)
	old := strings.Replace(r.path(Stats), "-v1", "-v0", 1)
	r.close()
	write(t, old, []byte("an old version's"))
	write(t, old+"-wal", []byte("and its log"))
	r = run(t, c)
	r.wait(shop.log.Head())
	shop.product("b1", "p1", 1, 0)
	r.wait(shop.log.Head()) // it was live before it folded this
	for _, path := range []string{old, old + "-wal"} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("stat %s: %v, want it gone", path, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	log := eventlogtest.NewMemory()
	for field, c := range map[string]Config{
		"Dir":          {Log: log, Append: log},
		"Log":          {Dir: t.TempDir(), Append: log},
		"Append":       {Dir: t.TempDir(), Log: log},
		"AlertsRepeat": {Dir: t.TempDir(), Log: log, Append: log, AlertsRepeat: "never"},
	} {
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("open without a good %s: %v, want an error that names it", field, err)
		}
	}
}
