package httpapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"bms/domain"
)

// typescript writes /events.d.ts: the vocabulary as types of a module, ready
// for io and Socket of socket.io-client.
type typescript struct {
	*vocabulary
	strings.Builder
	wanted map[string]bool // schemas that are referred to
}

func newTypeScript(version string, v *vocabulary) []byte {
	t := &typescript{vocabulary: v, wanted: map[string]bool{}}
	fmt.Fprintf(t, typescriptHead, version)
	t.envelope()
	t.eventTypes()
	t.serverEvents()
	t.clientEvents()
	t.webSocket()
	t.alias("ConnectRefusal", "")
	t.WriteString("/** The error of socket.io-client's connect_error, when it was the server that refused. */\n" +
		"export type ConnectError = Error & { data?: ConnectRefusal[\"data\"] };\n")
	t.referred()
	return []byte(t.String())
}

const typescriptHead = `// The types of everything that BMS Realtime %s sends and takes over sockets.
// Made by the server; what it all means is in /asyncapi.json and at /docs.
//
//   import { io, type Socket } from "socket.io-client";
//   import type { ServerToClientEvents, ClientToServerEvents } from "./events";
//
//   const socket: Socket<ServerToClientEvents, ClientToServerEvents> =
//     io("http://localhost:3001/ws", { auth: { token } });
//   socket.on("inventory:updated", (event) => console.log(event.data.stock));
//
// Numbers are whole. Money is in minor units, quantities in the product's
// smallest unit.

/** A position in the log: opaque, sorts in log order. */
export type Position = string;

`

// envelope writes the generic envelope out of the first event's.
func (t *typescript) envelope() {
	s := t.schemas.Map()[t.events[0].envelope]
	t.WriteString("/** An event. branchId is null where it is not of one branch. */\nexport interface Envelope<T extends string, D> {\n")
	for _, field := range envelopeFields {
		typed := t.typed(s.Properties[field])
		switch field {
		case "type":
			typed = "T"
		case "data":
			typed = "D"
		}
		t.field(field, typed, !slices.Contains(s.Required, field))
	}
	t.WriteString("}\n\n")
}

// public are the events that clients can get.
func (t *typescript) public() []eventMessage {
	return slices.DeleteFunc(slices.Clone(t.events), func(e eventMessage) bool { return e.internal })
}

func (t *typescript) eventTypes() {
	var names []string
	for _, e := range t.public() {
		name := e.data + "Event"
		names = append(names, name)
		fmt.Fprintf(t, "export type %s = Envelope<%q, %s>;\n", name, e.eventType, t.typed(ref(e.data)))
	}
	t.WriteString("\n/** Any event: its type tells what its data is. */\nexport type BmsEvent =" + union(names) + ";\n" +
		"export type EventType = BmsEvent[\"type\"];\n" +
		"export type EventOf<T extends EventType> = Extract<BmsEvent, { type: T }>;\n\n")
}

// union lists types a line each.
func union(types []string) string { return "\n  | " + strings.Join(types, "\n  | ") }

func (t *typescript) serverEvents() {
	t.WriteString("/** What the server emits. pos is where to go on from after this. */\nexport interface ServerToClientEvents {\n")
	for _, e := range t.public() {
		t.field(e.eventType, fmt.Sprintf("(event: %sEvent, pos: Position) => void", e.data), false)
	}
	t.field("session", "(session: "+t.typed(ref("Session"))+", pos: Position) => void", false)
	t.WriteString("  /** In " + domain.NamespaceAdmin + " only, once a second. */\n")
	t.field("stats", "(stats: "+t.typed(ref("SocketStats"))+", pos: Position) => void", false)
	t.WriteString("}\n\n")
}

func (t *typescript) clientEvents() {
	t.WriteString("/** What a client emits, each with an ack. */\nexport interface ClientToServerEvents {\n")
	for _, op := range t.ops {
		t.about("  ", op.summary)
		argument, _ := t.argumentOf(op)
		if argument != "" {
			argument += ", "
		}
		t.field(op.name, fmt.Sprintf("(%sack: (answer: %s | %s) => void) => void", argument, t.typed(ref(op.done)), t.typed(ref("Refused"))), false)
	}
	t.field("command", "(command: Command, ack: (answer: CommandAnswer | Refused) => void) => void", false)
	t.WriteString("}\n\n/** Any command: its type tells what its body is. */\nexport type Command =")
	var messages []string
	for _, c := range t.commands {
		messages = append(messages, t.typed(ref(c.message)))
	}
	t.WriteString(union(messages) + ";\nexport type CommandType = Command[\"type\"];\n\n/** What the ack of each command that is done has. */\nexport interface CommandAnswers {\n")
	for _, c := range t.commands {
		t.field(c.command, t.typed(ref(c.done)), false)
	}
	t.WriteString("}\nexport type CommandAnswer = CommandAnswers[CommandType];\n" +
		"export type AnswerTo<C extends Command> = CommandAnswers[C[\"type\"]];\n\n")
}

