package projections

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"bms/domain"
)

func checkFiles(t *testing.T, dir string, log domain.Reader) map[string]FileCheck {
	t.Helper()
	scratch := t.TempDir()
	checks, err := CheckFiles(t.Context(), dir, log, scratch, nil)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Fatalf("left in scratch: %v, %v", left, err)
	}
	byName := map[string]FileCheck{}
	for _, c := range checks {
		byName[c.Name] = c
	}
	if len(byName) != len(checks) {
		t.Fatalf("a projection twice: %+v", checks)
	}
	return byName
}

func TestFilesAreCheckedFromOutsideWhileANodeHasThem(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(91, 1)), 900)
	dir := t.TempDir()
	r := run(t, config(dir, shop.log))
	r.settle(shop.log)
	checks := checkFiles(t, dir, shop.log)
	for _, name := range r.Names() {
		want, _, err := r.Digest(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if c := checks[name]; !c.Equal() || c.Digest != want || name == Inventory && c.Position.Seq == 0 {
			t.Errorf("%s: %+v, want %s twice", name, c, want)
		}
	}
}

func TestAFileThatIsNotWhatTheLogComesToIsFoundOut(t *testing.T) {
	shop := newShop(t)
	shop.trade(rand.New(rand.NewPCG(92, 1)), 300)
	for name, harm := range map[string]struct {
		sql   string
		found func(FileCheck) bool
	}{
		"row_changed":    {"UPDATE products SET stock = stock + 1", func(c FileCheck) bool { return c.Err == nil && !c.Equal() }},
		"ahead_of_log":   {"UPDATE position SET seq = seq + 1000", func(c FileCheck) bool { return c.Err != nil }},
		"of_another_log": {"UPDATE position SET epoch = epoch + 1", func(c FileCheck) bool { return c.Err != nil }},
		"no_position":    {"DELETE FROM position", func(c FileCheck) bool { return c.Err != nil }},
		"not_complete":   {"UPDATE position SET beside = 1", func(c FileCheck) bool { return c.Name == "" }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := run(t, config(dir, shop.log))
			r.settle(shop.log)
			r.stop()
			file := filepath.Join(dir, inventoryDefinition().fileName(0))
			c, err := connect(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.exec(harm.sql); err != nil {
				t.Fatal(err)
			}
			if err := c.close(); err != nil {
				t.Fatal(err)
			}
			checks := checkFiles(t, dir, shop.log)
			if c := checks[Inventory]; !harm.found(c) {
				t.Errorf("got %+v", c)
			}
			if c := checks[Stats]; !c.Equal() {
				t.Errorf("of another projection: %+v", c)
			}
		})
	}
}

func TestNotedDigestsAreReadFromOutside(t *testing.T) {
	dir := t.TempDir()
	at := func(seq uint64) domain.Position { return domain.Position{Epoch: 1, Seq: seq} }
	text := fmt.Sprintf("%s v1 aa\n%s v2 bb\n%s v1 cc\n%s v1 dd\nhalf a li", at(10), at(15), at(20), at(30))
	if err := os.WriteFile(filepath.Join(dir, "stats.digests"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := NotedDigests(dir, at(25))
	want := []ProjectionDigest{{"stats", NotedDigest{at(20), "v1", "cc"}}, {"stats", NotedDigest{at(15), "v2", "bb"}}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v, %v, want %v", got, err, want)
	}
	if got, err := NotedDigests(filepath.Join(dir, "none"), at(25)); err != nil || got != nil {
		t.Fatalf("got %v, %v of no folder", got, err)
	}
}
