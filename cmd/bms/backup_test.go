package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"bms/domain"
	"bms/transport/sessions"
)

// A restore is no reason for a client to read everything anew: what it has seen
// is in the backup, and so is what its private id is known by. What came after
// the backup is not, and who saw it is told so.
func TestRestore_clients_go_on_where_they_were(t *testing.T) {
	clearEnvironment(t)
	dir, restored, file := t.TempDir(), filepath.Join(t.TempDir(), "restored"), filepath.Join(t.TempDir(), "backup")
	n := startNode(t, dir)
	n.commit(t, domain.CommandOpenBranch, "b1", domain.OpenBranch{BranchID: "b1", Name: "Shop"})
	n.commit(t, domain.CommandCreateProduct, "b1", domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "Tea", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1000))})
	seen := n.sell(t, "b1")
	pid, _ := n.joinAs(t, "u1", "b1", "", "")
	n.sell(t, "b1")
	if code, _, stderr := bms(t, "backup", file, "--data", dir); code != exitOK {
		t.Fatalf("backup: %s", stderr)
	}
	after := n.sell(t, "b1")
	n.stop()
	if code, _, stderr := bms(t, "restore", file, "--data", restored); code != exitOK {
		t.Fatalf("restore: %s", stderr)
	}
	n = startNode(t, restored)
	if again, recovered := n.joinAs(t, "u1", "b1", pid, seen); !recovered || again != pid {
		t.Errorf("recovered %v, the same id %v, want both", recovered, again == pid)
	}
	if again, recovered := n.joinAs(t, "u1", "b1", pid, after); recovered || again == pid {
		t.Errorf("behind the backup: recovered %v, the same id %v, want neither", recovered, again == pid)
	}
}

// Where what clients changed of their rooms is lost, a session from before may
// have been in any: it begins anew, and says so.
func TestClient_of_a_session_whose_rooms_are_lost_is_told_so(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir)
	seen := n.app.log.Head().String()
	pid, _ := n.joinAs(t, "u1", "b1", "", "")
	n.stop()
	n = startNode(t, dir)
	if again, recovered := n.joinAs(t, "u1", "b1", pid, seen); !recovered || again != pid {
		t.Errorf("with them: recovered %v, the same id %v, want both", recovered, again == pid)
	}
	n.stop()
	for _, beside := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, sessions.FileName+beside)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	n = startNode(t, dir)
	again, recovered := n.joinAs(t, "u1", "b1", pid, seen)
	if recovered || again == pid {
		t.Errorf("without them: recovered %v, the same id %v, want neither", recovered, again == pid)
	}
	if once, recovered := n.joinAs(t, "u1", "b1", again, seen); !recovered || once != again {
		t.Errorf("after that: recovered %v, the same id %v, want both", recovered, once == again)
	}
}
