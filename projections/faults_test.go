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

func TestWaitFor(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 1000, 5)
	r := run(t, config(t.TempDir(), shop.log))

	t.Run("reads_its_own_writes", func(t *testing.T) {
		for n := range int64(50) {
			c := shop.adjust("b1", "p1", 1)
			if err := r.WaitFor(t.Context(), Inventory, c.Position); err != nil {
				t.Fatal(err)
			}
			p, pos, err := r.Product(t.Context(), "b1", "p1")
			if err != nil {
				t.Fatal(err)
			}
			if want := 1001 + n; p.Stock != want || c.Position.After(pos) {
				t.Fatalf("stock %d at %s, want %d at %s or later", p.Stock, pos, want, c.Position)
			}
		}
	})
	t.Run("an_answer_says_the_position_also_when_nothing_concerns_it", func(t *testing.T) {
		c := shop.adjust("b1", "p1", 1)
		if err := r.WaitFor(t.Context(), Users, c.Position); err != nil {
			t.Fatal(err)
		}
		page, err := r.Users(t.Context(), UsersQuery{})
		if err != nil || page.Pos != c.Position {
			t.Fatalf("users are at %s, error %v; want %s", page.Pos, err, c.Position)
		}
	})
	t.Run("ends_with_its_context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c := shop.adjust("b1", "p1", 1)
		if err := r.WaitFor(ctx, Inventory, c.Position); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("wait: %v, want nil or the context's error", err)
		}
	})
	t.Run("refuses_positions_of_no_log", func(t *testing.T) {
		beyond := shop.log.Head()
		beyond.Seq += 1000
		if err := r.WaitFor(t.Context(), Inventory, beyond); !errors.Is(err, domain.ErrUnknownPosition) {
			t.Fatalf("wait: %v, want ErrUnknownPosition", err)
		}
	})
	t.Run("does_not_wait_for_what_has_stopped", func(t *testing.T) {
		r.stop()
		c := shop.adjust("b1", "p1", 1)
		if err := r.WaitFor(context.Background(), Inventory, c.Position); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("wait: %v, want ErrUnavailable", err)
		}
	})
}

func TestIdentityShowsWhatWasWaitedFor(t *testing.T) {
	shop := newShop(t)
	r := run(t, config(t.TempDir(), shop.log))
	token := domain.Identity{UserID: "u1", Role: domain.RoleAdmin, Branches: []string{"b9"}, DeviceID: "d1"}
	if got := r.Identity(token); got.Role != domain.RoleAdmin {
		t.Fatalf("identity is %+v, want the token's", got)
	}
	for n := range 30 {
		branch := []string{"b1", "b2", "b3"}[n%3]
		c := shop.must(domain.CommandSetUser, "", domain.SetUser{UserID: "u1", Role: domain.RoleStaff, Branches: []string{branch}, Disabled: n%2 == 0})
		if err := r.WaitFor(t.Context(), Users, c.Position); err != nil {
			t.Fatal(err)
		}
		got := r.Identity(token)
		if got.Role != domain.RoleStaff || got.Disabled != (n%2 == 0) || len(got.Branches) != 1 || got.Branches[0] != branch || got.DeviceID != "d1" {
			t.Fatalf("identity is %+v after %d changes", got, n+1)
		}
	}
}

// A file that is folded again goes through the rights of long ago; nobody may
// get them back meanwhile.
func TestIdentityNeverGoesBack(t *testing.T) {
	d := newDirectory()
	token := domain.Identity{UserID: "u1", Role: domain.RoleStaff}
	put := func(pos int64, role string) {
		d.put([]knownUser{{pos, domain.User{ID: "u1", Known: true, Role: role}}})
	}
	put(7, domain.RoleManager)
	put(3, domain.RoleAdmin)
	if got := d.identity(token); got.Role != domain.RoleManager {
		t.Errorf("role is %s, want the later one, manager", got.Role)
	}
	put(9, domain.RoleStaff)
	if got := d.identity(token); got.Role != domain.RoleStaff {
		t.Errorf("role is %s, want the latest, staff", got.Role)
	}
}

func TestAGapInTheLogStopsTheFold(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	shop.adjust("b1", "p1", 1)
	if err := gapless(0, shop.log.all()); err != nil {
		t.Errorf("the whole log: %v", err)
	}
	log := shop.log.all()
	for name, commits := range map[string][]*domain.Commit{"at_the_beginning": log[1:], "in_between": {log[0], log[2]}, "twice": {log[0], log[0]}} {
		if err := gapless(0, commits); !errors.Is(err, domain.ErrCorrupt) {
			t.Errorf("a gap %s: %v, want ErrCorrupt", name, err)
		}
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
