package domain

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// moved stands for a payload that has come to its third version: "x" was renamed
// to "left" and then got a unit.
type moved struct {
	Left int64  `json:"left"`
	Unit string `json:"unit"`
}

func (moved) EventType() string { return "test:moved" }

// withMoved has the program know the type while the test runs.
func withMoved(t *testing.T) {
	t.Helper()
	schemas["test:moved"] = schema{3, decode[moved]}
	upcasts["test:moved"] = []upcast{
		func(raw json.RawMessage) (json.RawMessage, error) {
			var was struct{ X int64 }
			if err := json.Unmarshal(raw, &was); err != nil {
				return nil, err
			}
			return json.Marshal(struct {
				Left int64 `json:"left"`
			}{was.X})
		},
		func(raw json.RawMessage) (json.RawMessage, error) {
			var was moved
			if err := json.Unmarshal(raw, &was); err != nil {
				return nil, err
			}
			was.Unit = "mm"
			return json.Marshal(was)
		},
	}
	t.Cleanup(func() {
		delete(schemas, "test:moved")
		delete(upcasts, "test:moved")
	})
}

func Test_old_versions_are_upcast_step_by_step(t *testing.T) {
	withMoved(t)
	for version, data := range map[int]string{1: `{"x":7}`, 2: `{"left":7}`, 3: `{"left":7,"unit":"mm"}`} {
		e := &Event{ID: "e", Type: "test:moved", Version: version, At: time.Unix(0, 0), Data: json.RawMessage(data)}
		p, err := e.Payload()
		if want := (moved{7, "mm"}); err != nil || p != want {
			t.Errorf("version %d is %+v, error %v; want %+v", version, p, err, want)
		}
		if got, want := string(e.AppendEnvelope(nil)), `"data":{"left":7,"unit":"mm"}`; !strings.Contains(got, want) {
			t.Errorf("clients get %s of version %d, want it with %s", got, version, want)
		}
		if string(e.Data) != data {
			t.Errorf("the event's data became %s, want it as stored, %s", e.Data, data)
		}
	}
}

func Test_what_cannot_be_upcast_is_said(t *testing.T) {
	withMoved(t)
	for _, version := range []int{0, 4} {
		e := &Event{Type: "test:moved", Version: version, Data: json.RawMessage(`{}`)}
		if p, err := e.Payload(); !errors.Is(err, ErrUnknownEvent) {
			t.Errorf("version %d is %v, error %v; want ErrUnknownEvent", version, p, err)
		}
	}
	e := &Event{Type: "test:moved", Version: 1, Data: json.RawMessage(`{"x":"seven"}`)}
	if p, err := e.Payload(); err == nil || errors.Is(err, ErrUnknownEvent) {
		t.Errorf("a payload that isn't of its version is %v, error %v; want an error of its own", p, err)
	}
	if got := string(e.AppendEnvelope(nil)); !strings.Contains(got, `"data":{"x":"seven"}`) {
		t.Errorf("clients get %s, want it as stored", got)
	}
}

// Who raises a version and forgets the upcast finds out here.
func Test_every_older_version_has_an_upcast(t *testing.T) {
	for eventType, s := range schemas {
		if got, want := len(upcasts[eventType]), s.version-1; got != want {
			t.Errorf("%s is at version %d and has %d upcasts, want %d", eventType, s.version, got, want)
		}
	}
	for eventType := range upcasts {
		if _, ok := schemas[eventType]; !ok {
			t.Errorf("there are upcasts of %s, which is no event type", eventType)
		}
	}
}
