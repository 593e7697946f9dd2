package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bms/actors"
	"bms/domain"
)

// Metrics is the metric set of a node.
type Metrics struct {
	registry *prometheus.Registry

	commands        *prometheus.CounterVec   // type, outcome
	commandDuration *prometheus.HistogramVec // type
	durable         prometheus.Histogram
	appendDuration  prometheus.Histogram
	appendCommits   prometheus.Histogram
	appendFailures  prometheus.Counter
	writeDuration   prometheus.Histogram
	writeCommits    prometheus.Histogram
	writeFailures   prometheus.Counter
	loadDuration    prometheus.Histogram
	loadFailures    prometheus.Counter

	connections *prometheus.GaugeVec   // protocol, namespace
	connects    *prometheus.CounterVec // protocol, namespace
	disconnects *prometheus.CounterVec // protocol, namespace, reason
	refusals    *prometheus.CounterVec // protocol, reason
	closes      *prometheus.CounterVec // code
	sessions    *prometheus.CounterVec // transport, reason
	fed         prometheus.Counter
	deliveries  prometheus.Counter
	delivered   prometheus.Counter
	writes      prometheus.Counter
	deliverLag  prometheus.Histogram
	deliverWait prometheus.Histogram
	lag         prometheus.Histogram

	folded      *prometheus.CounterVec // projection
	foldErrors  *prometheus.CounterVec // projection
	foldSeconds *prometheus.CounterVec // projection
	rebuilds    *prometheus.CounterVec // projection, outcome
	alerts      prometheus.Counter

	requests        *prometheus.CounterVec   // route, status
	requestDuration *prometheus.HistogramVec // route
	requestRefusals *prometheus.CounterVec   // code

	commandTypes, namespaces  allowed
	protocols, transports     allowed
	outcomes, reasons, routes *bounded
	projections, closeCodes   *bounded
}

