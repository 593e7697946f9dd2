package projections

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"bms/domain"
)

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
		if err := r.WaitFor(t.Context(), Notifications, c.Position); err != nil {
			t.Fatal(err)
		}
		_, pos, err := r.Unread(t.Context(), "u1", domain.Position{}, 0)
		if err != nil || pos != c.Position {
			t.Fatalf("notifications are at %s, error %v; want %s", pos, err, c.Position)
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

// A panic between the commit of a batch and its publication must not let
// WaitFor pass before Identity knows.
func TestIdentityAfterAPanicShowsWhatWasWaitedFor(t *testing.T) {
	shop := newShop(t)
	var panics atomic.Int64
	c := config(t.TempDir(), shop.log)
	c.fault = func(projection, at string) {
		if projection == Users && at == stepCommitted && panics.Add(1) == 1 {
			panic("broken by the test")
		}
	}
	r := run(t, c)
	set := shop.must(domain.CommandSetUser, "", domain.SetUser{UserID: "u1", Role: domain.RoleStaff, Branches: []string{"b1"}, Disabled: true})
	if err := r.WaitFor(t.Context(), Users, set.Position); err != nil {
		t.Fatal(err)
	}
	if got := r.Identity(domain.Identity{UserID: "u1", Role: domain.RoleAdmin}); !got.Disabled {
		t.Errorf("identity is %+v, want it disabled", got)
	}
	if panics.Load() == 0 {
		t.Error("nothing panicked: the test shows nothing")
	}
}

// A file that is folded again goes through the rights of long ago; nobody may
// get them back meanwhile.
func TestIdentityNeverGoesBack(t *testing.T) {
	d := newDirectory()
	token := domain.Identity{UserID: "u1", Role: domain.RoleStaff}
	put := func(pos int64, role string) {
		d.put(nil, []knownUser{{pos, domain.User{ID: "u1", Known: true, Role: role}}})
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

// The position of an answer is that of the rows in it, also if the fold goes on
// between the two being read.
func TestAnAnswerIsNotAtThePositionOfLaterRows(t *testing.T) {
	f, err := openFile(t.TempDir()+"/x.db", "CREATE TABLE x (id INTEGER PRIMARY KEY);", false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.shut(); err != nil {
			t.Error(err)
		}
	}()
	at := func(seq uint64) domain.Position { return domain.Position{Epoch: 1, Seq: seq} }
	if err := f.commit(at(5)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stretch *stretch
		want    domain.Position
	}{
		{nil, at(5)},
		{&stretch{at(5), at(9)}, at(9)}, // nothing of interest up to 9
		{&stretch{at(7), at(9)}, at(5)}, // 7 changed rows, after the snapshot
	} {
		f.stretch.Store(c.stretch)
		if got, err := f.view(t.Context(), func(*snapshot) error { return nil }); err != nil || got != c.want {
			t.Errorf("answer with stretch %v is at %v, error %v; want %v", c.stretch, got, err, c.want)
		}
	}
}

func TestAGapInTheLogStopsTheFold(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 5)
	shop.adjust("b1", "p1", 1)
	if err := gapless(0, shop.log.All()); err != nil {
		t.Errorf("the whole log: %v", err)
	}
	log := shop.log.All()
	for name, commits := range map[string][]*domain.Commit{"at_the_beginning": log[1:], "in_between": {log[0], log[2]}, "twice": {log[0], log[0]}} {
		if err := gapless(0, commits); !errors.Is(err, domain.ErrCorrupt) {
			t.Errorf("a gap %s: %v, want ErrCorrupt", name, err)
		}
	}
}
