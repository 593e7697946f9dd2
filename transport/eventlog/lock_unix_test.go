//go:build unix

package eventlog

import (
	"path/filepath"
	"slices"
	"testing"
)

func TestLock_a_new_folder_has_its_name_on_disk(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "b")
	var synced []string
	note := func(dir string) error {
		synced = append(synced, dir)
		return nil
	}
	for _, want := range [][]string{{filepath.Join(top, "a"), top}, nil} { // it is there the second time
		synced = nil
		if err := makeDir(dir, note); err != nil || !slices.Equal(synced, want) {
			t.Fatalf("synced %v, %v, want %v", synced, err, want)
		}
	}
	held, err := lockDir(filepath.Join(top, "c"))
	if err != nil {
		t.Fatal(err)
	}
	if err := held.release(); err != nil {
		t.Fatal(err)
	}
}
