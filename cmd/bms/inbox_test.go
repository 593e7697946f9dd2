package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bms/domain"
	"bms/transport/telemetry"
)

// notify sends a notification and returns its event as clients get it, and its
// position.
func (o *office) notify(n *testNode, audience, title string) (raw, pos string) {
	o.t.Helper()
	var done struct {
		Events []json.RawMessage
		Pos    string
	}
	o.do(n, "POST", "/api/notifications", fmt.Sprintf(`{"audience":%q,"severity":"info","title":%q,"message":"<m>"}`, audience, title), &done)
	return string(done.Events[0]), done.Pos
}

// unread is what GET /api/notifications says.
func (n *testNode) unread(t *testing.T, token string) (items []string) {
	t.Helper()
	o := &office{t, newClient(t, 1), token}
	var page struct{ Items []json.RawMessage }
	o.do(n, "GET", "/api/notifications", "", &page)
	for _, item := range page.Items {
		items = append(items, string(item))
	}
	return items
}

// seen waits for the event at a position, empty for none, and returns the
// positions of all events that came to a client since it was asked last.
func (s *testSocket) seen(last string) (all []string) {
	s.t.Helper()
	for last != "" && !slices.Contains(all, last) {
		all = append(all, s.next().Pos)
	}
	a := s.ask("ping")
	if !a.OK {
		s.t.Fatalf("ping: %+v", a)
	}
	for _, e := range s.events {
		all = append(all, e.Pos)
	}
	s.events = nil
	if last != "" && a.Pos < last {
		s.t.Errorf("ping says %s, want no less than %s", a.Pos, last)
	}
	return all
}

// Who is offline gets what was sent to him alone on the next connection, on
// any device, after session and in log order, until it is acknowledged on one
// of them.
func TestInbox_keeps_notifications_for_a_user_who_is_offline(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			dir := t.TempDir()
			n, o := startNode(t, dir, "--connect-rate", "1000/1m"), newOffice(t)
			ann := signed("ann", domain.RoleStaff, "b1")
			o.do(n, "POST", "/api/branches", `{"branchId":"b1","name":"Shop"}`, nil)
			var sent, at []string
			for i := range 5 {
				raw, pos := o.notify(n, "notifications:ann", fmt.Sprintf("to Ann %d", i))
				sent, at = append(sent, raw), append(at, pos)
				o.notify(n, "notifications:bob", "to Bob")
				o.notify(n, "branch:b1", "to the branch")
			}
			var devices []*testSocket
			device := func(since string) *testSocket {
				s := n.connect(t, protocol, domain.NamespaceAll, ann, since)
				devices = append(devices, s)
				return s
			}
			check := func(when string, s *testSocket, want ...string) {
				t.Helper()
				last := ""
				if len(want) > 0 {
					last = want[len(want)-1]
				}
				if got := s.seen(last); !slices.Equal(got, want) {
					t.Errorf("%s: got %v, want %v", when, got, want)
				}
			}
			phone, tablet := device(""), device("")
			check("on the phone", phone, at...)
			check("on the tablet", tablet, at...)
			if got := n.unread(t, ann); !slices.Equal(got, sent) {
				t.Errorf("over HTTP: %s, want %s", got, sent)
			}
			if a := phone.ask("notifications:ack", at[1]); !a.OK {
				t.Errorf("ack: %+v", a)
			}
			check("on the tablet, after some were acknowledged on the phone", device(""), at[2:]...)

			// One who is there gets it at once, and again elsewhere.
			_, pos := o.notify(n, "notifications:ann", "live")
			at = append(at, pos)
			check("live on the phone", phone, pos)
			check("on another device", device(""), at[2:]...)

			// With a cursor: what came after it, by the log itself.
			resumed := device(at[3])
			if !resumed.session.Recovered {
				t.Error("recovered is false, want true")
			}
			var own []string
			for _, pos := range resumed.seen(at[5]) {
				if slices.Contains(at, pos) {
					own = append(own, pos)
				}
			}
			if !slices.Equal(own, at[4:]) {
				t.Errorf("after a cursor: got %v, want %v", own, at[4:])
			}

			for _, s := range devices { // else the node takes its time to send them away
				_ = s.conn.CloseNow()
			}
			n.stop()
			n = startNode(t, dir, "--connect-rate", "1000/1m")
			phone = device("")
			check("after a restart", phone, at[2:]...)
			if phone.cursor >= at[2] || phone.session.Pos < at[len(at)-1] {
				t.Errorf("the session is at %s and the log goes on at %s, want the first before %s and the other not before %s",
					phone.cursor, phone.session.Pos, at[2], at[len(at)-1])
			}
			if a := phone.ask("notifications:ack", phone.session.Pos); !a.OK {
				t.Errorf("ack of the end of what was unread: %+v", a)
			}
			check("all acknowledged", device(""))
			if got := n.unread(t, ann); len(got) != 0 {
				t.Errorf("over HTTP: %s, want none", got)
			}
			if got := n.unread(t, signed("bob", domain.RoleStaff, "b1")); len(got) != 5 {
				t.Errorf("Bob has %d unread, want 5", len(got))
			}
		})
	}
}

