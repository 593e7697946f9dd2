package domain

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func Test_direct_encoding_is_that_of_encoding_json(t *testing.T) {
	text, number := rapid.String(), rapid.Int64()
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Line {
			return Line{text.Draw(t, "product"), number.Draw(t, "quantity"), number.Draw(t, "price")}
		})).Draw(t, "lines")
		if lines == nil {
			lines = []Line{}
		}
		for _, a := range []appender{
			InventoryUpdated{
				text.Draw(t, "product"), text.Draw(t, "sku"), number.Draw(t, "delta"), number.Draw(t, "stock"), number.Draw(t, "minimum"),
				number.Draw(t, "version"), text.Draw(t, "reason"), text.Draw(t, "ref"), text.Draw(t, "transaction"),
			},
			TransactionCreated{
				text.Draw(t, "id"), text.Draw(t, "kind"), text.Draw(t, "status"), lines, number.Draw(t, "total"),
				text.Draw(t, "currency"), text.Draw(t, "device"), text.Draw(t, "at"),
			},
			TransactionResult{text.Draw(t, "id"), text.Draw(t, "status"), number.Draw(t, "total"), text.Draw(t, "currency")},
			StockResult{text.Draw(t, "id"), number.Draw(t, "stock"), number.Draw(t, "version")},
		} {
			want, err := marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.appendJSON(nil); string(got) != string(want) {
				t.Fatalf("%T encodes as\n     %s\nwant %s", a, got, want)
			}
		}
	})
}

func Test_json_strings(t *testing.T) {
	for _, s := range []string{"", "plain", `"\`, "<&>", "é", "a\x00b", "\x7f", "\u2028", "\xff", "tab\t"} {
		want, err := marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendJSONString(nil, s)); got != string(want) {
			t.Errorf("%q encodes as %s, want %s", s, got, want)
		}
		if !json.Valid(appendJSONString(nil, s)) {
			t.Errorf("%q does not encode as JSON", s)
		}
	}
}

func Test_event_ids_are_uuids_of_the_command(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]string{}
	for _, user := range []string{"", "u1", strings.Repeat("u", 64)} {
		for _, id := range []string{"c1", "c2", strings.Repeat("c", 255)} {
			for index := range 3 {
				got := EventID(now, user, id, index)
				if !form.MatchString(got) {
					t.Errorf("%s is not a UUIDv7", got)
				}
				if !strings.HasPrefix(got, "019c13ec-9e00") {
					t.Errorf("%s does not begin with the time %d ms", got, now.UnixMilli())
				}
				if got != EventID(now, user, id, index) {
					t.Errorf("%s is not the same twice", got)
				}
				if other, taken := seen[got]; taken {
					t.Errorf("%s is the id of %s and of %s %s %d", got, other, user, id, index)
				}
				seen[got] = user + id
			}
		}
	}
}

func Test_a_commit_holds_a_bounded_number_of_events(t *testing.T) {
	d := Decision{Events: make([]Fact, MaxEventsPerCommit+1)}
	for i := range d.Events {
		d.Events[i].Payload = BranchUpdated{}
	}
	if c, err := NewCommit("branch/b1", 1, Command{Type: CommandOpenBranch}, d); err == nil {
		t.Errorf("a commit with %d events, want an error", len(c.Events))
	}
	d.Events = d.Events[:MaxEventsPerCommit]
	c, err := NewCommit("branch/b1", 1, Command{Type: CommandOpenBranch}, d)
	if err != nil {
		t.Fatal(err)
	}
	c.Placed(1, 1)
	if last := c.Events[len(c.Events)-1].Pos; c.Position != last || int(last.Index) != MaxEventsPerCommit-1 {
		t.Errorf("position %+v, its last event's %+v", c.Position, last)
	}
}
