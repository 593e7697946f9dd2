package projections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bms/domain"
)

// dbFiles are the names of a projection's files.
func dbFiles(t *testing.T, dir, projection string) []string {
	t.Helper()
	files, err := filesOf(dir, projection)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(f.path))
	}
	return names
}

// Readers and a writer go on all the while: nobody gets an error or sees time
// go back, and afterwards every row is what a fresh fold gives (invariant 6).
func TestAllIsRebuiltWhileAWriterAppendsAndReadersAsk(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(21, 1)), 400)
	dir := t.TempDir()
	c := config(dir, shop.log)
	c.Log = reader{shop.log, 50} // many batches
	r := run(t, c)
	r.settle(shop.log)

	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	var asked atomic.Int64
	for range 2 {
		readers.Go(func() {
			last := map[string]domain.Position{}
			for ctx.Err() == nil {
				for _, name := range r.Names() {
					pos, err := r.view(t.Context(), name, func(v *snapshot) error { _, err := v.digest(t.Context(), nil); return err })
					if err != nil || last[name].After(pos) {
						t.Errorf("%s answers at %s after %s, error %v", name, pos, last[name], err)
						return
					}
					last[name] = pos
					asked.Add(1)
				}
			}
		})
	}
	for round := range 2 {
		for _, name := range r.Names() {
			if err := r.Rebuild(name); err != nil {
				t.Fatal(err)
			}
			if err := r.Rebuild(name); !errors.Is(err, ErrRebuilding) {
				t.Errorf("a second rebuild of %s: %v, want ErrRebuilding", name, err)
			}
		}
		shop.trade(rand.New(rand.NewPCG(22, uint64(round))), 100)
		for _, name := range r.Names() {
			b := r.finish(name)
			if b.State != RebuildDone || b.Events == 0 {
				t.Errorf("rebuild of %s is %+v, want it done", name, b)
			}
			if err := r.WaitFor(t.Context(), name, shop.log.Head()); err != nil {
				t.Errorf("wait for %s after its rebuild: %v", name, err)
			}
		}
	}
	stop()
	readers.Wait()
	if asked.Load() == 0 {
		t.Error("nobody asked: the test shows nothing")
	}
	r.settle(shop.log)
	once(t, shop.log)
	fresh := run(t, config(t.TempDir(), shop.log))
	fresh.settle(shop.log)
	compare(t, r.digests(), fresh.digests())
	for _, name := range r.Names() {
		if files := dbFiles(t, dir, name); len(files) != 1 || !strings.Contains(files[0], ".2.db") {
			t.Errorf("files of %s are %q, want only the second generation", name, files)
		}
	}
	for _, s := range r.Status() {
		if s.State != StateLive || s.Rebuild != nil || s.LastRebuild == nil {
			t.Errorf("%s is %s with rebuild %v, last %v; want live, none, one", s.Name, s.State, s.Rebuild, s.LastRebuild)
		}
	}

	// And it is found again after a restart.
	r.close()
	r = run(t, config(dir, shop.log))
	r.wait(shop.log.Head())
	compare(t, r.digests(), fresh.digests())
}

// held stops at the nth time of a step until go on is called.
type held struct {
	reached chan struct{}
	goOn    func()
}

func holdAt(c *Config, projection, step string, nth int64) *held {
	release, n, before := make(chan struct{}), atomic.Int64{}, c.fault
	h := &held{reached: make(chan struct{}), goOn: sync.OnceFunc(func() { close(release) })}
	c.fault = func(name, at string) {
		if before != nil {
			before(name, at)
		}
		if name == projection && at == step && n.Add(1) == nth {
			close(h.reached)
			<-release
		}
	}
	return h
}

