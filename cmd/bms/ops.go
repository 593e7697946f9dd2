package main

import (
	"context"
	"io"

	"bms/transport/telemetry"
)

// opsCommand prints what a monitoring system is set up with. It is in the binary,
// so that it fits the metrics of the node that runs.
func opsCommand() (*flagSet, runFunc) {
	f := newFlagSet("ops")
	f.operands = []string{"FILE"}
	return f, func(_ context.Context, stdout, _ io.Writer) error {
		files := map[string]string{"alerts.yml": telemetry.AlertRules, "dashboard.json": telemetry.Dashboard}
		text, ok := files[f.operand(0)]
		if !ok {
			return usagef("there is no %s: want alerts.yml, rules for Prometheus, or dashboard.json, for Grafana", f.operand(0))
		}
		_, err := io.WriteString(stdout, text)
		return err
	}
}
