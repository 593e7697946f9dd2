package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func Test_every_command_has_a_body_and_a_row_of_rights(t *testing.T) {
	for commandType := range commands {
		if NewBody(commandType) == nil {
			t.Errorf("%s has no body", commandType)
		}
	}
	for commandType, bodyType := range bodies {
		if _, ok := commands[commandType]; !ok {
			t.Errorf("%s has no row of rights", commandType)
		}
		if got := reflect.TypeOf(NewBody(commandType)); got != bodyType {
			t.Errorf("new body of %s is a %v, want %v", commandType, got, bodyType)
		}
	}
	if b := NewBody("stock.burn"); b != nil {
		t.Errorf("new body of an unknown command is %+v, want none", b)
	}
}

func Test_decode_body(t *testing.T) {
	for raw, want := range map[string]any{
		`{"productId":"tea","delta":-3,"reason":"breakage","ref":"x","expectedVersion":7}`: AdjustStock{
			ProductID: "tea", Delta: -3, Reason: "breakage", Ref: "x", ExpectedVersion: ptr(int64(7)),
		},
		" {\n\"delta\" : 9223372036854775807 , \"reason\":\"\\u00e9\\ud83d\\ude00\" } ": AdjustStock{Delta: 1<<63 - 1, Reason: "é😀"},
		`{"delta":-9223372036854775808}`:                                                AdjustStock{Delta: -1 << 63},
		`{"delta":-0}`:                                                                  AdjustStock{},
		`{"\u0064elta":1}`:                                                              AdjustStock{Delta: 1},
		`{"delta":1,"reason":"{\"delta\":\"}]\\\""}`:                                    AdjustStock{Delta: 1, Reason: `{"delta":"}]\"`},
	} {
		got, err := DecodeBody(CommandAdjustStock, []byte(raw))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s reads %+v, %v; want %+v", raw, got, err, want)
		}
	}
}