func TestACancelledRebuildHasNoEffect(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(31, 1)), 300)
	dir := t.TempDir()
	r := run(t, config(dir, shop.log))
	r.settle(shop.log)
	want := r.digests()
	r.close()

	c := config(dir, shop.log)
	c.Log = reader{shop.log, 20}
	h := holdAt(&c, Stats, stepFolded, 1)
	r = run(t, c)
	r.wait(shop.log.Head())
	if err := r.CancelRebuild(Stats); !errors.Is(err, ErrNoRebuild) {
		t.Errorf("cancel: %v, want ErrNoRebuild", err)
	}
	if err := r.Rebuild(Stats); err != nil {
		t.Fatal(err)
	}
	<-h.reached
	s := r.status(Stats)
	if s.State != StateRebuilding || s.Rebuild == nil || s.Rebuild.State != RebuildFolding || s.Rebuild.Head.Seq == 0 {
		t.Errorf("status while it folds is %+v with %+v, want rebuilding", s, s.Rebuild)
	}
	if err := r.CancelRebuild(Stats); err != nil {
		t.Fatal(err)
	}
	h.goOn()
	if b := r.finish(Stats); b.State != RebuildCancelled {
		t.Errorf("it is %+v, want it cancelled", b)
	}
	if files := dbFiles(t, dir, Stats); len(files) != 1 || files[0] != "stats-v2.db" {
		t.Errorf("files are %q, want that which was there before", files)
	}
	if s := r.status(Stats); s.State != StateLive {
		t.Errorf("it is %s, want live", s.State)
	}
	compare(t, r.digests(), want)
	if err := r.Rebuild(Stats); err != nil {
		t.Fatal(err)
	}
	if b := r.finish(Stats); b.State != RebuildDone {
		t.Errorf("the next is %+v, want it done", b)
	}
	compare(t, r.digests(), want)
}

// Killed anywhere, the next start goes on with the half-built file where it was,
// or has the one or the other, never neither and never a mixture.
func TestARebuildSurvivesAKillAtEveryStep(t *testing.T) {
	for _, step := range []string{stepFolded, stepCommitted, stepSwapping, stepPromoted, stepSwapped} {
		for _, nth := range []int{1, 3} {
			if nth > 1 && step != stepFolded && step != stepCommitted {
				continue
			}
			t.Run(fmt.Sprintf("%s_%d", step, nth), func(t *testing.T) {
				shop := newShop(t)
				shop.trade(rand.New(rand.NewPCG(41, uint64(nth))), 400)
				dir, left := t.TempDir(), t.TempDir()
				c := config(dir, shop.log)
				c.Log = reader{shop.log, 20}
				var armed atomic.Bool
				seen := 0
				c.fault = func(projection, at string) {
					if armed.Load() && projection == Alerts && at == step {
						if seen++; seen == nth {
							snapshotFiles(t, dir, left)
						}
					}
				}
				r := run(t, c)
				r.settle(shop.log)
				want, before := r.digests(), len(shop.log.All())
				armed.Store(true)
				if err := r.Rebuild(Alerts); err != nil {
					t.Fatal(err)
				}
				if b := r.finish(Alerts); b.State != RebuildDone || seen < nth {
					t.Fatalf("rebuild is %+v, and came by %d times, want %d", b, seen, nth)
				}
				r.close()

				set, err := Open(t.Context(), config(left, shop.log))
				if err != nil {
					t.Fatal(err)
				}
				half := set.byName[Alerts].rebuilds.job
				if wantHalf := step != stepPromoted && step != stepSwapped; (half != nil) != wantHalf {
					t.Errorf("a half-built file to go on with: %t, want %t", half != nil, wantHalf)
				}
				if half != nil && (nth > 1 || step == stepSwapping) && half.half.through.Seq == 0 {
					t.Error("the half-built file is at the beginning, want it where it was")
				}
				r = runSet(t, set)
				if half != nil {
					if b := r.finish(Alerts); b.State != RebuildDone {
						t.Errorf("what goes on is %+v, want it done", b)
					}
				}
				r.settle(shop.log)
				compare(t, r.digests(), want)
				if got := len(shop.log.All()); got != before {
					t.Errorf("the log has %d commits, want %d: a rebuild emitted", got, before)
				}
				r.close()
				if files := dbFiles(t, left, Alerts); len(files) != 1 {
					t.Errorf("files are %q, want one", files)
				}
			})
		}
	}
}

// Stopped in order, a rebuild goes on at the next start.
func TestARebuildGoesOnAfterARestart(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(51, 1)), 400)
	dir := t.TempDir()
	c := config(dir, shop.log)
	r := run(t, c)
	r.settle(shop.log)
	want := r.digests()
	r.close()
	c.Log = reader{shop.log, 20}
	h := holdAt(&c, Inventory, stepCommitted, 2)
	r = run(t, c)
	r.wait(shop.log.Head())
	if err := r.Rebuild(Inventory); err != nil {
		t.Fatal(err)
	}
	<-h.reached
	go h.goOn()
	r.close()
	r = run(t, config(dir, shop.log))
	if b := r.finish(Inventory); b.State != RebuildDone {
		t.Errorf("it is %+v, want it done", b)
	}
	r.wait(shop.log.Head())
	compare(t, r.digests(), want)
}