// argumentOf is what an operation takes, with its name, "" for nothing, and the
// member that has it in a frame.
func (t *typescript) argumentOf(op opMessage) (argument, args string) {
	if op.arg == nil {
		return "", "args?"
	}
	return op.takes + ": " + t.typed(op.arg), "args"
}

// webSocket writes the messages of the plain WebSocket.
func (t *typescript) webSocket() {
	answers := []string{"CommandAnswer", "Refused"}
	requests := []string{`{ op: "command"; id?: number | string; args: [command: Command] }`}
	for _, op := range t.ops {
		argument, args := t.argumentOf(op)
		requests = append(requests, fmt.Sprintf("{ op: %q; id?: number | string; %s: [%s] }", op.name, args, argument))
		if !slices.Contains(answers, op.done) {
			answers = append(answers, op.done)
		}
	}
	t.WriteString("/** What a plain WebSocket gets, a text frame each. */\nexport type WebSocketMessage =" + union([]string{
		"BmsEvent",
		`{ type: "session"; data: Session; pos?: Position }`,
		`{ type: "stats"; data: SocketStats; pos?: Position }`,
		`{ type: "ack"; id: number | string; data: ` + strings.Join(answers, " | ") + " }",
	}) + ";\n\n/** What a plain WebSocket sends; the ack has the id. */\nexport type WebSocketRequest =" + union(requests) + ";\n\n")
}

// referred writes the schemas that are referred to, until there are no more.
func (t *typescript) referred() {
	for written := map[string]bool{}; len(written) < len(t.wanted); {
		for _, name := range t.sortedSchemas() {
			if t.wanted[name] && !written[name] {
				written[name] = true
				t.WriteByte('\n')
				t.alias(name, t.schemas.Map()[name].Description)
			}
		}
	}
}

// alias writes a schema under its name.
func (t *typescript) alias(name, about string) {
	s := t.schemas.Map()[name]
	t.about("", about)
	fmt.Fprintf(t, "export interface %s {\n", name)
	for _, field := range t.fields(name) {
		p := s.Properties[field]
		if p.Pattern != patternPos { // Position says it
			t.about("  ", p.Description)
		}
		t.field(field, t.typed(p), !slices.Contains(s.Required, field))
	}
	if s.AdditionalProperties == true {
		t.WriteString("  [member: string]: unknown;\n")
	}
	t.WriteString("}\n")
}

func (t *typescript) about(indent, text string) {
	if text != "" {
		fmt.Fprintf(t, "%s/** %s */\n", indent, text)
	}
}

var plainName = regexp.MustCompile(`^[A-Za-z]\w*$`)

func (t *typescript) field(name, typed string, optional bool) {
	if !plainName.MatchString(name) {
		name = fmt.Sprintf("%q", name)
	}
	if optional {
		name += "?"
	}
	fmt.Fprintf(t, "  %s: %s;\n", name, typed)
}

// typed is a schema as a type.
func (t *typescript) typed(s *huma.Schema) string {
	typed := ""
	switch {
	case s.Ref != "":
		name := strings.TrimPrefix(s.Ref, schemaPrefix)
		if name == "Event" {
			return "BmsEvent"
		}
		t.wanted[name] = true
		return name
	case len(s.Enum) > 0:
		var values []string
		for _, value := range s.Enum {
			values = append(values, string(appendJSON(nil, value)))
		}
		typed = strings.Join(values, " | ")
	case s.Pattern == patternPos:
		typed = "Position"
	case s.Type == huma.TypeInteger, s.Type == huma.TypeNumber:
		typed = "number"
	case s.Type == huma.TypeString, s.Type == huma.TypeBoolean:
		typed = s.Type
	case s.Type == huma.TypeArray:
		typed = "readonly " + t.typed(s.Items) + "[]"
		if len(s.Items.Enum) > 0 {
			typed = "readonly (" + t.typed(s.Items) + ")[]"
		}
	case s.Type == huma.TypeObject:
		typed = "Record<string, unknown>"
		if values, ok := s.AdditionalProperties.(*huma.Schema); ok {
			typed = "Record<string, " + t.typed(values) + ">"
		}
	default:
		typed = "unknown"
	}
	if s.Nullable {
		typed += " | null"
	}
	return typed
}
