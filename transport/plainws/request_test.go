package plainws

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"bms/transport/wsframe"
)

func Test_requests_are_read_exactly(t *testing.T) {
	for name, c := range map[string]struct {
		text, op, id, args string
		wrong              string // part of the error
	}{
		"all":                    {text: `{"op":"room:join","id":1,"args":["branch:b1"]}`, op: "room:join", id: "1", args: `["branch:b1"]`},
		"no_id_and_no_args":      {text: `{"op":"ping"}`, op: "ping", args: "null"},
		"null_id_and_args":       {text: `{"op":"ping","id":null,"args":null}`, op: "ping", args: "null"},
		"id_as_a_string":         {text: `{"op":"ping","id":"a\"1"}`, op: "ping", id: `"a\"1"`, args: "null"},
		"id_below_zero":          {text: `{"op":"ping","id":-1.5e3}`, op: "ping", id: `-1.5e3`, args: "null"},
		"further_members":        {text: `{"op":"ping","v":2}`, op: "ping", args: "null"},
		"empty":                  {text: ``, wrong: "JSON"},
		"no_object":              {text: `["ping"]`, wrong: "JSON"},
		"null":                   {text: `null`, wrong: "JSON"},
		"trailing_data":          {text: `{"op":"ping"}{}`, wrong: "JSON"},
		"not_closed":             {text: `{"op":"ping"`, wrong: "JSON"},
		"closed_by_another":      {text: `{"op":"ping"]`, wrong: "JSON"},
		"a_comma_too_many":       {text: `{"op":"ping",}`, wrong: "JSON"},
		"a_comma_too_few":        {text: `{"op":"ping" "id":1}`, wrong: "JSON"},
		"no_name":                {text: `{1:"ping"}`, wrong: "JSON"},
		"no_value":               {text: `{"op":}`, wrong: "JSON"},
		"trailing_brace":         {text: `{"op":"ping"}}`, wrong: "JSON"},
		"op_twice":               {text: `{"op":"ping","op":"ping"}`, wrong: "is there twice"},
		"args_twice":             {text: `{"op":"room:join","args":["a"],"args":["b"]}`, wrong: "is there twice"},
		"args_twice_in_escapes":  {text: `{"op":"room:join","args":["a"],"\u0061rgs":["b"]}`, wrong: "is there twice"},
		"not_utf8":               {text: "{\"op\":\"p\xff\"}", wrong: "UTF-8"},
		"no_op":                  {text: `{"id":1}`, wrong: "op"},
		"op_in_another_case":     {text: `{"OP":"ping"}`, wrong: "op"},
		"op_a_number":            {text: `{"op":1}`, wrong: "op"},
		"op_null":                {text: `{"op":null}`, wrong: "op"},
		"op_empty":               {text: `{"op":""}`, wrong: "op"},
		"op_of_a_megabyte":       {text: `{"op":"` + long(1<<20) + `"}`, wrong: "op"},
		"id_an_object":           {text: `{"op":"ping","id":{}}`, wrong: "id"},
		"id_true":                {text: `{"op":"ping","id":true}`, wrong: "id"},
		"id_of_a_thousand_bytes": {text: `{"op":"ping","id":"` + long(1000) + `"}`, wrong: "id"},
		"args_an_object":         {text: `{"op":"ping","args":{}}`, wrong: "args"},
		"deep":                   {text: `{"op":"ping","args":[` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `]}`, wrong: "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseRequest([]byte(c.text))
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("error %v, want one about %s", err, c.wrong)
				}
				return
			}
			args, _ := json.Marshal(got.args)
			if err != nil || got.op != c.op || string(got.id) != c.id || string(args) != c.args {
				t.Errorf("op %q, id %s, args %s, error %v; want %q, %s, %s", got.op, got.id, args, err, c.op, c.id, c.args)
			}
		})
	}
}

func Test_an_ack_is_one_text_frame(t *testing.T) {
	for _, c := range []struct {
		data any
		want string
	}{
		{map[string]any{"ok": true}, `{"type":"ack","id":7,"data":{"ok":true}}`},
		{json.RawMessage(`{"ok":true,"pos":"x"}`), `{"type":"ack","id":7,"data":{"ok":true,"pos":"x"}}`},
		{long(70_000), `{"type":"ack","id":7,"data":"` + long(70_000) + `"}`},
	} {
		frame, err := ackFrame(json.RawMessage("7"), c.data)
		if err != nil {
			t.Fatal(err)
		}
		op, payload, rest, ok := wsframe.Next(frame)
		if !ok || op != wsframe.OpText || len(rest) != 0 || string(payload) != c.want {
			t.Errorf("frame %v %d %.80q, want %.80q", ok, op, payload, c.want)
		}
	}
	if _, err := ackFrame(json.RawMessage("7"), make(chan int)); err == nil {
		t.Error("a channel was encoded")
	}
}

func Fuzz_requests(f *testing.F) {
	for _, seed := range []string{
		`{"op":"room:join","id":1,"args":["branch:b1"]}`, `{"op":"ping","id":"x"}`, `{"op":1}`, `[]`, "", "\xff", `{"op":"a","args":[[[]]],"id":-1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		r, err := parseRequest(data)
		if err == nil && !json.Valid(data) {
			t.Fatal("what is no JSON was read")
		}
		if !bytes.Equal(before, data) {
			t.Fatal("the message was changed")
		}
		if err != nil {
			return
		}
		if r.op == "" || len(r.op) > maxOpName || len(r.id) > maxID {
			t.Fatalf("op of %d bytes, id of %d", len(r.op), len(r.id))
		}
		if len(r.id) == 0 {
			return
		}
		frame, err := ackFrame(r.id, r.args)
		if err != nil {
			t.Fatal(err)
		}
		_, payload, _, ok := wsframe.Next(frame)
		var ack struct {
			Type string
			ID   json.RawMessage
			Data []json.RawMessage
		}
		if err := json.Unmarshal(payload, &ack); !ok || err != nil || ack.Type != "ack" || !bytes.Equal(ack.ID, r.id) {
			t.Fatalf("ack %q, %v", payload, err)
		}
	})
}

func Benchmark_request(b *testing.B) {
	data := []byte(`{"op":"command","id":12,"args":[{"type":"stock.adjust","branchId":"b1","body":{"productId":"p1","delta":-1,"reason":"sold"}}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseRequest(data); err != nil {
			b.Fatal(err)
		}
	}
}