// NewMetrics makes the metric set, with Go's and the process's own metrics
// beside it.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		commandTypes: allow(domain.CommandOpenBranch, domain.CommandChangeBranch, domain.CommandCreateProduct,
			domain.CommandChangeProduct, domain.CommandDeleteProduct, domain.CommandCountStock, domain.CommandAdjustStock,
			domain.CommandAdjustStockBulk, domain.CommandCreateTransaction, domain.CommandSetTransactionStatus,
			domain.CommandDispatchTransfer, domain.CommandReceiveTransfer, domain.CommandCancelTransfer, domain.CommandSubmitSync,
			domain.CommandAnnounceTransfer, domain.CommandReturnTransfer, domain.CommandSetUser, domain.CommandChangeUser,
			domain.CommandSendNotification, domain.CommandAckNotifications),
		namespaces:  allow(domain.NamespaceAll, domain.NamespacePOS, domain.NamespaceAdmin),
		protocols:   allow(ProtocolSocketIO, ProtocolWebSocket),
		transports:  allow("polling", "websocket"),
		outcomes:    bound(64),
		reasons:     bound(64),
		routes:      bound(128),
		projections: bound(32),
		closeCodes:  bound(32),
	}
	// From 50 µs to 13 s in steps of two: an fsync is between 0.1 and 10 ms.
	durations := prometheus.ExponentialBuckets(0.00005, 2, 19)
	m.commands = m.counters("bms_commands_total", "Commands by type and outcome: accepted, fault or the code of the rejection.", "type", "outcome")
	m.commandDuration = m.histograms("bms_command_duration_seconds", "From the acceptance of a command to its answer.", durations, "type")
	m.durable = m.histogram("bms_commit_durable_seconds", "From the acceptance of a command until its commit is durable.", durations)
	m.appendDuration = m.histogram("bms_log_append_duration_seconds", "One append of the log, until it is durable.", durations)
	m.appendCommits = m.histogram("bms_log_append_commits", "Commits that became durable together.", prometheus.ExponentialBuckets(1, 2, 12))
	m.appendFailures = m.counter("bms_log_append_failures_total", "Appends that failed or whose outcome is unknown.")
	m.writeDuration = m.histogram("bms_log_transaction_duration_seconds", "One transaction of the log's writer, fsync included.", durations)
	m.writeCommits = m.histogram("bms_log_transaction_commits", "Commits, of whatever stream, in one transaction: they share its fsync.", prometheus.ExponentialBuckets(1, 2, 13))
	m.writeFailures = m.counter("bms_log_transaction_failures_total", "Transactions of the log's writer that failed.")
	m.loadDuration = m.histogram("bms_stream_load_duration_seconds", "One load of a stream's state.", durations)
	m.loadFailures = m.counter("bms_stream_load_failures_total", "Loads that failed.")

	m.connections = m.gauges("bms_connections", "Open namespace connections.", "protocol", "namespace")
	m.connects = m.counters("bms_connects_total", "Namespace connections accepted.", "protocol", "namespace")
	m.disconnects = m.counters("bms_disconnects_total", "Namespace connections ended, by reason.", "protocol", "namespace", "reason")
	m.refusals = m.counters("bms_connect_refusals_total", "Connections refused, by code.", "protocol", "reason")
	m.closes = m.counters("bms_websocket_closes_total", "Plain WebSockets closed by the server, by the close code that the client was told; none: it could not be told.", "code")
	m.sessions = m.counters("bms_engineio_sessions_closed_total", "Engine.IO sessions that ended, with namespaces or without, by their transport at the end and the reason.", "transport", "reason")
	m.fed = m.counter("bms_feed_events_total", "Events that the feed took from the log.")
	m.deliveries = m.counter("bms_deliveries_total", "Events written to sockets.")
	m.delivered = m.counter("bms_delivered_bytes_total", "Bytes of events written to sockets.")
	m.writes = m.counter("bms_delivery_writes_total", "Writes in which those events went out.")
	m.deliverLag = m.histogram("bms_delivery_lag_seconds", "From the decision of an event to its write to a socket, for the last event of a write.", durations)
	m.deliverWait = m.histogram("bms_delivery_wait_seconds", "From when an event was durable and in the feed until it was handed to a socket, for the last event of a write.", durations)
	m.lag = m.histogram("bms_connection_lag_records", "Log records between a connection and the head, of each connection once a second.", prometheus.ExponentialBuckets(1, 4, 12))

	m.folded = m.counters("bms_projection_events_total", "Events folded.", "projection")
	m.foldSeconds = m.counters("bms_projection_fold_seconds_total", "Time spent folding.", "projection")
	m.foldErrors = m.counters("bms_projection_errors_total", "Errors that stopped a projection, for a moment or for good.", "projection")
	m.rebuilds = m.counters("bms_projection_rebuilds_total", "Rebuilds and verifications that ended, by outcome: done, cancelled, failed; verified, or differs, for a verification that was done.", "projection", "outcome")
	m.alerts = m.counter("bms_alerts_total", "Low-stock alerts appended.")

	m.requests = m.counters("bms_http_requests_total", "HTTP requests by route and status.", "route", "status")
	m.requestDuration = m.histograms("bms_http_request_duration_seconds", "HTTP requests, until the handler returned.", durations, "route")
	m.requestRefusals = m.counters("bms_http_refusals_total", "HTTP requests refused, by the code of the problem.", "code")

	m.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Registry is where further metrics may be registered.
func (m *Metrics) Registry() prometheus.Registerer { return m.registry }

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	// Only OpenMetrics, which Prometheus asks for, has exemplars.
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
}

// Command counts a command's answer: its outcome is "accepted", "fault", or the
// code of a rejection.
func (m *Metrics) Command(cmd *domain.Command, outcome string, took time.Duration) {
	commandType := m.commandTypes.value(cmd.Type)
	m.commands.WithLabelValues(commandType, m.outcomes.value(outcome)).Inc()
	observe(m.commandDuration.WithLabelValues(commandType), took, traceID(cmd.Metadata))
}

// Durable counts a commit that has become durable, so long after its command
// was accepted.
func (m *Metrics) Durable(c *domain.Commit, took time.Duration) {
	observe(m.durable, took, traceID(c.Metadata))
}

// observe counts a duration, with its trace as the exemplar if it has one.
func observe(h prometheus.Observer, d time.Duration, trace string) {
	seconds := max(d, 0).Seconds()
	if trace == "" {
		h.Observe(seconds)
		return
	}
	h.(prometheus.ExemplarObserver).ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": trace})
}

// Appended counts an append of the log: how many commits became durable
// together, or the error.
func (m *Metrics) Appended(commits int, took time.Duration, err error) {
	if err != nil {
		m.appendFailures.Inc()
		return
	}
	m.appendDuration.Observe(took.Seconds())
	m.appendCommits.Observe(float64(commits))
}

