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
	start := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	now := start
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
	all, err := Export(t.Context(), from, 1<<20) // it is open all the while
	if err != nil || len(all.Rows) != 100 || all.Rows[0].SID != "sid-99" {
		t.Fatalf("%+v, %v, want all 100 rows, the last one first", all, err)
	}
	some, err := Export(t.Context(), from, 1000)
	if err != nil || len(some.Rows) == 0 || len(some.Rows) > 10 {
		t.Fatalf("%+v in 1000 bytes, %v, want a few rows", some, err)
	}
	for name, c := range map[string]struct {
		copied *Copy
		whole  time.Time
	}{
		"all":  {all, start},
		"some": {some, start.Add(time.Duration(100-len(some.Rows))*time.Millisecond + time.Millisecond)},
	} {
		to := t.TempDir()
		if err := Import(t.Context(), to, c.copied); err != nil {
			t.Fatal(err)
		}
		moved := open(t, Config{Dir: to})
		for _, row := range c.copied.Rows {
			if got := load(t, moved, row.SID); !reflect.DeepEqual(got, kept[row.SID]) {
				t.Fatalf("%s: %s has %+v, want %+v", name, row.SID, got, kept[row.SID])
			}
		}
		if forgotten(t, moved, "quiet", c.whole) || !forgotten(t, moved, "quiet", c.whole.Add(-time.Millisecond)) {
			t.Errorf("%s: want what began at %s whole, and what began before not", name, c.whole)
		}
	}
	if none, err := Export(t.Context(), t.TempDir(), 1000); err != nil || none != nil {
		t.Errorf("an empty folder has %v, %v, want none", none, err)
	}
}
