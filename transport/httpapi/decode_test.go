package httpapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"bms/domain"
)

func Test_bodies_that_are_not_of_the_schema(t *testing.T) {
	s := stocked(t, nil)
	const products = "/api/branches/b1/products"
	const sales = "/api/branches/b1/transactions"
	tests := []struct{ name, method, path, body, fields string }{
		{"empty", "POST", products, ``, "body"},
		{"white_space", "POST", products, "  \n", "body"},
		{"not_JSON", "POST", products, `{"sku":`, "body"},
		{"a_list", "POST", products, `[]`, "body sku name currency"},
		{"a_text", "POST", products, `"x"`, "body sku name currency"},
		{"null", "POST", products, `null`, "body sku name currency"},
		{"trailing_data", "PUT", products + "/cola/stock", `{"counted":1}{}`, "body"},
		{"trailing_letter", "PUT", products + "/cola/stock", `{"counted":1}x`, "body"},
		{"all_missing", "POST", products, `{}`, "priceMinor sku name currency"},
		{"unknown_key", "PUT", products + "/cola/stock", `{"counted":1,"force":true}`, "force"},
		{"duplicate_key", "PUT", products + "/cola/stock", `{"counted":1,"counted":2}`, "counted"},
		{"duplicate_key_escaped", "PUT", products + "/cola/stock", `{"counted":1,"c\u006funted":2}`, "counted"},
		{"key_in_another_case", "PUT", products + "/cola/stock", `{"counted":1,"Counted":2}`, "Counted"},
		{"only_key_in_another_case", "PUT", products + "/cola/stock", `{"COUNTED":1}`, "COUNTED counted"},
		{"number_as_text", "PUT", products + "/cola/stock", `{"counted":"1"}`, "counted"},
		{"fraction", "PUT", products + "/cola/stock", `{"counted":1.5}`, "counted"},
		{"exponent", "PUT", products + "/cola/stock", `{"counted":1e2}`, "counted"},
		{"1e308", "PUT", products + "/cola/stock", `{"counted":1e308}`, "counted"},
		{"2^63", "PUT", products + "/cola/stock", `{"counted":9223372036854775808}`, "counted"},
		{"NaN", "PUT", products + "/cola/stock", `{"counted":NaN}`, "body"},
		{"leading_zero", "PUT", products + "/cola/stock", `{"counted":01}`, "body"},
		{"null_value", "PUT", products + "/cola/stock", `{"counted":null}`, "counted"},
		{"null_optional", "PUT", products + "/cola/stock", `{"counted":1,"expectedVersion":null}`, "expectedVersion"},
		{"depth_10000", "PUT", products + "/cola/stock", `{"counted":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, "body"},
		{"depth_100", "PUT", products + "/cola/stock", `{"counted":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "counted"},
		{"lone_surrogate", "POST", "/api/branches", `{"branchId":"b7","name":"a\ud800b"}`, "name"},
		{"swapped_surrogates", "POST", "/api/branches", `{"branchId":"b7","name":"\udc00\ud800"}`, "name"},
		{"broken_UTF-8", "POST", "/api/branches", "{\"branchId\":\"b7\",\"name\":\"a\xffb\"}", "body"},
		{"nul_in_text", "POST", "/api/branches", `{"branchId":"b7","name":"a\u0000b"}`, "name"},
		{"id_with_a_slash", "POST", "/api/branches", `{"branchId":"../b7","name":"x"}`, "branchId"},
		{"wrong_type_and_rules", "POST", products, `{"sku":7,"name":"","priceMinor":-1,"currency":"eur","colour":"red"}`, "sku colour name priceMinor currency"},
		{"fields_of_lines", "POST", sales, `{"kind":"gift","status":"completed","lines":[{"productId":"cola","quantity":"1"},{"productId":"a b","quantity":0,"x":1}]}`, "lines[0].quantity lines[1].x kind lines[1].productId lines[1].quantity"},
		{"lines_an_object", "POST", sales, `{"kind":"sale","status":"completed","lines":{}}`, "lines"},
		{"no_lines", "POST", sales, `{"kind":"sale","status":"completed","lines":[]}`, "lines"},
		{"nothing_to_change", "PATCH", "/api/branches/b1", `{}`, "body"},
		{"bool_as_text", "PUT", "/api/users/u1", `{"role":"staff","branches":["b1"],"disabled":"false","name":"x"}`, "disabled"},
		{"body_of_a_delete", "DELETE", products + "/cola", `{"force":true}`, "force"},
	}
	before := len(s.log.All())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := s.send("admin", tt.method, tt.path, tt.body).refused(t, domain.CodeValidation)
			if p.fields() != tt.fields {
				t.Errorf("fields %q, want %q", p.fields(), tt.fields)
			}
		})
	}
	if got := len(s.log.All()); got != before {
		t.Errorf("%d commits by bad bodies, want none", got-before)
	}
}

