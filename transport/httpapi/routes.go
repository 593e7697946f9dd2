package httpapi

import (
	"net/http"
	"reflect"

	"bms/domain"
)

// route of the API: what the mux and the document need of it.
type routeEntry struct {
	method, path string
	summary, tag string
	roles        string // who may; "" for open to all
	command      string // its type, for a command
	bare         bool   // a command whose body may be left out
	params       []param
	status       int
	answer       reflect.Type // nil for none, or not JSON
	answerType   string       // content type of an answer that isn't JSON
	handle       handler
}

// routes is everything the API answers.
func (a *api) routes() []routeEntry {
	var all []routeEntry
	for _, row := range commandRoutes {
		all = append(all, routeEntry{
			method: row.method, path: row.path, summary: row.summary, tag: "commands", roles: row.roles(),
			command: row.command, bare: row.bare(), status: row.status, handle: a.command(row),
		})
	}
	for _, row := range queryRoutes {
		roles := map[string]string{domain.RoleStaff: "any role", domain.RoleManager: "manager, admin", domain.RoleAdmin: "admin"}[row.least]
		all = append(all, routeEntry{
			method: http.MethodGet, path: row.path, summary: row.summary, tag: "queries", roles: roles,
			params: append(row.params[:len(row.params):len(row.params)], paramMinPos),
			status: http.StatusOK, answer: row.answer, handle: a.query(row),
		})
	}
	open := func(path, summary string, answer reflect.Type, answerType string, h handler) {
		all = append(all, routeEntry{method: http.MethodGet, path: path, summary: summary, tag: "node", status: http.StatusOK, answer: answer, answerType: answerType, handle: h})
	}
	all = append(all, routeEntry{
		method: http.MethodDelete, path: "/api/connections/{sid}", summary: "Disconnect a connection", tag: "node",
		roles: "admin", status: http.StatusNoContent, handle: a.operate(operationDisconnect, a.disconnect),
	})
	all = append(all, a.projectionRoutes()...)
	open("/ws-status", "How the sockets of this node are", reflect.TypeFor[WSStatus](), "", a.wsStatus)
	open("/healthz", "Whether the process answers", reflect.TypeFor[Health](), "", a.healthz)
	open("/readyz", "Whether this node should get traffic", reflect.TypeFor[Health](), "", a.readyz)
	if a.cfg.Metrics != nil {
		open("/metrics", "Metrics for Prometheus", nil, "text/plain", a.metrics)
	}
	open("/openapi.json", "This document", nil, "application/json", a.openapi)
	open("/asyncapi.json", "Sockets and log, as AsyncAPI 3.0 describes them", nil, "application/json", a.asyncapi)
	open("/events.d.ts", "TypeScript types of all events and of what sockets take", nil, "text/plain", a.types)
	open("/docs", "This document, to browse", nil, "text/html", asset("docs.html", "text/html; charset=utf-8"))
	open("/docs/docs.js", "What /docs runs", nil, "text/javascript", asset("docs.js", "text/javascript; charset=utf-8"))
	open("/docs/docs.css", "What /docs looks like", nil, "text/css", asset("docs.css", "text/css; charset=utf-8"))
	return all
}
