package httpapi

import (
	"reflect"

	"bms/domain"
)

// The types here are what sockets carry beside events, for the documents.

// SocketStats is the data of the message stats, which /ws-admin gets once a
// second.
type SocketStats struct {
	// Connections is the number of namespace connections in all.
	Connections int `json:"connections"`
	// Rooms is the number of rooms with members.
	Rooms           int            `json:"rooms"`
	Namespaces      map[string]int `json:"namespaces"`
	EventsPerSecond uint64         `json:"eventsPerSecond"`
	// Lag is the greatest number of log records that a connection is behind.
	Lag uint64 `json:"lag"`
}

// ConnectAuth is what a Socket.IO client says when it connects.
type ConnectAuth struct {
	Token string `json:"token"`
	// Since is the position to go on after, for clients that keep it
	// themselves.
	Since string `json:"since,omitempty"`
}

// ConnectRefusal is the CONNECT_ERROR of a Socket.IO client that may not.
type ConnectRefusal struct {
	Message string             `json:"message"`
	Data    ConnectRefusalData `json:"data"`
}

// ConnectRefusalData says why, and when to come back.
type ConnectRefusalData struct {
	Code string `json:"code"`
	// RetryAfter is in seconds.
	RetryAfter int64 `json:"retryAfter,omitempty"`
}

// RefreshToken is what auth:refresh takes.
type RefreshToken struct {
	Token string `json:"token"`
}

// RoomsAnswer answers what may have changed a connection's rooms. Rooms is left
// out when there is none.
type RoomsAnswer struct {
	Rooms []string `json:"rooms,omitempty"`
}

// DoneAnswer answers what gives nothing back.
type DoneAnswer struct{}

// PongAnswer answers a ping. Everything up to Pos that was for the client has
// been sent before.
type PongAnswer struct {
	Pos domain.Position `json:"pos"`
}

// socketOp is what a client sends beside commands: a name, one argument or none,
// and what the ack has on success.
type socketOp struct {
	name    string
	takes   string       // what the argument is
	arg     reflect.Type // nil for none
	answer  reflect.Type
	summary string
}

var socketOps = []socketOp{
	{
		"room:join", "room", reflect.TypeFor[string](), reflect.TypeFor[RoomsAnswer](),
		"Join a room, from now on. One that the role doesn't allow changes nothing.",
	},
	{
		"room:leave", "room", reflect.TypeFor[string](), reflect.TypeFor[RoomsAnswer](),
		"Leave a room.",
	},
	{
		"auth:refresh", "refresh", reflect.TypeFor[RefreshToken](), reflect.TypeFor[RoomsAnswer](),
		"Put a new token of the same user in the place of the present one, before that ends the connection.",
	},
	{
		"notifications:ack", "pos", reflect.TypeFor[domain.Position](), reflect.TypeFor[DoneAnswer](),
		"Acknowledge one's own notifications up to a position: they are not sent again.",
	},
	{
		"ping", "", nil, reflect.TypeFor[PongAnswer](),
		"Ask for a position to come back with. Everything up to it that was for the client has been sent before.",
	},
}

// connectRefusals are the codes with which a connection is refused.
var connectRefusals = []string{
	domain.CodeUnauthorized, domain.CodeTokenExpired, domain.CodeForbiddenNamespace,
	domain.CodeRateLimited, domain.CodeOverloaded, domain.CodeDraining,
}

// closeCode is how a plain WebSocket ends.
type closeCode struct {
	Code    int    `json:"code"`
	Meaning string `json:"meaning"`
	// ComeBack is true where a client should connect again, with since.
	ComeBack bool `json:"comeBack"`
}

var closeCodes = []closeCode{
	{1009, "a message was too large", false},
	{1012, "the server is stopping", true},
	{1013, "the server is overloaded", true},
	{4400, "a message was not of the protocol", false},
	{4401, "the token has ended", false},
	{4403, "the rights have ended, or the user is disabled", false},
	{4408, "the client was too slow or silent", true},
	{4409, "an admin has disconnected the client", false},
	{4429, "the client sent too many messages", true},
}

// internalPayloads are the data of events that are in the log alone.
var internalPayloads = []domain.Payload{
	domain.TransferDispatched{},
	domain.TransferAnnounced{},
	domain.TransferRefused{},
	domain.TransferReceived{},
	domain.TransferWithdrawn{},
	domain.TransferReturned{},
	domain.SyncHandled{},
	domain.NotificationsAcked{},
}
