package eventlog

import (
	"reflect"
	"testing"
)

func TestSmoke(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir()})
	c := adjustment("branch/b1", 1, "x")
	if err := l.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	got, err := l.pool.read(t.Context(), l.epochs, 0, 1, 10)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got[0], c) {
		t.Fatalf("got %+v want %+v", got[0], c)
	}
}
