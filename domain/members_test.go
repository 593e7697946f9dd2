package domain

import (
	"errors"
	"testing"
)

func Test_members_of_an_object(t *testing.T) {
	for name, c := range map[string]struct {
		raw  string
		want map[string]string // nil: an error
	}{
		"none":            {`{}`, map[string]string{}},
		"some":            {` {"a":1, "A":[2] ,"b":{"a":null}} `, map[string]string{"a": "1", "A": "[2]", "b": `{"a":null}`}},
		"an escaped name": {`{"\u0061":1}`, map[string]string{"a": "1"}},
		"null":            {`null`, nil},
		"a list":          {`[]`, nil},
		"no end":          {`{"a":1`, nil},
		"no value":        {`{"a":}`, nil},
		"something after": {`{} {}`, nil},
		"a comma":         {`{"a":1,}`, nil},
		"nothing":         {``, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Members([]byte(c.raw))
			if c.want == nil {
				if !errors.Is(err, ErrNotAnObject) {
					t.Fatalf("got %v, %v; want ErrNotAnObject", got, err)
				}
				return
			}
			if err != nil || len(got) != len(c.want) {
				t.Fatalf("got %s, %v; want %v", got, err, c.want)
			}
			for name, want := range c.want {
				if string(got[name]) != want {
					t.Errorf("%s is %s, want %s", name, got[name], want)
				}
			}
		})
	}
	for _, raw := range []string{`{"a":1,"a":1}`, `{"a":1,"\u0061":2}`} {
		_, err := Members([]byte(raw))
		if twice, ok := errors.AsType[*TwiceError](err); !ok || twice.Name != "a" {
			t.Errorf("%s: %v, want a TwiceError of a", raw, err)
		}
	}
}
