package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"bms/domain"
)

// listener is a plain WebSocket that reads.
type listener struct{ conn *websocket.Conn }

// listenTo connects until the end of the test, and reads the session.
func listenTo(t *testing.T, n *testNode, token string) *listener {
	t.Helper()
	conn, response, err := websocket.Dial(t.Context(), "ws://"+n.addr+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		t.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	l := &listener{conn}
	l.read(t)
	return l
}

func (l *listener) read(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, frame, err := l.conn.Read(ctx)
	if err != nil {
		t.Fatalf("read an event: %v", err)
	}
	return string(frame)
}

// ask sends an operation and returns the data of its ack. Events that come
// before are passed by.
func (l *listener) ask(t *testing.T, op, arg string) string {
	t.Helper()
	if err := l.conn.Write(t.Context(), websocket.MessageText, []byte(`{"op":"`+op+`","id":1,"args":[`+arg+`]}`)); err != nil {
		t.Fatal(err)
	}
	for {
		var m struct {
			Type string
			Data json.RawMessage
		}
		frame := l.read(t)
		if err := json.Unmarshal([]byte(frame), &m); err != nil {
			t.Fatalf("frame %s: %v", frame, err)
		}
		if m.Type == "ack" {
			return string(m.Data)
		}
	}
}

// socketForms is what requests are as commands over a socket: the end of their
// path, the command's type, and the field for the id before that end.
var socketForms = []struct{ end, commandType, field string }{
	{"/status", domain.CommandSetTransactionStatus, "transactionId"},
	{"/transactions", domain.CommandCreateTransaction, ""},
	{"/inventory/adjustments", domain.CommandAdjustStock, ""},
	{"/inventory/adjustments/bulk", domain.CommandAdjustStockBulk, ""},
	{"/stock", domain.CommandCountStock, "productId"},
	{"/transfers", domain.CommandDispatchTransfer, ""},
	{"/receive", domain.CommandReceiveTransfer, "transferId"},
}

// overSocket sends a request to a path below /api/branches/ as a command.
func (l *listener) overSocket(t *testing.T, path, body string) (ack string) {
	t.Helper()
	branch, rest, _ := strings.Cut(strings.TrimPrefix(path, "/api/branches/"), "/")
	with := func(name, value, object string) string {
		return strings.Replace(`{"`+name+`":"`+value+`",`+object[1:], ",}", "}", 1)
	}
	if rest == "sync" {
		return l.ask(t, "sync:submit", with("branchId", branch, body))
	}
	for _, form := range socketForms {
		before, ok := strings.CutSuffix("/"+rest, form.end)
		if !ok {
			continue
		}
		if form.field != "" {
			body = with(form.field, before[strings.LastIndexByte(before, '/')+1:], body)
		}
		return l.ask(t, "command", `{"type":"`+form.commandType+`","branchId":"`+branch+`","body":`+body+`}`)
	}
	t.Fatalf("%s has no form over a socket", path)
	return ""
}
