package main

import (
	"reflect"
	"testing"
)

// What the parts can tell and nobody asks for would be a metric that is in the
// code and on no dashboard.
func TestObserve_everything_that_can_be_told_is_asked_for(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	n := startNode(t, t.TempDir())
	for name, hooks := range map[string]any{
		"sources": n.app.sources(), "projections": n.app.observeProjections(), "deciders": n.app.observeDeciders(),
	} {
		for v, i := reflect.ValueOf(hooks), 0; i < v.NumField(); i++ {
			if v.Field(i).IsNil() {
				t.Errorf("%s: %s is not set", name, v.Type().Field(i).Name)
			}
		}
	}
}