// A rebuild of the alerts emits nothing, whatever it is that it finds; what the
// live one owes comes once, before the swap or after.
func TestAlertsAreGivenOnceAcrossRebuilds(t *testing.T) {
	shop := newShop(t)
	r := run(t, config(t.TempDir(), shop.log))
	rebuilt := 0
	for round := range 12 {
		if err := r.Rebuild(Alerts); err != nil {
			t.Fatal(err)
		}
		shop.trade(rand.New(rand.NewPCG(61, uint64(round))), 60)
		if b := r.finish(Alerts); b.State == RebuildDone {
			rebuilt++
		}
	}
	r.settle(shop.log)
	once(t, shop.log)
	if rebuilt != 12 {
		t.Errorf("%d rebuilds were done, want 12", rebuilt)
	}
	before := len(shop.log.All())
	if err := r.Rebuild(Alerts); err != nil {
		t.Fatal(err)
	}
	r.finish(Alerts)
	r.settle(shop.log)
	if got := len(shop.log.All()); got != before {
		t.Errorf("the log has %d commits after a rebuild, want %d", got, before)
	}
}

// newVersion is the inventory's next version, whose rows differ.
func newVersion(reads ...int) definition {
	d := inventoryDefinition()
	d.version, d.reads = 2, reads
	d.schema += "CREATE TABLE novelty (id INTEGER PRIMARY KEY);"
	return d
}

// A new version is folded by itself; until it is done, the old one's file serves
// if its queries can read it.
func TestANewVersionIsFoldedWhileTheOldStateServes(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	dir := t.TempDir()
	r := only(t, config(dir, shop.log), inventoryDefinition())
	r.wait(shop.log.Head())
	r.close()
	old := shop.log.Head()
	later := shop.adjust("b1", "p1", 7).Position

	c := config(dir, shop.log)
	h := holdAt(&c, Inventory, stepSwapping, 1)
	r = only(t, c, newVersion(1))
	<-h.reached
	p, pos, err := r.Product(t.Context(), "b1", "p1")
	if err != nil || p.Stock != 10 || pos != old {
		t.Errorf("meanwhile the product is %+v at %s, error %v; want 10 at %s", p, pos, err, old)
	}
	s := r.status(Inventory)
	if s.Version != 1 || s.State != StateRebuilding || s.Rebuild == nil || s.Rebuild.Version != 2 {
		t.Errorf("meanwhile it is version %d, %s, with %+v; want 1, rebuilding, to 2", s.Version, s.State, s.Rebuild)
	}
	if reasons := r.Unready(); len(reasons) != 0 {
		t.Errorf("not ready for %q, want ready: it serves", reasons)
	}
	h.goOn()
	if err := r.WaitFor(t.Context(), Inventory, later); err != nil {
		t.Fatal(err)
	}
	if p, _, err = r.Product(t.Context(), "b1", "p1"); err != nil || p.Stock != 17 {
		t.Errorf("afterwards the product is %+v, error %v; want 17", p, err)
	}
	r.finish(Inventory)
	if s := r.status(Inventory); s.Version != 2 || s.State != StateLive {
		t.Errorf("afterwards it is version %d, %s; want 2, live", s.Version, s.State)
	}
	if files := dbFiles(t, dir, Inventory); len(files) != 1 || files[0] != "inventory-v2.1.db" {
		t.Errorf("files are %q, want only the new version's", files)
	}
}

// If the new version can't be folded, the old one's file goes on serving, and the
// projection says that it stays where it was left.
func TestANewVersionThatCannotBeFoldedSaysSo(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	c := config(t.TempDir(), shop.log)
	r := only(t, c, inventoryDefinition())
	r.wait(shop.log.Head())
	r.close()
	c.Log = newRotten(t, shop.log, 1)
	r = only(t, c, newVersion(1))
	if b := r.finish(Inventory); b.State != RebuildFailed {
		t.Errorf("the rebuild is %+v, want it failed", b)
	}
	if s := r.status(Inventory); s.Version != 1 || s.State != StateFailed || !strings.Contains(s.LastError, "log.db") {
		t.Errorf("it is version %d, %s with error %q; want 1, failed for log.db", s.Version, s.State, s.LastError)
	}
	if reasons := strings.Join(r.Unready(), "; "); !strings.Contains(reasons, "inventory has failed") {
		t.Errorf("not ready for %q, want that inventory has failed", reasons)
	}
	if p, _, err := r.Product(t.Context(), "b1", "p1"); err != nil || p.Stock != 10 {
		t.Errorf("the product is %+v, %v; want it served", p, err)
	}
}