// Wrote counts a transaction of the log's writer: how many commits it had, or the
// error.
func (m *Metrics) Wrote(commits int, took time.Duration, err error) {
	if err != nil {
		m.writeFailures.Inc()
		return
	}
	m.writeDuration.Observe(took.Seconds())
	m.writeCommits.Observe(float64(commits))
}

// Loaded counts a load of a stream's state.
func (m *Metrics) Loaded(took time.Duration, err error) {
	if err != nil {
		m.loadFailures.Inc()
		return
	}
	m.loadDuration.Observe(took.Seconds())
}

// The protocols that connections are counted by.
const (
	ProtocolSocketIO  = "socket.io"
	ProtocolWebSocket = "websocket"
)

// Connected counts a namespace connection.
func (m *Metrics) Connected(protocol, namespace string) {
	protocol, namespace = m.protocols.value(protocol), m.namespaces.value(namespace)
	m.connects.WithLabelValues(protocol, namespace).Inc()
	m.connections.WithLabelValues(protocol, namespace).Inc()
}

// Disconnected counts the end of a connection that was counted by Connected.
func (m *Metrics) Disconnected(protocol, namespace, reason string) {
	protocol, namespace = m.protocols.value(protocol), m.namespaces.value(namespace)
	m.connections.WithLabelValues(protocol, namespace).Dec()
	m.disconnects.WithLabelValues(protocol, namespace, m.reasons.value(reason)).Inc()
}

// Refused counts a connection that was not accepted, by the code it was told.
func (m *Metrics) Refused(protocol, code string) {
	m.refusals.WithLabelValues(m.protocols.value(protocol), m.reasons.value(code)).Inc()
}

// Closed counts a plain WebSocket that the server has closed, by the close
// code; 0 is one that could not be told.
func (m *Metrics) Closed(code int) {
	label := "none"
	if code != 0 {
		label = m.closeCodes.value(strconv.Itoa(code))
	}
	m.closes.WithLabelValues(label).Inc()
}

// SessionClosed counts the end of an Engine.IO session.
func (m *Metrics) SessionClosed(transport, reason string) {
	m.sessions.WithLabelValues(m.transports.value(transport), m.reasons.value(reason)).Inc()
}

// Fed counts events that the feed took from the log.
func (m *Metrics) Fed(events int) { m.fed.Add(float64(events)) }

// Delivered counts events given to a socket.
func (m *Metrics) Delivered(d actors.Delivery) {
	m.writes.Inc()
	m.deliveries.Add(float64(d.Events))
	m.delivered.Add(float64(d.Bytes))
	trace := ""
	if d.Trace != nil {
		trace = exemplar(d.Trace)
	}
	observe(m.deliverLag, d.Lag, trace)
	if d.Waited >= 0 {
		observe(m.deliverWait, d.Waited, trace)
	}
}

// Lag counts how far a connection is behind.
func (m *Metrics) Lag(records uint64) { m.lag.Observe(float64(records)) }

// Folded counts a batch that a projection committed.
func (m *Metrics) Folded(projection string, _, events int, took time.Duration) {
	projection = m.projections.value(projection)
	m.folded.WithLabelValues(projection).Add(float64(events))
	m.foldSeconds.WithLabelValues(projection).Add(took.Seconds())
}

// FoldFailed counts an error that stopped a projection.
func (m *Metrics) FoldFailed(projection string, _ error) {
	m.foldErrors.WithLabelValues(m.projections.value(projection)).Inc()
}

// Rebuilt counts a rebuild or a verification that has ended.
func (m *Metrics) Rebuilt(projection, outcome string) {
	m.rebuilds.WithLabelValues(m.projections.value(projection), m.outcomes.value(outcome)).Inc()
}

// Alerted counts alerts that were appended.
func (m *Metrics) Alerted(appended, _ int) { m.alerts.Add(float64(appended)) }

// Request counts an HTTP request. route is the pattern that matched.
func (m *Metrics) Request(route string, status int, took time.Duration) {
	route = m.routes.value(route)
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.requestDuration.WithLabelValues(route).Observe(took.Seconds())
}

// RequestRefused counts an HTTP request that was answered with a problem.
func (m *Metrics) RequestRefused(code string) {
	m.requestRefusals.WithLabelValues(m.outcomes.value(code)).Inc()
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}
