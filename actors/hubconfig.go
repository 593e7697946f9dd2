package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"bms/domain"
)

// HubConfig sets up a Hub. System, Log and Codecs must be given.
type HubConfig struct {
	System *System
	Log    interface {
		domain.Reader
		domain.Follower
	}
	// Codecs are the wire formats that connections choose from by index.
	Codecs []Codec
	// Verify judges the token of an auth:refresh. Nil: refreshes are refused.
	Verify func(ctx context.Context, token string) (domain.Identity, time.Time, error)
	// Branches lists all branches, for showing an admin's rooms. It may take
	// its time. Nil: none are shown.
	Branches func() []string

	// Unread gives the oldest of a user's personal notifications after a
	// position that he hasn't acknowledged, at most limit. Who connects
	// without a cursor gets them first. Nil: nobody has any.
	Unread func(ctx context.Context, userID string, after domain.Position, limit int) ([]*domain.Event, error)

	// Sessions keeps what clients changed of their rooms, for sessions that
	// are recovered (ConnectRequest.KeepRooms). Nil: they come back to the
	// automatic ones.
	Sessions SessionStore

	// TailFrames is how many recent frames a room keeps, TailBytes how many
	// bytes they take in all formats, beside the feed's batch that the oldest
	// of them is from; 0 means 256, and 1 MB.
	TailFrames, TailBytes int
	// RecentFrames and RecentBytes are likewise for all rooms together, for
	// connections that fell behind; 0 means 8192, and 32 MB.
	RecentFrames, RecentBytes int
	// SegmentBytes bounds what is kept of the log for connections that catch
	// up, in all formats; 0 means 64 MB.
	SegmentBytes int
	// Turns is how many clients that come in and connections that catch up
	// are served at any moment; 0 means half the processors, at least one.
	Turns int
	// RoomIdle is how long an empty room lives on; 0 means 5 minutes.
	RoomIdle time.Duration
	// Inbound bounds the events of one client being handled; at the bound
	// its socket is not read. 0 means 16.
	Inbound int
	// RoomsPerConnection bounds what a client can join; 0 means 256.
	RoomsPerConnection int

	// Fed is told of events put into the tails, Delivered of frames given to
	// a transport in one go. For metrics; they must be quick. Nil: nobody is
	// told.
	Fed       func(events int)
	Delivered func(Delivery)
	// Tracer makes spans of sampled commits' events. Nil: there are none.
	Tracer Tracer

	Logger *slog.Logger     // nil: discarded
	Now    func() time.Time // nil: time.Now
}

// check names what is missing or can't be.
func (c *HubConfig) check() error {
	switch {
	case c.System == nil:
		return errors.New("hub: System is not set")
	case c.Log == nil:
		return errors.New("hub: Log is not set")
	case len(c.Codecs) == 0:
		return errors.New("hub: Codecs is empty")
	}
	for _, bound := range []struct {
		field string
		value int
	}{
		{"TailFrames", c.TailFrames},
		{"TailBytes", c.TailBytes},
		{"RecentFrames", c.RecentFrames},
		{"RecentBytes", c.RecentBytes},
		{"SegmentBytes", c.SegmentBytes},
		{"Turns", c.Turns},
		{"RoomIdle", int(c.RoomIdle)},
		{"Inbound", c.Inbound},
		{"RoomsPerConnection", c.RoomsPerConnection},
	} {
		if bound.value < 0 {
			return fmt.Errorf("hub: %s is %d", bound.field, bound.value)
		}
	}
	return nil
}

func (c *HubConfig) defaults() {
	c.TailFrames = orDefault(c.TailFrames, 256)
	c.TailBytes = orDefault(c.TailBytes, 1<<20)
	c.RecentFrames = orDefault(c.RecentFrames, 8192)
	c.RecentBytes = orDefault(c.RecentBytes, 32<<20)
	c.SegmentBytes = orDefault(c.SegmentBytes, 64<<20)
	c.Turns = orDefault(c.Turns, max(1, runtime.GOMAXPROCS(0)/2))
	c.RoomIdle = orDefault(c.RoomIdle, 5*time.Minute)
	c.Inbound = orDefault(c.Inbound, 16)
	c.RoomsPerConnection = orDefault(c.RoomsPerConnection, 256)
	if c.Branches == nil {
		c.Branches = func() []string { return nil }
	}
	if c.Fed == nil {
		c.Fed = func(int) {}
	}
	if c.Delivered == nil {
		c.Delivered = func(Delivery) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
