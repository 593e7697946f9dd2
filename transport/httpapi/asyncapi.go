package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"bms/domain"
)

// object is a part of the AsyncAPI document.
type object = map[string]any

// asyncDocument is the AsyncAPI 3.0 document being made. In it the application
// is the server: it sends events, and receives what clients send.
type asyncDocument struct {
	*vocabulary
	channels, operations, messages object
}

// newAsyncDocument makes the document of sockets and log.
func newAsyncDocument(version string, v *vocabulary) ([]byte, error) {
	d := &asyncDocument{vocabulary: v, channels: object{}, operations: object{}, messages: object{}}
	for _, namespace := range []string{domain.NamespaceAll, domain.NamespacePOS, domain.NamespaceAdmin} {
		d.addSocketIO(namespace)
		d.addWebSocket(namespace)
	}
	d.addLog()
	raw, err := json.Marshal(object{
		"asyncapi": "3.0.0",
		"info": object{
			"title": "BMS Realtime: sockets and log", "version": version,
			"description": "Events come in log order, each once, with no gap: after a lost connection a client goes on behind the last position that it has. " +
				"Commands are those of the HTTP API, see /openapi.json.",
			"license": object{"name": "Apache-2.0"},
		},
		"defaultContentType": "application/json",
		"servers": object{
			"socketio":  server("socket.io", "5", "/socket.io/", "Socket.IO 5 over Engine.IO 4: socket.io-client 4, any transport.", "token"),
			"websocket": server("ws", "13", "", "Plain WebSocket: one message a text frame, JSON.", "header", "query", "subprotocol"),
		},
		"channels":   d.channels,
		"operations": d.operations,
		"components": object{
			"schemas":  d.schemas.Map(),
			"messages": d.messages,
			"securitySchemes": object{
				"token":       object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "With Socket.IO: auth.token of the CONNECT packet."},
				"header":      object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
				"query":       object{"type": "httpApiKey", "in": "query", "name": "token", "description": "The same token, for clients that can't set headers."},
				"subprotocol": object{"type": "httpApiKey", "in": "header", "name": "Sec-WebSocket-Protocol", "description": "bms.v1.json, bearer.<token>"},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("httpapi: encode the AsyncAPI document: %w", err)
	}
	return raw, nil
}

func server(protocol, protocolVersion, path, about string, security ...string) object {
	s := object{
		"host": "{host}", "protocol": protocol, "protocolVersion": protocolVersion, "description": about,
		"variables": object{"host": object{"default": "localhost:3001", "description": "Host and port of a node"}},
	}
	if path != "" {
		s["pathname"] = path
	}
	var schemes []any
	for _, name := range security {
		schemes = append(schemes, link("components", "securitySchemes", name))
	}
	s["security"] = schemes
	return s
}

// link is a reference within the document.
func link(path ...string) object { return object{"$ref": "#/" + strings.Join(path, "/")} }

// messageKey is a message's or operation's name where no colon may be.
func messageKey(name string) string { return strings.ReplaceAll(name, ":", ".") }

// seen are the events that somebody may get in a namespace.
func (d *asyncDocument) seen(namespace string) []eventMessage {
	return slices.DeleteFunc(slices.Clone(d.events), func(e eventMessage) bool {
		return !domain.MaySee(domain.Identity{Role: domain.RoleAdmin}, namespace, &domain.Event{Type: e.eventType})
	})
}

// channel is a channel being made: its operations refer to its messages.
type channel struct {
	d        *asyncDocument
	key      string
	messages object
}

func (d *asyncDocument) channel(key string, fields object) *channel {
	c := &channel{d, key, object{}}
	fields["messages"] = c.messages
	d.channels[key] = fields
	return c
}

// message puts a message into the channel, and into the components unless
// another channel has the same. It returns the channel's reference to it.
func (c *channel) message(key string, m object) object {
	c.d.messages[key] = m
	c.messages[key] = link("components", "messages", key)
	return link("channels", c.key, "messages", key)
}

// send and receive are operations of the server: what it sends, and what it
// receives and how it answers.
func (c *channel) send(key, summary string, messages ...any) {
	c.d.operations[c.key+"."+key] = object{"action": "send", "channel": link("channels", c.key), "summary": summary, "messages": messages}
}

func (c *channel) receive(key, summary string, message object, replies ...any) {
	c.d.operations[c.key+"."+key] = object{
		"action": "receive", "channel": link("channels", c.key), "summary": summary, "messages": []any{message},
		"reply": object{"channel": link("channels", c.key), "messages": replies},
	}
}

// addSocketIO describes a namespace.
func (d *asyncDocument) addSocketIO(namespace string) {
	c := d.channel("socketio-"+namespace[1:], object{
		"address": namespace,
		"title":   "Socket.IO namespace " + namespace,
		"description": "The server emits (event, pos), and so the messages session and stats: the last argument of all is a position, which stock clients " +
			"send back as their offset when they reconnect. Clients emit (argument, ack); the ack is one of the replies.",
		"servers": []any{link("servers", "socketio")},
	})
	events := []any{
		c.message("session", socketMessage("session", "The first message of a connection", ref("Session"))),
	}
	for _, e := range d.seen(namespace) {
		events = append(events, c.message(messageKey(e.eventType), eventOf(e)))
	}
	if namespace == domain.NamespaceAdmin {
		events = append(events, c.message("stats", socketMessage("stats", "How the sockets of this node are, once a second", ref("SocketStats"))))
	}
	c.send("events", "What happens in the connection's rooms, as far as its role allows", events...)

	refused := c.message("refused", object{"name": "refused", "title": "An ack that says no", "payload": ref("Refused")})
	c.receive("connect", "Connect", c.message("connect", object{"name": "connect", "title": "What auth is", "payload": ref("ConnectAuth")}),
		link("channels", c.key, "messages", "session"),
		c.message("connect_error", object{
			"name": "connect_error", "title": "The connection is refused; the client stays away until the program connects again",
			"payload": ref("ConnectRefusal"),
		}))
	for _, op := range d.ops {
		key := messageKey(op.name)
		title := "One argument: " + op.takes
		if op.arg == nil {
			title = "No argument"
		}
		c.receive(key, op.summary, c.message(key, socketMessage(op.name, title, op.arg)), c.message(op.done, ackOf(op.done)), refused)
	}
	for _, cmd := range d.commands {
		c.receive(cmd.command, cmd.summary, c.message(cmd.command, socketMessage("command", cmd.summary, ref(cmd.message))), c.message(cmd.done, ackOf(cmd.done)), refused)
	}
}

// eventOf is an event's envelope as a message.
func eventOf(e eventMessage) object { return socketMessage(e.eventType, "", ref(e.envelope)) }

func socketMessage(name, title string, payload *huma.Schema) object {
	m := object{"name": name}
	if payload != nil {
		m["payload"] = payload
	}
	if title != "" {
		m["title"] = title
	}
	return m
}

// ackOf is the ack of what was done.
func ackOf(schema string) object {
	return object{"name": "ack", "title": "An ack that says yes", "payload": ref(schema)}
}

// addWebSocket describes the plain WebSocket at the path of a namespace.
func (d *asyncDocument) addWebSocket(namespace string) {
	refusals := []object{}
	for _, code := range connectRefusals {
		refusals = append(refusals, object{"code": code, "status": StatusOf(code)})
	}
	about := &strings.Builder{}
	about.WriteString("The server sends envelopes, each a text frame, after a session, which comes again behind unread notifications, as it is by then and recovered, since nothing is missing: the log goes on at its data's pos. Clients send {op, id, args} and get {type: \"ack\", id, data} if they gave an id. " +
		"Whom the server refuses gets an HTTP status and a problem before the upgrade. Close codes:\n")
	for _, cc := range closeCodes {
		what := "don't come back unchanged"
		if cc.ComeBack {
			what = "come back, with since"
		}
		fmt.Fprintf(about, "\n* %d: %s; %s", cc.Code, cc.Meaning, what)
	}
	query := object{"type": "object", "properties": object{
		"since": positionOf(),
		"token": object{"type": "string", "description": "The token, for clients that can't set headers."},
	}}
	c := d.channel("websocket-"+namespace[1:], object{
		"address": namespace, "title": "Plain WebSocket " + namespace, "description": about.String(),
		"servers":      []any{link("servers", "websocket")},
		"bindings":     object{"ws": object{"method": http.MethodGet, "query": query, "bindingVersion": "0.1.0"}},
		"x-refusals":   refusals,
		"x-closeCodes": closeCodes,
	})
	framed := func(name string, data *huma.Schema) object {
		return object{"name": name, "payload": object{
			"type": "object", "required": []string{"type", "data"},
			"properties": object{"type": object{"type": "string", "enum": []string{name}}, "data": data, "pos": positionOf()},
		}}
	}
	events := []any{
		c.message("websocket.session", framed("session", ref("Session"))),
	}
	for _, e := range d.seen(namespace) {
		events = append(events, c.message(messageKey(e.eventType), eventOf(e)))
	}
	if namespace == domain.NamespaceAdmin {
		events = append(events, c.message("websocket.stats", framed("stats", ref("SocketStats"))))
	}
	c.send("events", "What happens in the connection's rooms, as far as its role allows", events...)

	refused := c.message("websocket.refused", framedAck("Refused"))
	for _, op := range d.ops {
		key := messageKey(op.name)
		c.receive(key, op.summary, c.message("websocket."+key, framedOp(op.name, op.arg)), c.message("websocket."+op.done, framedAck(op.done)), refused)
	}
	for _, cmd := range d.commands {
		c.receive(cmd.command, cmd.summary, c.message("websocket."+cmd.command, framedOp("command", ref(cmd.message))),
			c.message("websocket."+cmd.done, framedAck(cmd.done)), refused)
	}
}

// requestID is the id of a request and of its ack.
var requestID = object{"type": []string{"integer", "string"}}

// framedOp is a request with one argument, or with none if arg is nil.
func framedOp(name string, arg *huma.Schema) object {
	required, args := []string{"op", "args"}, object{"type": "array", "items": arg, "minItems": 1, "maxItems": 1}
	if arg == nil {
		required, args = []string{"op"}, object{"type": "array", "maxItems": 0}
	}
	return object{"name": name, "payload": object{
		"type": "object", "required": required,
		"properties": object{
			"op":   object{"type": "string", "enum": []string{name}},
			"id":   requestID,
			"args": args,
		},
	}}
}

func framedAck(schema string) object {
	return object{"name": "ack", "payload": object{
		"type": "object", "required": []string{"type", "id", "data"},
		"properties": object{"type": object{"type": "string", "enum": []string{"ack"}}, "id": requestID, "data": ref(schema)},
	}}
}

// addLog describes the log, which has every event, the internal ones included.
func (d *asyncDocument) addLog() {
	c := d.channel("log", object{
		"address": nil, "title": "The log",
		"description": "Every event in order, an envelope a line, as `bms log --follow` prints it. GET /api/events gives those that one may see.",
	})
	var events []any
	for _, e := range d.events {
		m := eventOf(e)
		if e.internal {
			m["title"] = "In the log alone: nobody is told of it"
		}
		events = append(events, c.message(messageKey(e.eventType), m))
	}
	c.send("events", "What happened", events...)
}

// sortedSchemas are the names of the vocabulary's schemas.
func (v *vocabulary) sortedSchemas() []string { return slices.Sorted(maps.Keys(v.schemas.Map())) }
