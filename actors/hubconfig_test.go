package actors

import (
	"log/slog"
	"strings"
	"testing"

	"bms/transport/eventlog/eventlogtest"
)

func Test_a_hub_names_the_setting_that_can_not_be(t *testing.T) {
	system, err := NewSystem(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*HubConfig){
		"System":             func(c *HubConfig) { c.System = nil },
		"Log":                func(c *HubConfig) { c.Log = nil },
		"Codecs":             func(c *HubConfig) { c.Codecs = nil },
		"TailFrames":         func(c *HubConfig) { c.TailFrames = -1 },
		"TailBytes":          func(c *HubConfig) { c.TailBytes = -1 },
		"RecentFrames":       func(c *HubConfig) { c.RecentFrames = -1 },
		"RecentBytes":        func(c *HubConfig) { c.RecentBytes = -1 },
		"SegmentBytes":       func(c *HubConfig) { c.SegmentBytes = -1 },
		"Turns":              func(c *HubConfig) { c.Turns = -1 },
		"RoomIdle":           func(c *HubConfig) { c.RoomIdle = -1 },
		"Inbound":            func(c *HubConfig) { c.Inbound = -1 },
		"RoomsPerConnection": func(c *HubConfig) { c.RoomsPerConnection = -1 },
	} {
		cfg := HubConfig{System: system, Log: eventlogtest.NewMemory(), Codecs: []Codec{textCodec{}}}
		change(&cfg)
		if _, err := NewHub(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v, want an error that names it", field, err)
		}
	}
}
