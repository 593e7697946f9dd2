package httpapi

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"bms/actors"
	"bms/domain"
)

// vocabulary is everything that goes over sockets and is in the log, as
// schemas: what /asyncapi.json and /events.d.ts say is made from it.
type vocabulary struct {
	schemas  huma.Registry
	events   []eventMessage // all of them, the internal ones last
	commands []commandMessage
	ops      []opMessage // socketOps and sync:submit
	// order is the order of properties of schemas that no Go type is behind.
	order map[string][]string
}

// eventMessage is an event's type and the names of its schemas.
type eventMessage struct {
	eventType, envelope, data string
	internal                  bool
}

// commandMessage is a command over a socket: the schemas of the message, its
// body, the result, and the ack of one that is done.
type commandMessage struct {
	command, summary            string
	message, body, result, done string
}

// opMessage is another operation.
type opMessage struct {
	name, takes, summary string
	arg                  *huma.Schema // nil for none
	done                 string
}

// property of a schema that is put together here.
type property struct {
	name     string
	schema   *huma.Schema
	optional bool
}

func newVocabulary() *vocabulary {
	v := &vocabulary{schemas: newSchemas(), order: map[string][]string{}}
	for _, p := range payloads {
		data := reflect.TypeOf(p).Name()
		v.events = append(v.events, eventMessage{p.EventType(), "Event" + data, data, false})
	}
	for _, p := range internalPayloads {
		data := v.named(reflect.TypeOf(p))
		v.schemas.Map()["Event"+data] = envelopeOf(p.EventType(), ref(data))
		v.events = append(v.events, eventMessage{p.EventType(), "Event" + data, data, true})
	}
	for _, t := range []reflect.Type{reflect.TypeFor[actors.Session](), reflect.TypeFor[SocketStats](), reflect.TypeFor[ConnectAuth](), reflect.TypeFor[ConnectRefusal]()} {
		v.named(t)
	}
	v.object("Refused", "The ack that says no.",
		property{name: "ok", schema: constant(false)},
		property{name: "error", schema: v.refusal()})
	for _, command := range slices.Sorted(maps.Keys(results)) {
		if command != domain.CommandSubmitSync { // has a message of its own
			v.addCommand(command)
		}
	}
	for _, op := range socketOps {
		v.ops = append(v.ops, opMessage{op.name, op.takes, op.summary, v.argument(op), v.done(op.answer)})
	}
	v.addSync()
	finishSchemas(v.schemas)
	return v
}

// named makes the schema of a struct and returns its name.
func (v *vocabulary) named(t reflect.Type) string {
	return strings.TrimPrefix(v.schemas.Schema(t, true, "").Ref, schemaPrefix)
}

// object puts a schema together.
func (v *vocabulary) object(name, about string, properties ...property) {
	s := &huma.Schema{Type: huma.TypeObject, Description: about, AdditionalProperties: false, Properties: map[string]*huma.Schema{}}
	for _, p := range properties {
		s.Properties[p.name] = p.schema
		v.order[name] = append(v.order[name], p.name)
		if !p.optional {
			s.Required = append(s.Required, p.name)
		}
	}
	v.schemas.Map()[name] = s
}

// refusal is the error of an ack: a problem's code, a message, and the code's
// own members.
func (v *vocabulary) refusal() *huma.Schema {
	v.object("Refusal", "Why not: a stable code, and the code's own members, such as errors of validation or lines of insufficient_stock.",
		property{name: "code", schema: &huma.Schema{Type: huma.TypeString, Enum: v.schemas.Map()["Problem"].Properties["code"].Enum}},
		property{name: "message", schema: &huma.Schema{Type: huma.TypeString}})
	v.schemas.Map()["Refusal"].AdditionalProperties = true
	for _, name := range []string{"Problem", "FieldError"} { // are HTTP's
		delete(v.schemas.Map(), name)
	}
	return ref("Refusal")
}

