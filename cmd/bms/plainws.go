package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/coder/websocket"

	"bms/actors"
	"bms/domain"
	"bms/transport/auth"
	"bms/transport/httpapi"
	"bms/transport/plainws"
	"bms/transport/telemetry"
	"bms/transport/wsframe"
)

// closeCodes is the one table of what a plain WebSocket is told when the hub
// ends it.
var closeCodes = map[actors.EndReason]websocket.StatusCode{
	actors.EndTokenExpired:   plainws.StatusTokenEnded,
	actors.EndUnauthorized:   plainws.StatusTokenEnded,
	actors.EndRights:         plainws.StatusRightsEnded,
	actors.EndKicked:         plainws.StatusDisconnected,
	actors.EndReplaced:       websocket.StatusNormalClosure, // by a newer connection of the same session
	actors.EndDraining:       plainws.StatusRestart,
	actors.EndLogUnavailable: plainws.StatusTryAgain,
	actors.EndPanicked:       plainws.StatusTryAgain,
}

// plainCodec is the index of the codec of all plain WebSockets in the hub, after
// those of the namespaces.
var plainCodec = len(namespaces)

// newPlain makes the server of plain WebSockets.
func (s *sockets) newPlain(a *App) (*plainws.Server, error) {
	return plainws.New(plainws.Config{
		Config: a.wsConfig(), Refuse: refusePlain,
		Observer: plainws.Observer{
			Refused: func(reason string) { s.refusals.connection(telemetry.ProtocolWebSocket, reason) },
			Closed: func(code websocket.StatusCode, reason string) {
				if reason != plainws.ReasonTransportClose { // by the client
					a.metrics.Closed(int(code))
				}
			},
		},
	})
}

// plain serves the plain WebSockets of a namespace.
func (s *sockets) plain(namespace string) http.Handler {
	return s.plainServer.Endpoint(plainws.HandlerFunc(func(ctx context.Context, c *plainws.Conn, r *http.Request) (plainws.Session, error) {
		session, err := s.connectPlain(ctx, c, r, namespace)
		if err != nil {
			s.refusals.connectionError(telemetry.ProtocolWebSocket, err)
		}
		return session, err
	}))
}

// connectPlain answers a client that asks for an upgrade.
func (s *sockets) connectPlain(ctx context.Context, c *plainws.Conn, r *http.Request, namespace string) (plainws.Session, error) {
	said, protocol := auth.FromUpgrade(r)
	token, err := s.verifier.Verify(ctx, said)
	if err != nil {
		return plainws.Session{}, err
	}
	client, _, err := s.join(ctx, joinRequest{
		protocol: telemetry.ProtocolWebSocket, peer: &peer{}, namespace: namespace, token: token,
		cursor: r.URL.Query().Get("since"), codec: plainCodec, transport: plainTransport{c},
	})
	if err != nil {
		return plainws.Session{}, err
	}
	return plainws.Session{Subprotocol: protocol, Source: client.conn, Receiver: plainReceiver{client}}, nil
}

// refusePlain answers as the API does.
func refusePlain(w http.ResponseWriter, _ *http.Request, err error) {
	if no, ok := errors.AsType[*plainws.Refusal](err); ok {
		rejection := domain.Reject(no.Reason, "%s", no.Message)
		if no.RetryAfter > 0 {
			rejection.Details = map[string]any{"retryAfter": int(no.RetryAfter.Seconds())}
		}
		err = rejection
	}
	httpapi.WriteProblem(w, err)
}

// plainTransport is a plain WebSocket as the hub knows it.
type plainTransport struct{ conn *plainws.Conn }

func (t plainTransport) Wake() { t.conn.Wake() }

func (t plainTransport) Close(reason actors.EndReason) {
	code, ok := closeCodes[reason]
	if !ok { // a reason newer than the table: nothing is lost by coming back
		code = plainws.StatusTryAgain
	}
	t.conn.Close(code, string(reason))
}

// plainReceiver takes what a client sends.
type plainReceiver struct{ client *socketClient }

func (r plainReceiver) Op(name string, args []json.RawMessage, ack func(any)) {
	r.client.op(name, args, ack)
}

func (r plainReceiver) Closed(reason string) { r.client.closed(reason) }

// plainEncoder encodes for plain WebSockets: an event is its envelope, a
// message {"type":name,"data":data,"pos":cursor}. The session's cursor is the
// pos in its data: one beside that tells a client apart that is not there yet,
// since its unread notifications come next. They leave it at the last one's own
// position, and so the session comes again behind them, as it is by then.
type plainEncoder struct{}

func (plainEncoder) Event(e *domain.Event) []byte {
	return wsframe.Text(e.AppendEnvelope(make([]byte, 0, 256+len(e.Data))))
}

func (p plainEncoder) LastUnread(e *domain.Event, s *actors.Session) []byte {
	return append(p.Event(e), p.Session(s, s.Pos)...)
}

func (p plainEncoder) Session(s *actors.Session, cursor domain.Position) []byte {
	if cursor == s.Pos {
		return wsframe.Text(append(beginMessage("session", s.JSON()), '}'))
	}
	return p.Message("session", s.JSON(), cursor)
}

func (plainEncoder) Message(name string, data json.RawMessage, cursor domain.Position) []byte {
	b := append(beginMessage(name, data), `,"pos":"`...)
	return wsframe.Text(append(cursor.AppendTo(b), `"}`...))
}

// beginMessage makes a message but for its end.
func beginMessage(name string, data json.RawMessage) []byte {
	b := strconv.AppendQuote(append(make([]byte, 0, 64+len(data)), `{"type":`...), name)
	return append(append(b, `,"data":`...), data...)
}