// If its queries can't read the old file, the new one serves what it has folded.
func TestANewVersionThatCannotReadTheOldFileSaysThatItIsRebuilding(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	dir := t.TempDir()
	r := only(t, config(dir, shop.log), inventoryDefinition())
	r.wait(shop.log.Head())
	r.close()
	c := config(dir, shop.log)
	h := holdAt(&c, Inventory, stepFolded, 1)
	r = only(t, c, newVersion())
	<-h.reached
	if s := r.status(Inventory); s.State != StateRebuilding || s.Version != 2 {
		t.Errorf("it is version %d, %s; want 2, rebuilding", s.Version, s.State)
	}
	if reasons := strings.Join(r.Unready(), "; "); !strings.Contains(reasons, "inventory is catching up") {
		t.Errorf("not ready for %q, want that inventory is catching up", reasons)
	}
	if _, pos, err := r.Product(t.Context(), "b1", "p1"); !errors.Is(err, ErrNotFound) || pos.Seq != 0 {
		t.Errorf("meanwhile: error %v at %s, want ErrNotFound at the beginning", err, pos)
	}
	h.goOn()
	r.wait(shop.log.Head())
	shop.adjust("b1", "p1", 1)
	r.wait(shop.log.Head())
	if files := dbFiles(t, dir, Inventory); len(files) != 1 || files[0] != "inventory-v2.db" {
		t.Errorf("files are %q, want only the new version's", files)
	}
}

// The users in memory are those of the file that serves.
func TestRebuiltUsersAreKnownAtOnce(t *testing.T) {
	shop := newShop(t)
	set := shop.must(domain.CommandSetUser, "", domain.SetUser{UserID: "u1", Role: domain.RoleStaff, Branches: []string{"b1"}})
	r := run(t, config(t.TempDir(), shop.log))
	if err := r.WaitFor(t.Context(), Users, set.Position); err != nil {
		t.Fatal(err)
	}
	r.users.users["u1"].Role = domain.RoleAdmin // as a fold that was wrong would have it
	r.users.users["u2"] = &knownUser{1, domain.User{ID: "u2", Known: true, Role: domain.RoleAdmin}}
	if err := r.Rebuild(Users); err != nil {
		t.Fatal(err)
	}
	r.finish(Users)
	if got := r.Identity(domain.Identity{UserID: "u1", Role: domain.RoleAdmin}); got.Role != domain.RoleStaff {
		t.Errorf("role is %s, want staff", got.Role)
	}
	if got := r.Identity(domain.Identity{UserID: "u2", Role: domain.RoleStaff}); got.Role != domain.RoleStaff {
		t.Errorf("role of one the log doesn't know is %s, want what the token says", got.Role)
	}
	set = shop.must(domain.CommandSetUser, "", domain.SetUser{UserID: "u1", Role: domain.RoleManager, Branches: []string{"b1"}})
	if err := r.WaitFor(t.Context(), Users, set.Position); err != nil {
		t.Fatal(err)
	}
	if got := r.Identity(domain.Identity{UserID: "u1"}); got.Role != domain.RoleManager {
		t.Errorf("role is %s after a change, want manager", got.Role)
	}
}

// Scratch files and half-built ones of a rebuild that is given up don't stay.
func TestNothingIsLeftOfWhatIsGivenUp(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(71, 1)), 50)
	dir := t.TempDir()
	if err := os.MkdirAll(scratchDir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(scratchDir(dir), "stats-v2.db"), []byte("of a process that was killed"))
	r := run(t, config(dir, shop.log))
	r.settle(shop.log)
	if _, err := os.Stat(scratchDir(dir)); !os.IsNotExist(err) {
		t.Errorf("stat: %v, want the scratch folder gone", err)
	}
}