// Test_decode_body_names_what_is_wrong lists the fields that are complained
// of, in the order in which they are met.
func Test_decode_body_names_what_is_wrong(t *testing.T) {
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for _, c := range []struct{ commandType, raw, fields string }{
		{CommandAdjustStock, ``, "body"},
		{CommandAdjustStock, `{`, "body"},
		{CommandAdjustStock, `null`, "body"},
		{CommandAdjustStock, `[]`, "body"},
		{CommandAdjustStock, `"x"`, "body"},
		{CommandAdjustStock, `{"delta":1} x`, "body"},
		{CommandAdjustStock, `{"delta":1}{"delta":1}`, "body"},
		{CommandAdjustStock, "{\"delta\":1,\"reason\":\"\xff\"}", "body"},
		{CommandAdjustStock, `{"delta":NaN}`, "body"},
		{CommandAdjustStock, deep, "body"},
		{CommandAdjustStock, `{"delta":1,"x":` + deep + `}`, "body"},
		{CommandAdjustStock, `{"delta":1,"x":` + deep[15_000:25_000] + `}`, "x"},
		{CommandAdjustStock, `{}`, "delta"},
		{CommandAdjustStock, `{"delta":1,"delta":2}`, "delta"},
		{CommandAdjustStock, `{"delta":1,"\u0064elta":2}`, "delta"},
		{CommandAdjustStock, `{"Delta":1}`, "Delta delta"},
		{CommandAdjustStock, `{"delta":1,"DELTA":[1,{"a":"}"}],"ref":"x"}`, "DELTA"},
		{CommandAdjustStock, `{"delta":1,"__proto__":{},"":1}`, "__proto__ body"},
		{CommandAdjustStock, `{"delta":null,"ref":null}`, "delta ref"},
		{CommandAdjustStock, `{"delta":"1","reason":1,"ref":{}}`, "delta reason ref"},
		{CommandAdjustStock, `{"delta":1.0}`, "delta"},
		{CommandAdjustStock, `{"delta":1e2}`, "delta"},
		{CommandAdjustStock, `{"delta":1e308}`, "delta"},
		{CommandAdjustStock, `{"delta":9223372036854775808}`, "delta"},
		{CommandAdjustStock, `{"delta":true}`, "delta"},
		{CommandAdjustStock, `{"delta":1,"reason":"\ud800"}`, "reason"},
		{CommandAdjustStock, `{"delta":1,"reason":"\udc00\ud800"}`, "reason"},
		{CommandAdjustStock, `{"delta":1,"reason":"\ud800\u0041"}`, "reason"},
		{CommandAdjustStock, `{"delta":1,"reason":"\\ud800"}`, ""},
		{CommandCountStock, `{"productId":"tea"}`, "counted"},
		{CommandCreateProduct, `{"sku":"X"}`, "priceMinor"},
		{CommandCreateTransaction, `{"lines":{}}`, "lines"},
		{CommandCreateTransaction, `{"lines":[1,{"productId":"a","quantity":1},{"quantity":"1","x":0},{}]}`, "lines[0] lines[2].quantity lines[2].x lines[3].quantity"},
		{CommandSetTransactionStatus, `{"lines":[{"quantity":1,"restock":1}]}`, "lines[0].restock"},
		{CommandAdjustStockBulk, `{"mode":"atomic","lines":[{"productId":"tea","reason":"x"},{"delta":"1","expectedVersion":1}]}`, "lines[0].delta lines[1].delta lines[1].expectedVersion"},
		{CommandAdjustStockBulk, `{"mode":1,"lines":null}`, "mode lines"},
		{CommandDispatchTransfer, `{"toBranchId":"b2","lines":[{"productId":"tea"}],"transferId":"x"}`, "lines[0].quantity transferId"},
		{CommandReceiveTransfer, `{"lines":[{"productId":"tea","damaged":1.5,"received":null}]}`, "lines[0].damaged lines[0].received"},
		{CommandReceiveTransfer, `{"lines":null}`, "lines"},
		{CommandReceiveTransfer, `{}`, ""},
		{CommandCancelTransfer, `{"reason":"x"}`, "reason"},
		{CommandSubmitSync, `{"deviceId":"till-1","operations":[{"lines":[{"productId":"tea"}]},{"seq":-1,"Lines":[]},3]}`, "operations[0].lines[0].quantity operations[0].seq operations[1].Lines operations[2] fromSeq"},
		{CommandSubmitSync, `{"fromSeq":9223372036854775808,"operations":{}}`, "fromSeq operations"},
		{CommandSetUser, `{"branches":["b1",2],"disabled":"no"}`, "branches[1] disabled"},
		{CommandChangeUser, `{"branches":null}`, "branches"},
		{"stock.burn", `{}`, "type"},
	} {
		_, err := DecodeBody(c.commandType, []byte(c.raw))
		var r *Rejection
		if err != nil && (!errors.As(err, &r) || r.Code != CodeValidation) {
			t.Errorf("%.60s: %v, want %s", c.raw, err, CodeValidation)
			continue
		}
		var fields []string
		if r != nil {
			for _, e := range r.Details["errors"].([]FieldError) {
				fields = append(fields, e.Field)
			}
		}
		if got := strings.Join(fields, " "); got != c.fields {
			t.Errorf("%.60s: complains of %q, want %q", c.raw, got, c.fields)
		}
	}
}

// Test_no_lines_are_not_all_lines: a receipt without lines is for all, one of
// no line is not, also after a way over the bus.
func Test_no_lines_are_not_all_lines(t *testing.T) {
	for raw, want := range map[string]ReceiveTransfer{
		`{"transferId":"x"}`:            {TransferID: "x"},
		`{"transferId":"x","lines":[]}`: {TransferID: "x", Lines: &[]ReceivedLine{}},
	} {
		got, err := DecodeBody(CommandReceiveTransfer, []byte(raw))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s reads %+v, %v; want %+v", raw, got, err, want)
		}
		again, err := marshal(got)
		if err != nil || string(again) != raw {
			t.Errorf("%s is written %s, %v", raw, again, err)
		}
	}
}

func Test_complaints_are_bounded(t *testing.T) {
	raw := `{"delta":1`
	for i := range 1000 {
		raw += `,"` + strings.Repeat("é", i) + `":1`
	}
	_, err := DecodeBody(CommandAdjustStock, []byte(raw+"}"))
	var r *Rejection
	if !errors.As(err, &r) {
		t.Fatalf("%v, want a rejection", err)
	}
	errs := r.Details["errors"].([]FieldError)
	if len(errs) != maxFieldErrors {
		t.Errorf("%d complaints, want %d", len(errs), maxFieldErrors)
	}
	_, err = DecodeBody(CommandAdjustStock, []byte(`{"delta":1,"`+strings.Repeat("é", 100_000)+`":1}`))
	if !errors.As(err, &r) {
		t.Fatalf("%v, want a rejection", err)
	}
	if field := r.Details["errors"].([]FieldError)[0].Field; field != strings.Repeat("é", maxShownKey/2)+"…" {
		t.Errorf("a long key is shown as %q", field)
	}
}

