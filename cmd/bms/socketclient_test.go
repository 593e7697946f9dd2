package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"bms/domain"
	"bms/transport/telemetry"
)

// protocols are the two that these tests speak.
var protocols = []string{telemetry.ProtocolSocketIO, telemetry.ProtocolWebSocket}

// overBoth runs a test over each protocol, with a node of its own.
func overBoth(t *testing.T, test func(t *testing.T, n *testNode, protocol string)) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			n := startNode(t, t.TempDir(), "--connect-rate", "1000/1m")
			for _, b := range []string{"b1", "b2"} {
				n.commit(t, domain.CommandOpenBranch, b, domain.OpenBranch{BranchID: b, Name: b})
				n.commit(t, domain.CommandCreateProduct, b, domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "Tea", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1000))})
			}
			test(t, n, protocol)
		})
	}
}

// commit gives an admin's command that has to be accepted, each time anew.
func (n *testNode) commit(tb testing.TB, commandType, branchID string, body any) *domain.Commit {
	tb.Helper()
	commit, err := n.app.commands.do(tb.Context(), domain.Command{
		ID: uuid.NewString(), Type: commandType, BranchID: branchID,
		Identity: domain.Identity{UserID: "boss", Role: domain.RoleAdmin}, At: time.Now(), Body: body,
	})
	if err != nil {
		tb.Fatalf("%s in %s: %v", commandType, branchID, err)
	}
	return commit
}

// sell changes the stock of a branch and returns the position of the event.
func (n *testNode) sell(tb testing.TB, branchID string) string {
	tb.Helper()
	return n.commit(tb, domain.CommandAdjustStock, branchID, domain.AdjustStock{ProductID: "p1", Delta: -1, Reason: "sold"}).Events[0].Pos.String()
}

// patience bounds each wait for a frame, for the case that it never comes.
const patience = time.Minute

// testSocket is a client in a namespace, over either protocol.
type testSocket struct {
	t         testing.TB
	conn      *websocket.Conn
	protocol  string
	namespace string
	asked     int
	events    []testEvent // that came before an answer
	session   testSession
	cursor    string // that the session came with
	at        string // where a plain client goes on, kept as the README does
}

type testSession struct {
	SID       string   `json:"sid"`
	UserID    string   `json:"userId"`
	Role      string   `json:"role"`
	Rooms     []string `json:"rooms"`
	Pos       string   `json:"pos"`
	Recovered bool     `json:"recovered"`
}

// testEvent is an event or a message.
type testEvent struct {
	Type     string          `json:"type"`
	BranchID string          `json:"branchId"`
	Pos      string          `json:"pos"`
	Data     json.RawMessage `json:"data"`
}

// testAnswer is an ack.
type testAnswer struct {
	OK    bool     `json:"ok"`
	Rooms []string `json:"rooms"`
	Pos   string   `json:"pos"`
	Error struct {
		Code       string `json:"code"`
		RetryAfter int    `json:"retryAfter"`
	} `json:"error"`
}

// socketEnd is how a connection ended: a close code, 0 for none, or that the
// namespace was disconnected.
type socketEnd struct {
	code         websocket.StatusCode
	disconnected bool
}

func (e socketEnd) Error() string {
	return fmt.Sprintf("ended with code %d, disconnected %v", e.code, e.disconnected)
}

// connect opens a socket, which has to be let in.
func (n *testNode) connect(t testing.TB, protocol, namespace, token, since string) *testSocket {
	t.Helper()
	s, err := n.tryConnect(t, protocol, namespace, token, since)
	if err != nil {
		t.Fatalf("%s to %s: %v", protocol, namespace, err)
	}
	return s
}

