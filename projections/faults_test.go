package projections

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bms/domain"
	"bms/projections/pagesum"
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
		"pages_of_rubbish": func(t *testing.T, path string) {
			raw := read(t, path)
			for i := 4096; i < len(raw); i++ {
				raw[i] ^= 0x5a
			}
			write(t, path, raw)
		},
		"not_a_database": func(t *testing.T, path string) {
			write(t, path, []byte(strings.Repeat("no database. ", 1000)))
		},
		"empty": func(t *testing.T, path string) {
			write(t, path, nil)
		},
		"gone": func(t *testing.T, path string) { remove(t, path) },
		"another_schema": func(t *testing.T, path string) {
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
			r.mended()
			r.settle(shop.log)
			compare(t, r.digests(), want)
			if name != "empty" && !strings.Contains(said.String(), "projection=inventory") {
				t.Errorf("the log says %q, want a line on the inventory's file", said)
			}
		})
	}
}

// mended returns when every row of every projection can be read.
func (r *running) mended() {
	r.t.Helper()
	for _, name := range r.Names() {
		for {
			_, _, err := r.Digest(context.Background(), name)
			if err == nil {
				break
			}
			if !errors.Is(err, ErrUnavailable) {
				r.t.Fatalf("digest of %s: %v, want ErrUnavailable until it is mended", name, err)
			}
			// Answered once the goroutine that folds has come to it.
			if err := r.byName[name].ask(context.Background(), func(context.Context) error { return nil }); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// A flipped bit in any page of any projection is found, with nobody asking for
// what is in that page: what is read from it is not served, and the projection
// is what the log says again.
func TestAFlippedBitIsFoundInEveryProjection(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(94, 1)), 500)
	shop.notify("notifications:u1", "Till 3", "")
	dir := t.TempDir()
	r := run(t, config(dir, shop.log))
	r.settle(shop.log)
	want, paths := r.digests(), map[string]string{}
	for _, name := range r.Names() {
		paths[name] = r.path(name)
	}
	r.close()
	random := rand.New(rand.NewPCG(94, 2))
	for _, path := range paths {
		raw := read(t, path)
		c, err := connect(path)
		if err != nil {
			t.Fatal(err)
		}
		// In a page of a table: an index may not be read at all.
		root := int64(0)
		if _, err := c.one(t.Context(), func(r row) error { root = r.int(0); return nil }, "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'local_%' AND name NOT LIKE 'epochs' ORDER BY rootpage DESC LIMIT 1"); err != nil || root < 2 {
			t.Fatalf("root page %d of %s: %v", root, path, err)
		}
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
		raw[(root-1)*pagesum.Size+random.Int64N(pagesum.Size-pagesum.Tail)] ^= 1 << random.IntN(8)
		write(t, path, raw)
	}
	failed := make(chan string, 1000)
	c := config(dir, shop.log)
	c.Observe.Failed = func(projection string, _ error) { failed <- projection }
	said := &lines{}
	c.Logger = slog.New(slog.NewTextHandler(said, nil))
	r = run(t, c)
	found := map[string]bool{Users: true} // it is read at the start
	for len(found) < len(r.Names()) {
		found[<-failed] = true
	}
	r.mended()
	r.settle(shop.log)
	compare(t, r.digests(), want)
	if n := strings.Count(said.String(), "projection file is damaged"); n != len(r.Names()) {
		t.Errorf("%d files were said to be damaged, want %d:\n%s", n, len(r.Names()), said)
	}
}

// A changed value is not decided upon: the state of a branch is then read from
// the log.
func TestABranchIsNotLoadedFromADamagedPage(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	dir := t.TempDir()
	r := run(t, config(dir, shop.log))
	r.settle(shop.log)
	path := r.path(Branches)
	r.close()
	raw := read(t, path)
	at := bytes.Index(raw, []byte(`"stock":10`))
	if at < 0 {
		t.Fatal("no such value in the file")
	}
	raw[at+len(`"stock":`)] = '5'
	write(t, path, raw)

	s, err := Open(t.Context(), config(dir, shop.log)) // nothing is folded
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	state, version, err := s.LoadBranch(t.Context(), domain.StreamOfBranch("b1"))
	if b, ok := state.(*domain.Branch); !ok || err != nil || version != 0 || len(b.Products) != 0 {
		t.Errorf("got version %d of %+v, %v; want to be told to read the log from its beginning", version, state, err)
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

// What was folded of a log that has lost its end since is kept: it is the log
// that is wrong.
func TestALogThatHasLostItsEndIsSaidToBeCorrupt(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(95, 1)), 100)
	c := config(t.TempDir(), shop.log)
	r := run(t, c)
	r.settle(shop.log)
	path := r.path(Inventory)
	r.close()
	short := newShop(t)
	short.trade(rand.New(rand.NewPCG(95, 1)), 50)
	c.Log, c.Append = short.log, short.log
	if _, err := Open(t.Context(), c); !errors.Is(err, domain.ErrCorrupt) || !strings.Contains(err.Error(), path) {
		t.Errorf("open: %v, want ErrCorrupt that names %s", err, path)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
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
	// The file may be mended before the first look at it.
	shop.adjust("b1", "p1", 1)
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
	read  func() // whenever somebody meets the damage
}

func newRotten(t *testing.T, log domain.Log, from uint64) rotten {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log.db")
	write(t, path, []byte(strings.Repeat("no database. ", 1000)))
	_, cause := connect(path, "journal_mode(WAL)")
	if !damaged(cause) {
		t.Fatalf("SQLite says %v, want it to see the damage", cause)
	}
	return rotten{log, from, fmt.Errorf("%w: %s: %w", domain.ErrCorrupt, "log.db", cause), func() {}}
}

func (l rotten) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	if after >= l.from {
		l.read()
		return nil, l.cause
	}
	return l.Log.Read(ctx, after, min(limit, int(l.from-after)))
}

func (l rotten) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	return l.Read(ctx, after, limit)
}

// Damage in the log is not damage in what was folded of it: the files stay, and
// serve. Until it can be read a projection has failed, also while it tries again.
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
	c.Observe.Failed = func(projection string, _ error) {
		select {
		case failed <- projection:
		default:
		}
	}
	var serving atomic.Pointer[running] // once all have failed
	haveFailed := func() {
		if r := serving.Load(); r != nil {
			for _, s := range r.Status() {
				if s.State != StateFailed || !strings.Contains(s.LastError, "log.db") {
					t.Errorf("%s is %s with error %q, want it failed for log.db", s.Name, s.State, s.LastError)
				}
			}
		}
	}
	log.read = haveFailed
	c.Log = log
	r = run(t, c)
	times := map[string]int{}
	least := func(n int) bool {
		return len(times) == len(r.Names()) && slices.Min(slices.Collect(maps.Values(times))) >= n
	}
	for !least(3) {
		times[<-failed]++
		if least(1) {
			serving.Store(r)
		}
	}
	compare(t, r.digests(), want)
	haveFailed()
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
	old := strings.Replace(r.path(Stats), "-v2", "-v1", 1)
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
