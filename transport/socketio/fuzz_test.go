package socketio

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"bms/transport/wsframe"
)

// Whatever a client sends is taken apart or refused; what is taken comes out
// the same when it is sent on.
func Fuzz_payload(f *testing.F) {
	for _, seed := range []string{
		"", "4", "4hello", "4a\x1e4b\x1e4c", "4hello\x1ebAQIDBA==", "bAQIDBA", "b", "3", "1", "2probe", "6\x1e1",
		"\x1e", "4\xff", "b!", "9", "0{}", "4€\x1e5", "4\x1e\x1e4",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var sent []byte
		var taken []engineIn
		rest := body
		for more := true; more; {
			var text []byte
			text, rest = nextPacket(rest)
			more = rest != nil
			in, err := decodeText(text)
			if err != nil {
				return
			}
			taken = append(taken, in)
			if in.binary {
				sent = append(sent, wsframe.Binary(in.data)...)
			} else {
				if !utf8.Valid(in.data) {
					t.Fatalf("text %q is not UTF-8", in.data)
				}
				sent = append(sent, wsframe.Text(append([]byte{in.kind}, in.data...))...)
			}
		}
		again := appendPayload(nil, sent)
		for i, want := range taken {
			var text []byte
			text, again = nextPacket(again)
			got, err := decodeText(text)
			if err != nil || got.kind != want.kind || got.binary != want.binary || !bytes.Equal(got.data, want.data) {
				t.Fatalf("packet %d: %+v, %v, want %+v", i, got, err, want)
			}
		}
	})
}

func Fuzz_packet(f *testing.F) {
	for _, seed := range []string{
		`0`, `0{}`, `0/ws`, `0/ws,`, `0/ws,{"token":"t","pid":"p","offset":"o"}`, `0[]`, `1`, `1/ws,`, `2["e"]`, `2/ws,["e",{"a":[1,null]}]`,
		`2/ws,12["e"]`, `212["e"]`, `2[1]`, `2["connect"]`, `2[{}]`, `2{}`, `2abc["e"]`, `31["ok"]`, `3/ws,1[]`, `4{"message":"x"}`,
		`51-["e",{"_placeholder":true,"num":0}]`, `52-/ws,7["e",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]`,
		`50-["e"]`, `511-["e"]`, `5-["e"]`, `61-7[{"_placeholder":true,"num":9}]`, `29007199254740993["e"]`, `2["e","\ud800"]`, `9`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) {
			return // refused before
		}
		p, err := decodePacket(text)
		if err != nil {
			return
		}
		if p.attachments > maxAttachments || p.id > maxAckID || len(p.namespace) == 0 || len(p.namespace) > maxNamespace {
			t.Fatalf("packet %+v is out of bounds", p)
		}
		recovery(p.data)
		if p.kind != packetEvent && p.kind != packetBinaryEvent && p.kind != packetAck && p.kind != packetBinaryAck {
			return
		}
		args, err := p.args()
		if err != nil {
			return
		}
		o := outgoing{kind: packetAck, namespace: string(p.namespace), id: p.id, hasID: p.hasID, args: args}
		if p.kind == packetEvent || p.kind == packetBinaryEvent {
			name, rest, err := eventName(args)
			if err != nil {
				return
			}
			if reservedNames[name] {
				t.Fatalf("reserved name %q was taken", name)
			}
			o = outgoing{kind: packetEvent, namespace: string(p.namespace), id: p.id, hasID: p.hasID, name: name, named: true, args: rest}
		}
		for range p.attachments {
			o.attachments = append(o.attachments, []byte("x"))
		}
		_, payload, _, ok := wsframe.Next(o.append(nil))
		if !ok || !utf8.Valid(payload) {
			t.Fatalf("sent on as %q", payload)
		}
		again, err := decodePacket(payload[1:])
		if err != nil || again.kind != p.kind || string(again.namespace) != string(p.namespace) || again.id != p.id || again.attachments != p.attachments {
			t.Fatalf("sent on as %q: %+v, %v, want %+v", payload, again, err, p)
		}
		back, err := again.args()
		if err != nil || len(back) != len(args) {
			t.Fatalf("sent on as %q: %d arguments, %v, want %d", payload, len(back), err, len(args))
		}
		for i := range args {
			if i == 0 && o.named {
				continue // a number as a name has become a string
			}
			if !bytes.Equal(back[i], args[i]) {
				t.Fatalf("argument %d is %s, want %s", i, back[i], args[i])
			}
		}
	})
}