// argument is the schema of what an operation takes, nil for nothing.
func (v *vocabulary) argument(op socketOp) *huma.Schema {
	if op.arg == nil {
		return nil
	}
	s := v.schemas.Schema(op.arg, true, "")
	if s.Ref == "" {
		s.Description = "The " + op.takes
	}
	return s
}

// done is the name of the schema of an ack: ok, and the members of the answer.
func (v *vocabulary) done(answer reflect.Type) string {
	name := v.named(answer)
	if v.order[name] != nil { // is done
		return name
	}
	properties := []property{{name: "ok", schema: constant(true)}}
	s := v.schemas.Map()[name]
	for _, field := range v.fields(name) {
		properties = append(properties, property{field, s.Properties[field], !slices.Contains(s.Required, field)})
	}
	v.object(name, "", properties...)
	return name
}

func (v *vocabulary) addCommand(command string) {
	bodyType := reflect.TypeOf(domain.NewBody(command))
	c := commandMessage{command: command, body: v.named(bodyType), result: v.named(results[command])}
	c.message, c.done = c.body+"Command", c.body+"Done"
	properties := []property{{name: "type", schema: &huma.Schema{Type: huma.TypeString, Enum: []any{command}}}}
	for _, row := range commandRoutes {
		if row.command == command {
			c.summary = row.summary
		}
	}
	switch command {
	case domain.CommandSetUser, domain.CommandChangeUser, domain.CommandSendNotification: // are of no branch
	default:
		properties = append(properties, property{"branchId", idOf(), command == domain.CommandOpenBranch})
	}
	v.object(c.message, c.summary, append(properties, commandID(), property{name: "body", schema: ref(c.body)})...)
	v.addDone(c.done, command)
	v.commands = append(v.commands, c)
}

// commandID is the property of that name, the Idempotency-Key of sockets.
func commandID() property {
	least, most := 1, domain.MaxCommandID
	return property{"commandId", &huma.Schema{
		Type: huma.TypeString, MinLength: &least, MaxLength: &most,
		Description: "The same id gives the same answer and one effect, for ever. It belongs to the user.",
	}, true}
}

// addDone adds the ack of a command that took effect: the answer of HTTP.
func (v *vocabulary) addDone(name, command string) {
	answer := answerSchema(v.schemas, command).Properties
	properties := []property{{name: "ok", schema: constant(true)}}
	for _, field := range []string{"commandId", "pos", "durability", "events", "result"} {
		properties = append(properties, property{name: field, schema: answer[field]})
	}
	v.object(name, "", properties...)
}

// addSync adds sync:submit, whose one argument is the command's body with the
// branch and the id beside its fields.
func (v *vocabulary) addSync() {
	body := v.named(reflect.TypeFor[domain.SubmitSync]())
	properties := []property{{name: "branchId", schema: idOf()}}
	for _, field := range v.fields(body) {
		properties = append(properties, property{name: field, schema: v.schemas.Map()[body].Properties[field]})
	}
	v.object("SyncBatch", "What a device did offline: each (deviceId, seq) takes effect once.", append(properties, commandID())...)
	delete(v.schemas.Map(), body)
	v.addDone("SyncDone", domain.CommandSubmitSync)
	v.ops = append(v.ops, opMessage{"sync:submit", "batch", "Hand in sales made offline.", ref("SyncBatch"), "SyncDone"})
}

// envelopeFields is the order of an envelope's properties.
var envelopeFields = []string{"id", "type", "timestamp", "branchId", "userId", "data", "pos"}

// fields are the properties of a schema, in the order of the struct behind it.
func (v *vocabulary) fields(name string) []string {
	if order := v.order[name]; order != nil {
		return order
	}
	s := v.schemas.Map()[name]
	t := v.schemas.TypeFromRef(schemaPrefix + name)
	if t == nil {
		return slices.Sorted(maps.Keys(s.Properties))
	}
	var names []string
	for i := range t.NumField() {
		if field, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); s.Properties[field] != nil {
			names = append(names, field)
		}
	}
	return names
}

func constant(value bool) *huma.Schema {
	return &huma.Schema{Type: huma.TypeBoolean, Enum: []any{value}}
}
