package telemetry

import _ "embed"

// AlertRules are rules for Prometheus, YAML, on the metrics of a node.
//
//go:embed ops/alerts.yml
var AlertRules string

// Dashboard is a dashboard for Grafana, JSON, of one or more nodes.
//
//go:embed ops/dashboard.json
var Dashboard string
