package httpapi

import (
	"net/http"
	"time"

	"bms/domain"
)

// Health is the answer of GET /healthz and, when ready, of GET /readyz.
type Health struct {
	Status string `json:"status"`
}

// SocketStatus is the websocket object of GET /ws-status.
type SocketStatus struct {
	Enabled bool `json:"enabled"`
	// Uptime is in seconds.
	Uptime int64 `json:"uptime"`
	// Connections is the number of namespace connections in all.
	Connections int `json:"connections"`
	// Rooms is the number of rooms with members.
	Rooms      int            `json:"rooms"`
	Namespaces map[string]int `json:"namespaces"`
}

// WSStatus is the answer of GET /ws-status.
type WSStatus struct {
	WebSocket SocketStatus    `json:"websocket"`
	Pos       domain.Position `json:"pos"`
}

// healthz says that the process answers, and nothing more.
func (a *api) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, Health{Status: alive})
}

const alive = "alive"

// readyz says whether this node should get traffic, with the reasons if not.
func (a *api) readyz(w http.ResponseWriter, _ *http.Request) error {
	reasons := a.cfg.Ready()
	if len(reasons) == 0 {
		return writeJSON(w, http.StatusOK, Health{Status: "ready"})
	}
	return notReady(reasons...)
}

func notReady(reasons ...string) *domain.Rejection {
	r := domain.Reject(codeNotReady, "this node should get no traffic now, see reasons")
	r.Details = map[string]any{"reasons": reasons}
	return r
}

func (a *api) wsStatus(w http.ResponseWriter, _ *http.Request) error {
	stats := a.cfg.Sockets.Stats()
	_, none := a.cfg.Sockets.(noSockets)
	status := SocketStatus{
		Enabled: !none, Uptime: int64(a.cfg.Now().Sub(a.cfg.Started) / time.Second),
		Connections: stats.Connections, Rooms: stats.Rooms,
		Namespaces: map[string]int{domain.NamespaceAll: 0, domain.NamespaceAdmin: 0, domain.NamespacePOS: 0},
	}
	for name := range status.Namespaces {
		status.Namespaces[name] = stats.Namespaces[name]
	}
	return writeJSON(w, http.StatusOK, WSStatus{WebSocket: status, Pos: a.cfg.Log.Head()})
}

// disconnect ends a connection.
func (a *api) disconnect(r *http.Request, _ *params) (operated, error) {
	if !a.cfg.Sockets.Kick(r.PathValue("sid")) {
		return operated{}, domain.Reject(codeUnknownConnection, "connection %q is not on this node", shown(r.PathValue("sid")))
	}
	return operated{Status: http.StatusNoContent}, nil
}

func (a *api) metrics(w http.ResponseWriter, r *http.Request) error {
	a.cfg.Metrics.ServeHTTP(w, r)
	return nil
}
