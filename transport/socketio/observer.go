package socketio

// Observer is told what happens in a server, for metrics. Its functions are
// called on hot paths and by many goroutines at once: they must be quick and
// must not call back into the server. nil ones are not called.
type Observer struct {
	// Opened and Closed tell of Engine.IO sessions; transport is the one they
	// began or ended with.
	Opened func(transport Transport)
	Closed func(transport Transport, reason Reason)

	// Upgraded tells of a session that went from polling to WebSocket.
	Upgraded func()

	// Refused tells of a request that was answered with an error, or a CONNECT
	// with CONNECT_ERROR. reason is one of a few dozen fixed strings.
	Refused func(reason string)

	// Joined and Left tell of sockets, that is of connections to a namespace.
	Joined func(namespace string)
	Left   func(namespace string, reason Reason)

	// Received tells of one Engine.IO packet of so many bytes, Sent of one
	// write of so many messages and bytes.
	Received func(bytes int)
	Sent     func(frames, bytes int)
}

func (o *Observer) setDefaults() {
	if o.Opened == nil {
		o.Opened = func(Transport) {}
	}
	if o.Closed == nil {
		o.Closed = func(Transport, Reason) {}
	}
	if o.Upgraded == nil {
		o.Upgraded = func() {}
	}
	if o.Refused == nil {
		o.Refused = func(string) {}
	}
	if o.Joined == nil {
		o.Joined = func(string) {}
	}
	if o.Left == nil {
		o.Left = func(string, Reason) {}
	}
	if o.Received == nil {
		o.Received = func(int) {}
	}
	if o.Sent == nil {
		o.Sent = func(int, int) {}
	}
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
	ParseError                Reason = "parse error"
	TooSlow                   Reason = "too slow"
	RateExceeded              Reason = "rate exceeded"
	ServerError               Reason = "server error"
)
