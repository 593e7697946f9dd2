package eventlogtest

import (
	"context"
	"testing"

	"bms/domain"
	"bms/transport/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func Test_memory_keeps_the_contract(t *testing.T) {
	Test(t, func(*testing.T) Opened {
		m := NewMemory()
		return Opened{
			Log:   m,
			Close: func() { m.Close() },
			Reopen: func() domain.Log {
				m.Close()
				m = m.Reread()
				return m
			},
		}
	})
}

func Test_memory_takes_all_commits_of_a_call_or_none(t *testing.T) {
	m := NewMemory()
	first, second := commit("branch/b1", 1, "c1", 1), commit("branch/b1", 3, "c2", 1)
	if err := m.Append(context.Background(), first, second); err == nil {
		t.Fatal("a call with a version that is not the next was taken")
	}
	if got := len(m.All()); got != 0 || first.Position != (domain.Position{}) {
		t.Errorf("the log has %d commits and the first is at %s, want none and nowhere", got, first.Position)
	}
}

func Test_memory_knows_positions_of_its_epochs(t *testing.T) {
	m := NewMemory()
	add := func(version uint64, id string) domain.Position {
		t.Helper()
		c := commit("branch/b1", version, id, 1)
		if err := m.Append(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		return c.Position
	}
	old := add(1, "c1")
	beyond := domain.Position{Epoch: old.Epoch, Seq: 2}
	m.BeginEpoch()
	head := m.Head()
	later := add(2, "c2")
	if later.Epoch == old.Epoch || head.Epoch != later.Epoch {
		t.Errorf("epochs are %d, then %d of the head and %d of a commit, want two different ones", old.Epoch, head.Epoch, later.Epoch)
	}
	for p, known := range map[domain.Position]bool{old: true, head: true, later: true, beyond: false, {Epoch: old.Epoch}: true, {Epoch: later.Epoch}: true} {
		if err := m.Check(p); (err == nil) != known {
			t.Errorf("check %s: %v, want known %v", p, err, known)
		}
	}
}
