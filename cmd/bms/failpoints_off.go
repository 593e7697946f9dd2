//go:build !failpoints

package main

import (
	"net"
	"net/http"

	"bms/actors"
	"bms/projections"
	"bms/transport/commandbus"
)

// Tests kill the node at chosen steps of a command's and an event's way, in a
// binary made with -tags failpoints (failpoints.go). In any other these do
// nothing, and the compiler leaves nothing of them.

func failingBus(c commandbus.Config) commandbus.Config              { return c }
func failingDeciders(c actors.DecidersConfig) actors.DecidersConfig { return c }
func failingHub(c actors.HubConfig) actors.HubConfig                { return c }
func failingProjections(c projections.Config) projections.Config    { return c }
func failingHandler(h http.Handler) http.Handler                    { return h }
func failingListener(l net.Listener) net.Listener                   { return l }
