package projections

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bms/domain"
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

func (r *running) path(projection string) string { return r.byName[projection].path() }

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
	second.log.epoch++ // recreated
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
	runner.progress.damage(&stale{})
	for runner.progress.damageSeen() != nil { // until it is mended
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

func TestAnUnknownEventStopsOnlyWhoNeedsIt(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	before := shop.log.Head()
	newer := shop.sell("b1", "t1", "p1", 1)
	log := shop.log.replaced()
	for i := range log.commits[newer.Position.Seq-1].Events {
		log.commits[newer.Position.Seq-1].Events[i].Version = 99
	}
	unheard := &domain.Commit{Stream: "moon/1", Version: 1, CommandID: "x", Events: []domain.Event{{Type: "moon:landed", Version: 1, Data: []byte(`{}`)}}}
	if err := log.Append(context.Background(), unheard); err != nil {
		t.Fatal(err)
	}
	r := run(t, config(t.TempDir(), log))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stops := map[string]bool{Branches: true, Inventory: true, Transactions: true, Stats: true, Alerts: true, Users: false}
	for name, want := range stops {
		err := r.WaitFor(ctx, name, log.Head())
		if got := errors.Is(err, ErrUnavailable) && errors.Is(err, domain.ErrUnknownEvent); got != want {
			t.Errorf("wait for %s: %v, stopped %t, want %t", name, err, got, want)
		}
	}
	for _, s := range r.Status() {
		want := StateLive
		if stops[s.Name] {
			want = StateFailed
		}
		if s.State != want || (s.LastError != "") != stops[s.Name] {
			t.Errorf("%s is %s with error %q, want %s", s.Name, s.State, s.LastError, want)
		}
	}
	p, pos, err := r.Product(ctx, "b1", "p1")
	if err != nil || p.Stock != 10 || pos != (domain.Position{}) && pos.After(before) {
		t.Errorf("product is %+v at %s, error %v; want the state before %s", p, pos, err, before)
	}
}

// Invariant 7.
func TestAPanicInAFoldStopsThatProjectionForAMoment(t *testing.T) {
	for _, step := range []string{stepFolded, stepCommitted} {
		t.Run(step, func(t *testing.T) {
			shop := newShop(t)
			shop.trade(rand.New(rand.NewPCG(11, 11)), 200)
			var panics, failures atomic.Int64
			c := config(t.TempDir(), shop.log)
			c.Log = reader{shop.log, 40}
			c.fault = func(projection, at string) {
				if projection == Stats && at == step && panics.Add(1) <= 4 {
					panic("broken by the test")
				}
			}
			c.Observe.Failed = func(projection string, err error) {
				if projection != Stats {
					t.Errorf("%s failed: %v", projection, err)
				}
				failures.Add(1)
			}
			r := run(t, c)
			r.settle(shop.log)
			if got, want := failures.Load(), min(panics.Load(), 4); got != want || want == 0 {
				t.Errorf("%d failures were observed, want %d", got, want)
			}
			fresh := run(t, config(t.TempDir(), shop.log))
			fresh.settle(shop.log)
			compare(t, r.digests(), fresh.digests())
			for _, s := range r.Status() {
				if s.State != StateLive || s.LastError != "" {
					t.Errorf("%s is %s with error %q, want live", s.Name, s.State, s.LastError)
				}
			}
		})
	}
}

// A commit that always panics holds up only what comes after it.
func TestAFoldStopsRightBeforeTheCommitThatPanics(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	for range 20 {
		shop.adjust("b1", "p1", 1)
	}
	bad := shop.adjust("b1", "p1", 1).Position
	shop.adjust("b1", "p1", 1)
	c := config(t.TempDir(), shop.log)
	if err := c.defaults(); err != nil {
		t.Fatal(err)
	}
	d := inventoryDefinition()
	start := d.start
	d.start = func(f *file) (fold, error) {
		fold, err := start(f)
		return panicky{fold, bad}, err
	}
	r := newRunner(d, c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	before := domain.Position{Epoch: bad.Epoch, Seq: bad.Seq - 1}
	if err := r.progress.wait(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	if got := r.progress.position().Seq; got != before.Seq {
		t.Errorf("the fold is at %d, want %d, right before the commit that panics", got, before.Seq)
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
}

type panicky struct {
	fold
	at domain.Position
}

func (p panicky) commit(c *domain.Commit) error {
	if c.Position == p.at {
		panic("broken by the test")
	}
	return p.fold.commit(c)
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
	log := newMemlog()
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