// A half-built file of another run of the machine is begun anew: it is written
// without waiting for the disk.
func TestAHalfBuiltFileIsNotTrustedAfterTheMachineWentDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	for _, boot := range []string{bootID(), "another run"} {
		f, err := openFile(path, inventoryDefinition().schema, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.writer.exec("UPDATE position SET boot = ?", boot); err != nil {
			t.Fatal(err)
		}
		if err := f.shut(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openFile(path, inventoryDefinition().schema, true); !errors.Is(err, errStale) {
		t.Fatalf("open: %v, want it not to be trusted", err)
	}
}

// Rebuilds begin and are swapped in while the projection's file is lost and found
// again and again: no file is opened twice or deleted under who has it open.
func TestRebuildsWhileFilesAreLostLeaveOneSoundFile(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(96, 1)), 60)
	dir := t.TempDir()
	r := only(t, config(dir, shop.log), statsDefinition())
	r.wait(shop.log.Head())
	runner := r.byName[Stats]
	const rounds = 60
	var lost sync.WaitGroup
	lost.Go(func() {
		for range rounds {
			if f, err := runner.look(); err == nil {
				runner.progress.damage(f, errStale)
				f.views.Done()
			}
			// Answered once the goroutine that folds has come to it.
			if err := runner.ask(t.Context(), func(context.Context) error { return nil }); err != nil {
				t.Error(err)
			}
		}
	})
	for range rounds {
		if err := r.Rebuild(Stats); err != nil {
			t.Fatal(err)
		}
		if b := r.finish(Stats); b.State != RebuildDone {
			t.Fatalf("the rebuild is %+v, want it done", b)
		}
	}
	lost.Wait()
	r.mended()
	shop.open("b9")
	shop.product("b9", "p1", 1, 0)
	r.wait(shop.log.Head())
	fresh := only(t, config(t.TempDir(), shop.log), statsDefinition())
	fresh.wait(shop.log.Head())
	compare(t, r.digests(), fresh.digests())
	// It is on disk, too: a new connection opens it by its name.
	r.close()
	r = only(t, config(dir, shop.log), statsDefinition())
	if p := r.status(Stats).Position; p != shop.log.Head() {
		t.Errorf("the file is at %s after a restart, want %s", p, shop.log.Head())
	}
}

// A rebuild that can't get on is in nobody's way: the only place is another's
// while it waits to try again.
func TestARebuildThatCannotGetOnBlocksNoOther(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(97, 1)), 100)
	c := config(t.TempDir(), shop.log)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one at once
	var broken atomic.Bool
	tried := make(chan struct{}, 1000)
	c.fault = func(projection, at string) {
		if projection == Stats && at == stepFolded && broken.Load() {
			tried <- struct{}{}
			panic("no room on the disk")
		}
	}
	r := run(t, c)
	r.settle(shop.log)
	broken.Store(true)
	if err := r.Rebuild(Stats); err != nil {
		t.Fatal(err)
	}
	<-tried
	if err := r.Rebuild(Users); err != nil {
		t.Fatal(err)
	}
	if b := r.finish(Users); b.State != RebuildDone {
		t.Errorf("the other's rebuild is %+v, want it done", b)
	}
	// It says why while it pauses; a new try that gets a commit further has
	// nothing to say until it fails, too.
	for s := r.status(Stats); s.Rebuild == nil || !strings.Contains(s.Rebuild.Error, "no room"); s = r.status(Stats) {
		if s.Rebuild == nil || s.Rebuild.State == RebuildDone || s.Rebuild.State == RebuildFailed {
			t.Fatalf("the rebuild that can't get on is %+v, want it to say why", s.Rebuild)
		}
		runtime.Gosched()
	}
	broken.Store(false)
	if b := r.finish(Stats); b.State != RebuildDone {
		t.Errorf("it is %+v once it can, want it done", b)
	}
}

// What won't be better the next time fails, and nothing is left of it.
func TestARebuildFromADamagedLogFails(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(98, 1)), 100)
	c := config(t.TempDir(), shop.log)
	r := run(t, c)
	r.settle(shop.log)
	want := r.digests()
	r.close()
	c.Log = newRotten(t, shop.log, shop.log.Head().Seq/2)
	r = run(t, c)
	if err := r.Rebuild(Stats); err != nil {
		t.Fatal(err)
	}
	if b := r.finish(Stats); b.State != RebuildFailed || !strings.Contains(b.Error, "log.db") {
		t.Errorf("it is %+v, want it failed for log.db", b)
	}
	compare(t, r.digests(), want)
	if files := dbFiles(t, c.Dir, Stats); len(files) != 1 {
		t.Errorf("files are %q, want that which was there before", files)
	}
}
