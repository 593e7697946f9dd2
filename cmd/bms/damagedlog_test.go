package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bms/domain"
	"bms/projections"
)

// A damaged page in the log stops a projection that has to read it, which says
// so; no projection throws away what it has folded.
func Test_a_damaged_log_costs_no_read_model(t *testing.T) {
	clearEnvironment(t)
	dir := t.TempDir()
	node := startNode(t, dir)
	trade(t, node)
	for i := range 2500 { // more than a start reads
		node.commit(t, domain.CommandAdjustStock, "b2", domain.AdjustStock{ProductID: "p1", Delta: 1, Reason: "found", Ref: fmt.Sprint(i)})
	}
	head := node.app.log.Head()
	for _, name := range node.app.projections.Names() {
		if err := node.app.projections.WaitFor(t.Context(), name, head); err != nil {
			t.Fatal(err)
		}
	}
	node.stop()

	files := map[string]os.FileInfo{}
	for _, path := range glob(t, filepath.Join(dir, "projections", "*.db")) {
		if strings.HasPrefix(filepath.Base(path), projections.Stats) { // has to read all of the log
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = info
	}
	damageLeaf(t, filepath.Join(dir, "log.db"))

	again := startNode(t, dir)
	var stats projections.Status
	for stats.LastError == "" { // it waits for what won't come
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := again.app.projections.WaitFor(ctx, projections.Stats, head); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("wait for %s: %v, want no end", head, err)
		}
		cancel()
		for _, s := range again.app.projections.Status() {
			if s.Name == projections.Stats {
				stats = s
			}
		}
	}
	if stats.State != projections.StateFailed || !strings.Contains(stats.LastError, "log.db") {
		t.Errorf("stats are %s with error %q, want failed for log.db", stats.State, stats.LastError)
	}
	for path, before := range files {
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s was made anew, or is gone: %v", filepath.Base(path), err)
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(paths), err)
	}
	return paths
}

// damageLeaf spoils the header of a leaf of a table in the first quarter of a database.
func damageLeaf(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := int(binary.BigEndian.Uint16(raw[16:]))
	if size == 1 {
		size = 1 << 16
	}
	const leaf = 0x0d
	for at := len(raw) / size / 4 * size; at > 0; at -= size {
		if raw[at] == leaf {
			raw[at] = 0xff
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%s has no such page among its %d", path, len(raw)/size)
}