func Test_fingerprint_tells_commands_apart(t *testing.T) {
	body := domain.AdjustStock{ProductID: "p", Delta: 1, Reason: "r"}
	same := Fingerprint(domain.CommandAdjustStock, "b1", body)
	if same != Fingerprint(domain.CommandAdjustStock, "b1", domain.AdjustStock{ProductID: "p", Delta: 1, Reason: "r"}) {
		t.Error("equal commands have different fingerprints")
	}
	body.Delta = 2
	for name, other := range map[string]string{
		"body":   Fingerprint(domain.CommandAdjustStock, "b1", body),
		"branch": Fingerprint(domain.CommandAdjustStock, "b2", domain.AdjustStock{ProductID: "p", Delta: 1, Reason: "r"}),
		"type":   Fingerprint(domain.CommandCountStock, "b1", domain.AdjustStock{ProductID: "p", Delta: 1, Reason: "r"}),
	} {
		if other == same {
			t.Errorf("another %s has the same fingerprint", name)
		}
	}
}

func Fuzz_decode_command(f *testing.F) {
	types := []string{}
	for _, row := range commandRoutes {
		types = append(types, row.command)
	}
	for i := range types {
		f.Add(i, []byte(`{"branchId":"b1","name":"x","productId":"p","counted":-0,"lines":[{"productId":"p","quantity":1}]}`))
		f.Add(i, []byte(`{"lines":[]}`))
		f.Add(i, []byte(`{"role":"staff","branches":["b1"],"delta":9223372036854775808,"a\ud800":null}`))
	}
	f.Fuzz(func(t *testing.T, which int, raw []byte) {
		if which < 0 {
			which = -(which + 1)
		}
		commandType := types[which%len(types)]
		body, r := DecodeCommand(commandType, raw)
		if r != nil {
			if body != nil || r.Code != domain.CodeValidation {
				t.Fatalf("body %v with rejection %v", body, r)
			}
			if errs, ok := r.Details["errors"].([]domain.FieldError); !ok || len(errs) == 0 {
				t.Fatalf("rejection %v names no field", r)
			}
			return
		}
		if got, want := reflect.TypeOf(body), reflect.TypeOf(domain.NewBody(commandType)); got != want {
			t.Fatalf("a %v, want a %v", got, want)
		}
		// What was taken is what encoding/json makes of it, and writes again.
		again, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(again, []byte(":null")) {
			return // a list that was left out, for the rules to refuse
		}
		second, r := DecodeCommand(commandType, again)
		if r != nil {
			t.Fatalf("%s\ndecoded again: %v", again, r)
		}
		// Compared as JSON: an empty list that may be left out comes back as none.
		if twice, err := json.Marshal(second); err != nil || !bytes.Equal(twice, again) {
			t.Fatalf("%s\ndecoded again: %s, %v", again, twice, err)
		}
	})
}