// tryConnect opens a socket. The error begins with the code of a refusal.
func (n *testNode) tryConnect(t testing.TB, protocol, namespace, token, since string) (*testSocket, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := &testSocket{t: t, protocol: protocol, namespace: namespace}
	var err error
	if protocol == telemetry.ProtocolWebSocket {
		s.conn, err = n.dialPlain(ctx, namespace+"?since="+since, http.Header{"Authorization": {"Bearer " + token}})
		if err != nil {
			return nil, err
		}
	} else {
		if s.conn, _, err = websocket.Dial(ctx, "ws://"+n.addr+"/socket.io/?EIO=4&transport=websocket", nil); err != nil {
			return nil, err
		}
		if err := s.conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `40%s,{"token":%q,"since":%q}`, namespace, token, since)); err != nil {
			return nil, err
		}
	}
	s.conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = s.conn.CloseNow() })
	e, err := s.tryNext()
	if err != nil {
		return nil, err
	}
	if e.Type != "session" {
		return nil, fmt.Errorf("first frame %+v, want the session", e)
	}
	if err := json.Unmarshal(e.Data, &s.session); err != nil {
		return nil, fmt.Errorf("session %s: %w", e.Data, err)
	}
	if s.cursor = e.Pos; s.cursor == "" {
		s.cursor = s.session.Pos
	}
	return s, nil
}

// dialPlain opens a plain WebSocket. The error begins with the code of a
// refusal.
func (n *testNode) dialPlain(ctx context.Context, path string, header http.Header) (*websocket.Conn, error) {
	conn, answer, err := websocket.Dial(ctx, "ws://"+n.addr+path, &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		return conn, nil
	}
	if answer == nil {
		return nil, err
	}
	defer answer.Body.Close()
	var problem struct{ Code string }
	if decodeErr := json.NewDecoder(answer.Body).Decode(&problem); decodeErr != nil {
		return nil, errors.Join(err, decodeErr)
	}
	return nil, fmt.Errorf("%s %d", problem.Code, answer.StatusCode)
}

func (s *testSocket) write(message string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		s.t.Fatalf("write: %v", err)
	}
}

// send sends an operation and returns its id.
func (s *testSocket) send(op string, args ...any) int {
	s.t.Helper()
	s.asked++
	if s.protocol == telemetry.ProtocolWebSocket {
		message, err := json.Marshal(map[string]any{"op": op, "id": s.asked, "args": args})
		if err != nil {
			s.t.Fatal(err)
		}
		s.write(string(message))
		return s.asked
	}
	message, err := json.Marshal(append([]any{op}, args...))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("42" + s.namespace + "," + strconv.Itoa(s.asked) + string(message))
	return s.asked
}

// ask sends an operation and returns the answer.
func (s *testSocket) ask(op string, args ...any) testAnswer {
	s.t.Helper()
	id := s.send(op, args...)
	got, raw := s.answer()
	var a testAnswer
	if err := json.Unmarshal(raw, &a); err != nil || got != id {
		s.t.Fatalf("answer %s to %d, %v, want one to %d", raw, got, err, id)
	}
	return a
}

// answer waits for the next answer; events before it are kept for next.
func (s *testSocket) answer() (id int, data json.RawMessage) {
	s.t.Helper()
	for {
		e, id, err := s.read()
		switch {
		case err != nil:
			s.t.Fatalf("wait for an answer: %v", err)
		case id != 0:
			return id, e.Data
		default:
			s.events = append(s.events, e)
		}
	}
}

// next waits for the next event.
func (s *testSocket) next() testEvent {
	s.t.Helper()
	e, err := s.tryNext()
	if err != nil {
		s.t.Fatalf("wait for an event: %v", err)
	}
	return e
}

func (s *testSocket) tryNext() (testEvent, error) {
	if len(s.events) > 0 {
		e := s.events[0]
		s.events = s.events[1:]
		return e, nil
	}
	e, id, err := s.read()
	if id != 0 {
		err = errors.Join(err, fmt.Errorf("answer %s, want an event", e.Data))
	}
	return e, err
}

