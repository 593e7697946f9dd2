package httpapi

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"bms/domain"
)

// asyncAPI is the document as a client reads it.
type asyncAPI struct {
	AsyncAPI   string
	Channels   map[string]asyncChannel
	Operations map[string]asyncOperation
	Components struct {
		Messages map[string]asyncMessage
		Schemas  map[string]json.RawMessage
	}
}

type reference struct {
	Ref string `json:"$ref"`
}

type asyncChannel struct {
	Address    *string
	Messages   map[string]reference
	CloseCodes []closeCode `json:"x-closeCodes"`
}

type asyncMessage struct {
	Name    string
	Payload json.RawMessage
}

type asyncOperation struct {
	Action   string
	Channel  reference
	Messages []reference
	Reply    *struct {
		Channel  reference
		Messages []reference
	}
}

func asyncDocumentOf(t *testing.T) (raw string, d asyncAPI) {
	t.Helper()
	raw = newShop(t, nil).must("", "GET", "/asyncapi.json", "").body
	if err := json.Unmarshal([]byte(raw), &d); err != nil {
		t.Fatal(err)
	}
	return raw, d
}

// events are the types of a channel's messages that are envelopes.
func (d asyncAPI) events(channel string) []string {
	var types []string
	for _, m := range d.Channels[channel].Messages {
		message := d.Components.Messages[m.Ref[strings.LastIndex(m.Ref, "/")+1:]]
		if strings.Contains(string(message.Payload), schemaPrefix+"Event") {
			types = append(types, message.Name)
		}
	}
	slices.Sort(types)
	return types
}

func Test_the_asyncapi_document_is_sound(t *testing.T) {
	raw, d := asyncDocumentOf(t)
	if d.AsyncAPI != "3.0.0" {
		t.Errorf("version %q, want 3.0.0", d.AsyncAPI)
	}
	var whole any
	if err := json.Unmarshal([]byte(raw), &whole); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`"\$ref":"([^"]*)"`).FindAllStringSubmatch(raw, -1) {
		used[m[1]] = true
		at := whole
		for part := range strings.SplitSeq(strings.TrimPrefix(m[1], "#/"), "/") {
			next, _ := at.(map[string]any)
			at = next[part]
		}
		if at == nil {
			t.Errorf("reference %q leads nowhere", m[1])
		}
	}
	for name := range d.Components.Messages {
		if !used["#/components/messages/"+name] {
			t.Errorf("message %q is not used", name)
		}
	}
	for name := range d.Components.Schemas {
		if !used[schemaPrefix+name] {
			t.Errorf("schema %q is not used", name)
		}
	}
	for name, op := range d.Operations {
		if op.Action != "send" && op.Action != "receive" || len(op.Messages) == 0 {
			t.Errorf("operation %q: action %q, %d messages", name, op.Action, len(op.Messages))
		}
		of := func(channel reference, messages []reference) {
			for _, m := range messages {
				if !strings.HasPrefix(m.Ref, channel.Ref+"/messages/") {
					t.Errorf("operation %q: message %q is not of channel %q", name, m.Ref, channel.Ref)
				}
			}
		}
		of(op.Channel, op.Messages)
		if op.Reply != nil {
			of(op.Reply.Channel, op.Reply.Messages)
		}
	}
}

// samples are an event of each type that domain knows, as domain has frozen it.
func samples(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../domain/testdata/events/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("samples of events: %v, %v", files, err)
	}
	byType := map[string]string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var e struct{ Type string }
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		byType[e.Type] = string(raw)
	}
	return byType
}

func Test_every_event_of_the_domain_is_described_where_it_is_seen(t *testing.T) {
	_, d := asyncDocumentOf(t)
	all := slices.Sorted(maps.Keys(samples(t)))
	if got := d.events("log"); !slices.Equal(got, all) {
		t.Errorf("events of the log %v\nwant              %v", got, all)
	}
	public := slices.DeleteFunc(slices.Clone(all), domain.Internal)
	noUsers := slices.DeleteFunc(slices.Clone(public), func(s string) bool { return s == domain.TypeUserUpdated })
	for channel, want := range map[string][]string{"ws": public, "ws-admin": public, "ws-pos": noUsers} {
		for _, protocol := range []string{"socketio-", "websocket-"} {
			if got := d.events(protocol + channel); !slices.Equal(got, want) {
				t.Errorf("events of %s%s %v\nwant %v", protocol, channel, got, want)
			}
			if got := *d.Channels[protocol+channel].Address; got != "/"+channel {
				t.Errorf("address of %s%s is %q", protocol, channel, got)
			}
		}
	}
}

