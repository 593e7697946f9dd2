package main

import (
	"testing"

	"bms/domain"
)

// withoutProjections has all panic that asks the read models over a socket.
func withoutProjections(s *sockets) (mend func()) {
	whole := s.projections
	s.projections = nil
	return func() { s.projections = whole }
}

// Invariant 7: a panic behind what a client asks for is answered, costs that
// client its connection, and nobody else anything.
func TestClient_whose_request_panics_is_told_and_ends_alone(t *testing.T) {
	overBoth(t, func(t *testing.T, n *testNode, protocol string) {
		other := n.connect(t, protocol, domain.NamespaceAll, signed("clerk", domain.RoleStaff, "b1"), "")
		for op, broken := range map[string]struct {
			with func(s *sockets) (mend func())
			args any
		}{
			"command": {
				func(s *sockets) func() {
					whole := s.commands
					s.commands = &commandEdge{} // which panics after the commit
					return func() { s.commands = whole }
				},
				map[string]any{"type": domain.CommandSetUser, "body": map[string]any{"userId": "u9", "role": "staff", "branches": []string{"b1"}, "name": "Nina"}},
			},
			"notifications:ack": {withoutProjections, n.app.log.Head().String()},
		} {
			c := n.connect(t, protocol, domain.NamespaceAll, signed("root", domain.RoleAdmin), "")
			mend := broken.with(n.app.sockets)
			if a := c.ask(op, broken.args); a.OK || a.Error.Code != "internal" {
				t.Errorf("%s: answered %+v, want internal", op, a)
			}
			_, _ = c.end()
			mend()
			other.want(n.sell(t, "b1"))
		}
		if got := n.app.system.Panics(); got != 2 {
			t.Errorf("%d panics counted, want 2", got)
		}
	})
}

// A client whose connecting panics takes no place, however often it tries.
func TestClient_whose_connecting_panics_takes_no_place(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			n := startNode(t, t.TempDir(), "--connect-rate", "1000/1m", "--user-connections", "2")
			token := signed("clerk", domain.RoleStaff, "b1")
			mend := withoutProjections(n.app.sockets) // which are asked for unread notifications
			for i := range 5 {
				if _, err := n.tryConnect(t, protocol, domain.NamespaceAll, token, ""); err == nil {
					t.Fatalf("time %d: connected, want a refusal", i+1)
				}
			}
			mend()
			for range 2 {
				n.connect(t, protocol, domain.NamespaceAll, token, "")
			}
		})
	}
}
