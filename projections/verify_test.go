package projections

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"bms/domain"
	"bms/transport/eventlog/eventlogtest"
)

func TestVerificationComparesTwoFoldsWithTheLiveOne(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(81, 1)), 700)
	dir := t.TempDir()
	r := run(t, config(dir, shop.log))
	r.settle(shop.log)
	for _, name := range r.Names() {
		if err := r.Verify(name); err != nil {
			t.Fatal(err)
		}
		b := r.finish(name)
		want, pos, err := r.Digest(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if v := b.Verification; b.State != RebuildDone || !b.Verify || v == nil || !v.Equal || v.Live != want || v.First != want || v.Second != want || v.Position != pos {
			t.Errorf("verification of %s is %+v with %+v, want %s at %s three times", name, b, b.Verification, want, pos)
		}
	}
	if files, err := os.ReadDir(scratchDir(dir)); err != nil || len(files) != 0 {
		t.Errorf("scratch files %v, error %v; want none", files, err)
	}
}

// impure is a fold that depends on more than the log.
type impure struct {
	fold
	spoil func(f *file, e *domain.Event) error
	file  *file
}

func (i impure) apply(c *domain.Commit, e *domain.Event, p domain.Payload) error {
	if err := i.fold.apply(c, e, p); err != nil {
		return err
	}
	return i.spoil(i.file, e)
}

func TestVerificationCatchesAFoldThatIsNotDeterministic(t *testing.T) {
	n := 0
	for name, spoil := range map[string]func(*file, *domain.Event) error{
		"by_chance": func(f *file, e *domain.Event) error {
			return f.writer.exec("INSERT OR REPLACE INTO novelty VALUES (?)", rand.Int64())
		},
		"by_what_the_process_has_seen": func(f *file, e *domain.Event) error {
			n++
			return f.writer.exec("INSERT OR REPLACE INTO novelty VALUES (?)", int64(n))
		},
	} {
		t.Run(name, func(t *testing.T) {
			shop := newShop(t)
			shop.trade(rand.New(rand.NewPCG(82, 1)), 100)
			d := newVersion()
			start := d.start
			d.start = func(f *file) (fold, error) {
				fold, err := start(f)
				return impure{fold, spoil, f}, err
			}
			r := only(t, config(t.TempDir(), shop.log), d)
			r.wait(shop.log.Head())
			if err := r.Verify(Inventory); err != nil {
				t.Fatal(err)
			}
			b := r.finish(Inventory)
			if b.State != RebuildFailed || b.Verification.Equal || !strings.Contains(b.Error, "not deterministic") {
				t.Errorf("it is %+v with %+v, want it failed as not deterministic", b, b.Verification)
			}
		})
	}
}

// A row that was changed behind the fold's back is found, and a rebuild puts it
// right.
func TestVerificationCatchesAFileThatIsNotWhatTheLogSays(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	dir := t.TempDir()
	r := only(t, config(dir, shop.log), inventoryDefinition())
	r.wait(shop.log.Head())
	path := r.path(Inventory)
	r.close()
	c, err := connect(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.script("UPDATE products SET stock = 11"); err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	r = only(t, config(dir, shop.log), inventoryDefinition())
	if err := r.Verify(Inventory); err != nil {
		t.Fatal(err)
	}
	b := r.finish(Inventory)
	if v := b.Verification; b.State != RebuildFailed || v.Equal || v.First != v.Second || v.Live == v.First || !strings.Contains(b.Error, "rebuild") {
		t.Errorf("it is %+v with %+v, want the live one to differ", b, b.Verification)
	}
	if err := r.Rebuild(Inventory); err != nil {
		t.Fatal(err)
	}
	r.finish(Inventory)
	if err := r.Verify(Inventory); err != nil {
		t.Fatal(err)
	}
	if b := r.finish(Inventory); b.State != RebuildDone || !b.Verification.Equal {
		t.Errorf("after a rebuild it is %+v, want equal digests", b)
	}
}

// Two nodes note the same digests at the same places, however they batch.
func TestDigestsAreNotedWhereTwoNodesCanCompareThem(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	for shop.log.Head().Seq < noteStep-5 {
		shop.adjust("b1", "p1", 1)
	}
	// By its clock it has just taken one, so that none is due wherever it is.
	now := shop.now
	open := func(c Config) *running {
		c.Now = func() time.Time { return now }
		s := openOnly(t, c, inventoryDefinition())
		s.runners[0].notes.at = now
		return runSet(t, s)
	}
	var nodes []*running
	noted := make(chan struct{}, 10)
	dirs := []string{t.TempDir(), t.TempDir()}
	for i, dir := range dirs {
		c := config(dir, shop.log)
		c.Log = reader{shop.log, 400 + 600*i}
		c.fault = func(_, step string) {
			if step == stepNoted {
				noted <- struct{}{}
			}
		}
		r := open(c)
		r.wait(shop.log.Head())
		nodes = append(nodes, r)
	}
	for range 30 {
		shop.adjust("b1", "p1", 1)
	}
	var lists []string
	for range nodes {
		<-noted
	}
	for _, r := range nodes {
		r.wait(shop.log.Head())
		list, err := r.NotedDigests(Inventory)
		if err != nil || len(list) != 1 || list[0].Position.Seq != noteStep {
			t.Fatalf("noted are %v, error %v; want one at %d", list, err, noteStep)
		}
		if s := r.status(Inventory); s.Digest == nil || *s.Digest != list[0] {
			t.Errorf("the status has %v, want %v", s.Digest, list[0])
		}
		lists = append(lists, fmt.Sprint(list))
	}
	if lists[0] != lists[1] {
		t.Errorf("two nodes have noted %s and %s", lists[0], lists[1])
	}
	// They are still known after a restart.
	nodes[0].close()
	again := open(config(dirs[0], shop.log))
	list, err := again.NotedDigests(Inventory)
	if err != nil || fmt.Sprint(list) != lists[0] {
		t.Errorf("after a restart noted are %v, error %v; want %s", list, err, lists[0])
	}
}

func TestNotedDigestsAreBoundedAndForgottenWithTheirLog(t *testing.T) {
	log := eventlogtest.NewMemory()
	var n notes
	dir := t.TempDir()
	n.init(dir, inventoryDefinition())
	at := func(seq int) domain.Position { return domain.Position{Epoch: log.Head().Epoch, Seq: uint64(seq)} }
	for i := range 3 * maxNotes {
		if err := n.add(at(i+1), "d"); err != nil {
			t.Fatal(err)
		}
	}
	raw := string(read(t, n.path))
	if lines := strings.Count(raw, "\n"); lines > 2*maxNotes || !strings.HasSuffix(raw, at(3*maxNotes).String()+" v1 d\n") {
		t.Errorf("the file has %d lines, want at most %d and the last one noted", lines, 2*maxNotes)
	}
	var again notes
	again.init(dir, inventoryDefinition())
	if err := again.load(log); err != nil { // an empty log doesn't know any
		t.Fatal(err)
	}
	if got := again.all(); len(got) != 0 {
		t.Errorf("%d digests of another log are kept, want none", len(got))
	}
}
