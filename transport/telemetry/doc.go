// Package telemetry is what a node tells about itself: metrics for Prometheus
// and traces for OpenTelemetry.
//
// [Metrics] is the node's metric set on a registry of its own. The parts of the
// node know nothing of it: they call hooks, which the wiring sets to its
// methods. Every label has a bounded set of values, whatever clients send.
//
// # Concurrency properties
//
// All methods are safe for concurrent use and don't block.
package telemetry