// want waits for events at these positions and no others.
func (s *testSocket) want(positions ...string) {
	s.t.Helper()
	for _, want := range positions {
		if e := s.next(); e.Pos != want {
			s.t.Fatalf("%s of %q at %s, want the event at %s", e.Type, e.BranchID, e.Pos, want)
		}
	}
}

// end waits for the end and returns what came before.
func (s *testSocket) end() (socketEnd, []testEvent) {
	s.t.Helper()
	events := s.events
	for {
		e, id, err := s.read()
		if end, ok := errors.AsType[socketEnd](err); ok {
			return end, events
		}
		if err != nil {
			s.t.Fatalf("wait for the end: %v", err)
		}
		if id == 0 {
			events = append(events, e)
		}
	}
}

// read waits for an event, an answer (with its id) or the end.
func (s *testSocket) read() (e testEvent, id int, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		_, message, err := s.conn.Read(ctx)
		if ctx.Err() != nil {
			return e, 0, ctx.Err()
		}
		if err != nil {
			return e, 0, socketEnd{code: max(websocket.CloseStatus(err), 0)}
		}
		if s.protocol == telemetry.ProtocolWebSocket {
			var ack struct {
				ID   int             `json:"id"`
				Data json.RawMessage `json:"data"`
			}
			if strings.HasPrefix(string(message), `{"type":"ack"`) {
				err := json.Unmarshal(message, &ack)
				return testEvent{Data: ack.Data}, ack.ID, err
			}
			err := json.Unmarshal(message, &e)
			if err == nil && s.keep(e) {
				e = testEvent{}
				continue
			}
			return e, 0, err
		}
		if done, e, id, err := s.packet(ctx, string(message)); done || err != nil {
			return e, id, err
		}
	}
}

// keep keeps the cursor of a plain client. It reports whether the frame was that
// and nothing else: the session, come again.
func (s *testSocket) keep(e testEvent) (only bool) {
	only = e.Type == "session" && s.at != ""
	if e.Type == "session" && e.Pos == "" {
		var session testSession
		if err := json.Unmarshal(e.Data, &session); err != nil {
			s.t.Errorf("session %s: %v", e.Data, err)
		}
		e.Pos = session.Pos
	}
	s.at = e.Pos
	return only
}

// packet reads a Socket.IO packet; done is false for one that is of no
// concern.
func (s *testSocket) packet(ctx context.Context, message string) (done bool, e testEvent, id int, err error) {
	if message == "2" {
		return false, e, 0, s.conn.Write(ctx, websocket.MessageText, []byte("3"))
	}
	kind, rest := message[:min(2, len(message))], strings.TrimPrefix(message[min(2, len(message)):], s.namespace+",")
	switch kind {
	case "41":
		return true, e, 0, socketEnd{disconnected: true}
	case "44":
		var refused struct {
			Data struct{ Code string }
		}
		err := json.Unmarshal([]byte(rest), &refused)
		return true, e, 0, errors.Join(errors.New(refused.Data.Code), err)
	case "43":
		at := strings.IndexByte(rest, '[')
		id, err = strconv.Atoi(rest[:at])
		var args []json.RawMessage
		err = errors.Join(err, json.Unmarshal([]byte(rest[at:]), &args))
		if err == nil {
			e.Data = args[0]
		}
		return true, e, id, err
	case "42":
		var args []json.RawMessage
		if err := json.Unmarshal([]byte(rest), &args); err != nil || len(args) < 2 {
			return true, e, 0, fmt.Errorf("event %q: %w", rest, err)
		}
		var name string
		if err := json.Unmarshal(args[0], &name); err != nil {
			return true, e, 0, err
		}
		if name == "session" || name == "stats" {
			e = testEvent{Type: name, Data: args[1]}
			return true, e, 0, json.Unmarshal(args[len(args)-1], &e.Pos)
		}
		return true, e, 0, json.Unmarshal(args[1], &e)
	}
	return false, e, 0, nil
}