func Test_every_command_can_be_sent_over_each_socket(t *testing.T) {
	_, d := asyncDocumentOf(t)
	for _, channel := range []string{"socketio-ws", "socketio-ws-pos", "socketio-ws-admin", "websocket-ws", "websocket-ws-pos", "websocket-ws-admin"} {
		for _, row := range commandRoutes {
			name := row.command
			if name == domain.CommandSubmitSync {
				name = "sync.submit"
			}
			op, ok := d.Operations[channel+"."+name]
			if !ok || op.Reply == nil || len(op.Reply.Messages) != 2 {
				t.Errorf("%s on %s: %+v, want an operation with two replies", name, channel, op)
			}
		}
		for _, name := range []string{"room.join", "room.leave", "auth.refresh", "notifications.ack", "ping"} {
			if op, ok := d.Operations[channel+"."+name]; !ok || op.Reply == nil || len(op.Reply.Messages) != 2 {
				t.Errorf("%s on %s: %+v, want an operation with two replies", name, channel, op)
			}
		}
	}
}

// The schemas hold for what is in the log, and are not so wide that anything
// would do.
func Test_frozen_events_are_of_their_schemas(t *testing.T) {
	v := newVocabulary()
	d := &document{schemas: v.schemas}
	for eventType, sample := range samples(t) {
		t.Run(strings.ReplaceAll(eventType, ":", "_"), func(t *testing.T) {
			i := slices.IndexFunc(v.events, func(e eventMessage) bool { return e.eventType == eventType })
			if i < 0 {
				t.Fatal("has no schema")
			}
			schema := ref(v.events[i].envelope)
			validate(t, d, schema, sample)
			for what, spoilt := range map[string]string{
				"without pos":             regexp.MustCompile(`,"pos":"\w*"`).ReplaceAllString(sample, ""),
				"with a member more":      `{"more":1,` + sample[1:],
				"with a member of data":   strings.Replace(sample, `"data":{`, `"data":{"more":1,`, 1),
				"with an empty data":      regexp.MustCompile(`"data":\{.*\},"pos"`).ReplaceAllString(sample, `"data":{},"pos"`),
				"of another type":         strings.Replace(sample, eventType, eventType+"x", 1),
				"with a number for an id": regexp.MustCompile(`"id":"[^"]*"`).ReplaceAllString(sample, `"id":1`),
			} {
				if spoilt == sample {
					t.Fatalf("%s: not spoilt", what)
				}
				if isOf(t, d, schema, spoilt) {
					t.Errorf("an event %s is of the schema, too", what)
				}
			}
		})
	}
}

func isOf(t *testing.T, d *document, schema *huma.Schema, body string) bool {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	var result huma.ValidateResult
	huma.Validate(d.schemas, schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, v, &result)
	return len(result.Errors) == 0
}

// What commands answer over HTTP is, with ok in front, what acks are.
func Test_answers_are_acks_with_ok_in_front(t *testing.T) {
	s := newShop(t, nil)
	v := newVocabulary()
	d := &document{schemas: v.schemas}
	for _, tt := range driven {
		method, path, _ := strings.Cut(tt.operation, " ")
		i := slices.IndexFunc(commandRoutes, func(row commandRoute) bool { return row.method == method && row.path == path })
		if i < 0 {
			continue
		}
		done := "SyncDone"
		for _, c := range v.commands {
			if c.command == commandRoutes[i].command {
				done = c.done
			}
		}
		answer := s.drive(tt.operation, tt.path, tt.body)
		if answer.status >= 300 {
			t.Fatalf("%s: %d %s", tt.operation, answer.status, answer.body)
		}
		validate(t, d, ref(done), `{"ok":true,`+answer.body[1:])
	}
}
