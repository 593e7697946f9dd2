package socketio

// Observer is told what happens in a server, for metrics. Its functions are
// called on hot paths and by many goroutines at once: they must be quick and
// must not call back into the server. nil ones are not called.
type Observer struct {
	// Closed tells of the end of an Engine.IO session; transport is the one it
	// ended with.
	Closed func(transport Transport, reason Reason)

	// Refused tells of a request that was answered with an error, or a CONNECT
	// with CONNECT_ERROR. reason is one of a few dozen fixed strings.
	Refused func(reason string)
}

// Transport is how a session is carried.
type Transport string

// The transports.
const (
	Polling   Transport = "polling"
	WebSocket Transport = "websocket"
)

// Reason is why a session or a socket ended. Those that Socket.IO has are
// named as there.
type Reason string

// The reasons.
const (
	ClientNamespaceDisconnect Reason = "client namespace disconnect"
	ServerNamespaceDisconnect Reason = "server namespace disconnect"
	ServerShuttingDown        Reason = "server shutting down"
	ForcedServerClose         Reason = "forced server close"
	TransportClose            Reason = "transport close"
	TransportError            Reason = "transport error"
	PingTimeout               Reason = "ping timeout"
	ConnectTimeout            Reason = "connect timeout"
	Displaced                 Reason = "displaced" // by a newer session, see Config.MaxUnauthenticated
	ParseError                Reason = "parse error"
	TooSlow                   Reason = "too slow"
	RateExceeded              Reason = "rate exceeded"
	ServerError               Reason = "server error"
)
