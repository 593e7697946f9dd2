package sessions

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"bms/actors"
	"bms/domain"
)

func Test_sessions_move_to_another_folder(t *testing.T) {
	now := time.Now()
	from := t.TempDir()
	s, err := Open(t.Context(), Config{Dir: from, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	kept := map[string]actors.SessionRooms{}
	for i := range 100 {
		sid := fmt.Sprintf("sid-%d", i)
		kept[sid] = actors.SessionRooms{Joined: map[string]domain.Position{"branch:b1": {Epoch: 1, Seq: uint64(i)}}, Left: []string{"branch:<b2>"}}
		now = now.Add(time.Millisecond)
		if err := s.Save(t.Context(), sid, kept[sid]); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := Export(t.Context(), from, 1<<20) // it is open all the while
	if err != nil || len(rows) != 100 || rows[0].SID != "sid-99" {
		t.Fatalf("%d rows, %v, want all, the last one first", len(rows), err)
	}
	if some, err := Export(t.Context(), from, 1000); err != nil || len(some) == 0 || len(some) > 10 {
		t.Errorf("%d rows in 1000 bytes, %v, want a few", len(some), err)
	}
	to := t.TempDir()
	if err := Import(t.Context(), to, rows); err != nil {
		t.Fatal(err)
	}
	moved, err := Open(t.Context(), Config{Dir: to})
	if err != nil {
		t.Fatal(err)
	}
	for sid, want := range kept {
		if got, err := moved.Load(t.Context(), sid); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s has %+v, %v, want %+v", sid, got, err, want)
		}
	}
	if err := moved.Close(); err != nil {
		t.Error(err)
	}
	if none, err := Export(t.Context(), t.TempDir(), 1000); err != nil || none != nil {
		t.Errorf("an empty folder has %v, %v, want none", none, err)
	}
}
