package eventlog

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bms/domain"
)

// anyCommit draws a commit of any shape that Append takes.
func anyCommit(t *rapid.T) *domain.Commit {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "b1", "u-17", `"`, `\`, "\x00", "ä\u2028</script>"}), rapid.String())
	at := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(-1e15, 1e15).Draw(t, "ms")).UTC()
	})
	data := rapid.Custom(func(t *rapid.T) json.RawMessage {
		b, err := json.Marshal(rapid.OneOf(
			rapid.Map(rapid.MapOf(text, text), func(m map[string]string) any { return m }),
			rapid.Map(rapid.SliceOf(text), func(s []string) any { return s }),
			rapid.Map(rapid.Int64(), func(n int64) any { return n }),
			rapid.Map(text, func(s string) any { return s }),
			rapid.Just[any](nil),
		).Draw(t, "value"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
	c := &domain.Commit{
		Stream: "s" + text.Draw(t, "stream"), Version: rapid.Uint64Range(1, 1<<62).Draw(t, "version"),
		UserID: text.Draw(t, "user"), CommandID: text.Draw(t, "command"), CommandType: text.Draw(t, "type"),
		Fingerprint: text.Draw(t, "fingerprint"), At: at.Draw(t, "at"),
	}
	if m := rapid.MapOfN(text, text, 0, 3).Draw(t, "metadata"); len(m) > 0 {
		c.Metadata = m
	}
	if rapid.Bool().Draw(t, "has result") {
		c.Result = data.Draw(t, "result")
	}
	if rapid.Bool().Draw(t, "is message") {
		c.Message = rapid.SliceOf(rapid.Byte()).Draw(t, "message")
		return c
	}
	for range rapid.IntRange(0, 4).Draw(t, "events") {
		e := domain.Event{
			ID: text.Draw(t, "id"), Type: text.Draw(t, "event type"), Version: rapid.Int().Draw(t, "event version"),
			BranchID: text.Draw(t, "branch"), UserID: c.UserID, At: c.At, Data: data.Draw(t, "data"),
		}
		if rapid.Bool().Draw(t, "differs") {
			e.UserID, e.At = text.Draw(t, "event user"), at.Draw(t, "event at")
		}
		c.Events = append(c.Events, e)
	}
	return c
}

func TestRecord_decodes_to_what_was_encoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyCommit(t)
		seq := rapid.Uint64Range(1, 1<<62).Draw(t, "seq")
		r, err := encode(c, false)
		if err != nil {
			t.Fatal(err)
		}
		r.place(seq, c.Version)
		got, gotSeq, _, err := decode(r.columns[:], nil)
		if err != nil {
			t.Fatal(err)
		}
		if gotSeq != seq || !reflect.DeepEqual(got, c) {
			t.Fatalf("got %d %+v, want %d %+v", gotSeq, got, seq, c)
		}
	})
}

// TestRecord_any_change_is_noticed changes one column of a record.
func TestRecord_any_change_is_noticed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyCommit(t)
		r, err := encode(c, false)
		if err != nil {
			t.Fatal(err)
		}
		r.place(7, c.Version)
		col := rapid.IntRange(0, numColumns-1).Draw(t, "column")
		switch v := r.columns[col].(type) {
		case nil:
			r.columns[col] = rapid.SampledFrom([]driver.Value{"", "{}", []byte{}, int64(0)}).Draw(t, "instead of null")
		case int64:
			r.columns[col] = v ^ 1<<rapid.IntRange(0, 62).Draw(t, "bit")
		case string:
			r.columns[col] = rapid.SampledFrom([]driver.Value{v + "x", v + " ", "x" + v, nil, []byte(v)}).Draw(t, "instead of text")
		case []byte:
			r.columns[col] = rapid.SampledFrom([]driver.Value{append(v, 0), nil, string(v)}).Draw(t, "instead of bytes")
		}
		if got, _, _, err := decode(r.columns[:], nil); !errors.Is(err, errDamaged) {
			t.Fatalf("column %d changed: got %+v, %v, want %v", col, got, err, errDamaged)
		}
	})
}

// FuzzDecode feeds the scanner what the checksum would have stopped: it may
// refuse but not panic or loop.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`[]`, `[{"id":"a","type":"t","v":1,"data":{}}]`, `[{"id":"a\"","type":"t","v":-1,"branchId":"b","userId":"","at":5,"data":[1,"]"]},`, `{"a":"b","c":"\n"}`, `{`, `[{"id":"\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_ = parseEvents(&domain.Commit{}, s)
		_, _ = parseStrings(s)
	})
}

// TestRecord_form_on_disk freezes the form of version 1: what it writes now
// must be readable for ever, so a difference here is a new schema version.
func TestRecord_form_on_disk(t *testing.T) {
	c := adjustment("branch/b1", 3, "c1")
	own := c.Events[0]
	own.BranchID, own.UserID, own.At, own.Data = "", `u"2`, testTime.Add(time.Second), json.RawMessage(`{"name":"Käse"}`)
	c.Events = append(c.Events, own)
	message := &domain.Commit{Stream: "topic", Version: 1, CommandID: "m@topic", At: testTime, Message: []byte("\x00\xff")}
	var b strings.Builder
	names := strings.Split(columns, ", ")
	for i, c := range []*domain.Commit{c, message} {
		r, err := encode(c, false)
		if err != nil {
			t.Fatal(err)
		}
		r.place(uint64(i+1), c.Version)
		for col, v := range r.columns {
			fmt.Fprintf(&b, "%s: %T %v\n", names[col], v, v)
		}
	}
	const golden = "testdata/record_v1.txt"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Fatalf("got\n%s\nwant, as in %s,\n%s", got, golden, want)
	}
}