// The cursor of a plain client is the pos of what came last, a session's that in
// its data: when unread notifications have brought it into the past, the session
// that follows them brings it back (invariant 4).
func TestInbox_leaves_no_plain_client_in_the_past(t *testing.T) {
	n, o := startNode(t, t.TempDir(), "--connect-rate", "1000/1m"), newOffice(t)
	o.do(n, "POST", "/api/branches", `{"branchId":"b1","name":"Shop"}`, nil)
	n.commit(t, domain.CommandCreateProduct, "b1", domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "Tea", PriceMinor: 100, Currency: "EUR", Stock: new(int64(1000))})
	token := signed("ann", domain.RoleStaff, "b1")
	n.sell(t, "b1")
	envelope, unread := o.notify(n, "notifications:ann", "hello")
	for range 3 {
		n.sell(t, "b1")
	}
	head := n.app.log.Head().String()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := n.dialPlain(ctx, "/ws?token="+token, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw := &testSocket{t: t, conn: conn, protocol: telemetry.ProtocolWebSocket}
	first, second, third := raw.raw(), raw.raw(), raw.raw()
	_ = conn.CloseNow()
	behind := strings.Replace(first[:strings.LastIndex(first, `,"pos":"`)], `"recovered":false`, `"recovered":true`, 1) + "}"
	if second != envelope || !strings.HasPrefix(first, `{"type":"session","data":{`) || third != behind {
		t.Errorf("got %s\n%s\n%s\nwant the session with a pos before %s, the notification, the session without, recovered", first, second, third, unread)
	}

	c := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, token, "")
	if c.at >= unread {
		t.Errorf("the session is at %s, want it before %s", c.at, unread)
	}
	c.want(unread)
	if cut := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, token, c.at); !cut.session.Recovered || cut.session.Pos != unread {
		t.Errorf("cut off behind the notification: session %+v, want it to go on at %s", cut.session, unread)
	}
	if got := c.seen(""); len(got) != 0 || c.at != head {
		t.Errorf("then came %v and it is at %s, want nothing and the end of the log, %s", got, c.at, head)
	}
	_ = c.conn.CloseNow()
	back := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, token, c.at)
	if got := back.seen(""); !back.session.Recovered || len(got) != 0 {
		t.Errorf("back with that cursor: recovered %t, %v, want true and nothing", back.session.Recovered, got)
	}
	back.want(n.sell(t, "b1"))
}

// An acknowledgement of what is not there is refused, one of what is
// acknowledged already leaves no trace.
func TestInbox_acknowledges_only_what_there_is(t *testing.T) {
	n, o := startNode(t, t.TempDir()), newOffice(t)
	_, pos := o.notify(n, "notifications:ann", "hello")
	c := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, signed("ann", domain.RoleStaff, "b1"), "")
	if got := c.seen(pos); !slices.Equal(got, []string{pos}) {
		t.Errorf("unread %v, want %s", got, pos)
	}
	head := n.app.log.Head()
	beyond, foreign := head, head
	beyond.Seq++
	foreign.Epoch--
	for name, args := range map[string][]any{
		"beyond_the_end": {beyond.String()}, "of_another_log": {foreign.String()}, "no_position": {"x"}, "a_number": {7},
		"an_object": {map[string]string{"pos": pos}}, "null": {nil}, "two": {pos, pos}, "none": {},
	} {
		if a := c.ask("notifications:ack", args...); a.OK || a.Error.Code != domain.CodeValidation {
			t.Errorf("%s: %+v, want validation", name, a)
		}
	}
	if a := c.ask("command", map[string]any{"type": "notification.ack", "body": map[string]string{"pos": beyond.String()}}); a.OK || a.Error.Code != domain.CodeValidation {
		t.Errorf("as a command: %+v, want validation", a)
	}
	if got := n.app.log.Head(); got != head {
		t.Fatalf("the log is at %s, want it at %s still", got, head)
	}
	for range 3 {
		if a := c.ask("notifications:ack", pos); !a.OK {
			t.Errorf("ack: %+v", a)
		}
	}
	if got := n.app.log.Head().Seq - head.Seq; got != 1 {
		t.Errorf("3 acknowledgements of one made %d commits, want 1", got)
	}
	var page struct{ Items []json.RawMessage }
	o.do(n, "GET", "/api/events?limit=500", "", &page)
	for _, item := range page.Items {
		if strings.Contains(string(item), domain.TypeNotificationsAcked) {
			t.Errorf("the log shows %s, which is internal", item)
		}
	}
	if got := c.seen(""); len(got) != 0 {
		t.Errorf("the client is told %v of it, want nothing", got)
	}
}

func TestInbox_is_the_user_s_own(t *testing.T) {
	n, o := startNode(t, t.TempDir()), newOffice(t)
	_, pos := o.notify(n, "notifications:ann", "hello")
	eve := n.connect(t, telemetry.ProtocolWebSocket, domain.NamespaceAll, signed("eve", domain.RoleAdmin), "")
	if a := eve.ask("notifications:ack", pos); !a.OK {
		t.Errorf("ack: %+v", a)
	}
	if got := n.unread(t, signed("ann", domain.RoleStaff, "b1")); len(got) != 1 {
		t.Errorf("Ann has %d unread, want 1: Eve acknowledges her own", len(got))
	}
	if got := n.unread(t, signed("eve", domain.RoleAdmin)); len(got) != 0 {
		t.Errorf("Eve, an admin, has %d unread, want none: they are Ann's", len(got))
	}
}