// FuzzDecodeBody checks that what is accepted means the same to encoding/json
// and survives a round trip, and that nothing after it panics.
func FuzzDecodeBody(f *testing.F) {
	types := make([]string, 0, len(bodies))
	for commandType := range bodies {
		types = append(types, commandType)
	}
	slices.Sort(types)
	for _, raw := range []string{
		`{}`, `{"productId":"tea","delta":-3,"reason":"x"}`, `{"lines":[{"productId":"a","quantity":1,"unitPriceMinor":2}],"kind":"sale","status":"completed"}`,
		`{"branches":["b1"],"role":"staff","disabled":true,"name":"\ud83d\ude00"}`, `{"delta":1,"delta":2}`, `{"x":[[{"a":"\\\""}]]}`, `{"delta":-0}`, "\xff", `{"delta":1e5}`,
		`{"mode":"atomic","lines":[{"productId":"tea","delta":-3,"reason":"x"},{"productId":"tea","delta":9,"reason":"x","ref":"y"}]}`,
		`{"mode":"per-line","lines":[{"productId":"tea","delta":-30,"reason":"x"},{"productId":"a b","delta":0,"reason":""}]}`,
		`{"toBranchId":"b2","lines":[{"productId":"tea","quantity":3},{"productId":"tea","quantity":7}]}`,
		`{"transferId":"` + comes + `"}`, `{"transferId":"` + comes + `","lines":[{"productId":"tea","received":2,"damaged":1}]}`,
		`{"transferId":"` + comes + `","fromBranchId":"b2","lines":[{"productId":"tea","quantity":3}]}`,
		`{"transferId":"` + goes + `","lines":[{"productId":"tea","quantity":3}]}`,
		`{"deviceId":"till-1","fromSeq":1,"operations":[{"seq":2,"lines":[{"productId":"tea","quantity":11}]},{"seq":1,"kind":"sale","status":"pending","lines":[{"productId":"tea","quantity":1,"unitPriceMinor":0}],"occurredAt":"2026-01-01T00:00:00Z"},{"seq":1,"lines":[]}]}`,
	} {
		for i := range types {
			f.Add(byte(i), []byte(raw))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, raw []byte) {
		commandType := types[int(which)%len(types)]
		body, err := DecodeBody(commandType, raw)
		if err != nil {
			var r *Rejection
			if !errors.As(err, &r) || r.Code != CodeValidation || len(r.Details["errors"].([]FieldError)) == 0 {
				t.Fatalf("%v, want a rejection that names fields", err)
			}
			return
		}
		plain := reflect.New(bodies[commandType])
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(plain.Interface()); err != nil || !reflect.DeepEqual(plain.Elem().Interface(), body) {
			t.Fatalf("encoding/json reads %+v, %v; DecodeBody %+v", plain.Elem().Interface(), err, body)
		}
		again, err := marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		// Nil lists of required fields come back as null, which is refused.
		if back, err := DecodeBody(commandType, again); err == nil && !reflect.DeepEqual(back, body) {
			t.Fatalf("%s reads %+v, want %+v", again, back, body)
		}
		c := Command{ID: "c1", Type: commandType, BranchID: "b1", Identity: who(RoleAdmin), At: now, Body: body}
		if commands[commandType].system {
			c.Identity = SystemIdentity()
		}
		if commandType == CommandCancelTransfer {
			c.BranchID = "b2"
		}
		stream, err := StreamOf(c)
		if err != nil {
			return
		}
		state, err := NewState(stream)
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := state.(*Branch); ok && b.ID == "b1" && commandType != CommandOpenBranch {
			given(t, b, RoleAdmin, opened, tea)
			if commandType != CommandAnnounceTransfer {
				given(t, b, RoleAdmin, announced(send("tea", 5)))
			}
		}
		d, r := state.Decide(c)
		if r != nil {
			return
		}
		made, err := NewCommit(stream, 1, c, d)
		if err != nil {
			t.Fatal(err)
		}
		for i := range made.Events {
			made.Events[i].payload = nil
			if err := state.Evolve(&made.Events[i]); err != nil {
				t.Fatalf("evolve %s: %v", made.Events[i].Data, err)
			}
		}
	})
}
