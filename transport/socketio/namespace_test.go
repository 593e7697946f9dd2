package socketio

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func Test_connect_gives_the_handshake_and_answers_with_the_ids(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccept(Session{SID: "public", PID: "private"})
		serving(t, Config{}, func(s *Server) { s.Of("/ws", a) }, func(t *testing.T, r *rig) {
			c := r.openWS()
			c.write(`40/ws,{"token":"123","pid":"p1","offset":"o1"}`)
			c.want(`40/ws,{"sid":"public","pid":"private"}`)
			h := <-a.handshakes
			if h.Namespace != "/ws" || string(h.Auth) != `{"token":"123","pid":"p1","offset":"o1"}` || h.PID != "p1" || h.Offset != "o1" {
				t.Errorf("handshake %+v", h)
			}
			if h.RemoteAddr != "pipe" || h.Connection != nil {
				t.Errorf("handshake %+v", h)
			}
		})
	})
}

func Test_pid_and_offset_count_only_when_both_are_strings(t *testing.T) {
	for auth, want := range map[string][2]string{
		`{"pid":"p","offset":"o"}`:  {"p", "o"},
		`{"pid":"p"}`:               {},
		`{"pid":"p","offset":1}`:    {},
		`{"pid":null,"offset":"o"}`: {},
		`{"PID":"p","Offset":"o"}`:  {},
		``:                          {},
	} {
		if pid, offset := recovery([]byte(auth)); pid != want[0] || offset != want[1] {
			t.Errorf("%s: %q %q, want %q", auth, pid, offset, want)
		}
	}
}

func Test_namespaces_share_a_connection_and_are_told_apart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newAccept(Session{SID: "a"}), newAccept(Session{SID: "b"})
		c := Config{NewConnection: func() any { return new(int) }}
		serving(t, c, func(s *Server) { s.Of("/", a); s.Of("/custom", b) }, func(t *testing.T, r *rig) {
			c := r.openWS()
			c.write("40")
			c.want(`40{"sid":"a"}`)
			c.write("40/custom,")
			c.want(`40/custom,{"sid":"b"}`)
			one, two := <-a.handshakes, <-b.handshakes
			if one.Connection != two.Connection {
				t.Errorf("connections %v and %v, want the same", one.Connection, two.Connection)
			}
			c.write("41/custom")
			c.write("40/custom")
			c.want(`40/custom,{"sid":"b"}`)
			other := r.join("/custom")
			other.write("41/custom,")
			<-b.handshakes
			if three := <-b.handshakes; three.Connection == one.Connection {
				t.Error("two clients have the same connection")
			}
		})
	})
}

func Test_refused_connect_carries_message_and_data(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer error
		refusing := NamespaceFunc(func(context.Context, *Socket, Handshake) (Session, error) { return Session{}, answer })
		ok := newAccept(Session{SID: "s"})
		serving(t, Config{}, func(s *Server) { s.Of("/no", refusing); s.Of("/yes", ok) }, func(t *testing.T, r *rig) {
			c := r.openWS()
			for _, c2 := range []struct {
				err  error
				want string
			}{
				{&ConnectError{Message: "unauthorized"}, `44/no,{"message":"unauthorized"}`},
				{&ConnectError{Message: "<late>", Data: map[string]any{"code": "token_expired"}}, `44/no,{"message":"<late>","data":{"code":"token_expired"}}`},
				{errors.New("database password is x"), `44/no,{"message":"Internal error"}`},
			} {
				answer = c2.err
				c.write("40/no,")
				c.want(c2.want)
			}
			c.write("40/yes,")
			c.want(`40/yes,{"sid":"s"}`)
		})
	})
}

func Test_connect_that_panics_refuses_and_harms_nobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := NamespaceFunc(func(context.Context, *Socket, Handshake) (Session, error) { panic("mistake") })
		serving(t, Config{}, func(s *Server) { s.Of("/", bad) }, func(t *testing.T, r *rig) {
			c := r.openWS()
			c.write("40")
			c.want(`44{"message":"Internal error"}`)
		})
	})
}

func Test_unknown_namespace_is_refused_and_the_connection_lives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving(t, Config{}, func(s *Server) { s.Of("/", newAccept(Session{SID: "s"})) }, func(t *testing.T, r *rig) {
			c := r.openWS()
			for namespace, want := range map[string]string{
				"/random":         `44/random,{"message":"Invalid namespace"}`,
				"/ws/../ws-admin": `44/ws/../ws-admin,{"message":"Invalid namespace"}`,
			} {
				c.write("40" + namespace)
				c.want(want)
			}
			c.write("40")
			c.want(`40{"sid":"s"}`)
		})
	})
}

func Test_what_connect_emits_comes_after_the_answer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NamespaceFunc(func(_ context.Context, s *Socket, _ Handshake) (Session, error) {
			return Session{SID: "s"}, s.Emit("hello", 1, "two", nil, map[string]string{"a": "<b>"})
		})
		serving(t, Config{}, func(s *Server) { s.Of("/ws", n) }, func(t *testing.T, r *rig) {
			c := r.openWS()
			c.write("40/ws,")
			c.want(`40/ws,{"sid":"s"}`, `42/ws,["hello",1,"two",null,{"a":"<b>"}]`)
		})
	})
}

func Test_no_namespace_in_time_closes_the_session(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{ConnectTimeout: 10 * time.Second}
		serving(t, c, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
			start := time.Now()
			r.openWS().wantClosed()
			if got := time.Since(start); got != 10*time.Second {
				t.Errorf("closed after %v, want 10s", got)
			}
			joined := r.join("/")
			joined.want("2")
		})
	})
}

func Test_connect_has_a_deadline_and_ends_with_the_client(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		slow := NamespaceFunc(func(ctx context.Context, _ *Socket, _ Handshake) (Session, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return Session{}, ctx.Err()
		})
		serving(t, Config{ConnectTimeout: 10 * time.Second}, func(s *Server) { s.Of("/", slow); s.Of("/ok", newAccept(Session{})) }, func(t *testing.T, r *rig) {
			c := r.openWS()
			c.write("40")
			synctest.Wait()
			_ = c.conn.CloseNow()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("context ended with %v, want cancelled", err)
			}
			c = r.join("/ok")
			c.write("40")
			if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("context ended with %v, want its deadline", err)
			}
		})
	})
}

func Test_client_gone_before_its_answer_closes_the_receiver_once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		rec := newRecorder()
		slow := NamespaceFunc(func(context.Context, *Socket, Handshake) (Session, error) {
			<-leave
			return Session{Receiver: rec}, nil
		})
		serving(t, Config{}, func(s *Server) { s.Of("/", slow) }, func(t *testing.T, r *rig) {
			c := r.openWS()
			c.write("40")
			synctest.Wait()
			_ = c.conn.CloseNow()
			synctest.Wait()
			close(leave)
			if reason := <-rec.closed; reason != TransportError {
				t.Errorf("reason %q, want %q", reason, TransportError)
			}
			synctest.Wait()
			if len(rec.closed) != 0 {
				t.Error("closed twice")
			}
		})
	})
}

func Test_packets_against_the_protocol_close_the_connection(t *testing.T) {
	for name, packets := range map[string][]string{
		"unknown type":               {"4abc"},
		"empty message":              {"4"},
		"event before connect":       {`42/other,["x"]`},
		"disconnect before connect":  {`41/other,`},
		"ack before connect":         {`43/other,1[]`},
		"connected twice":            {"40"},
		"connect with an array":      {`40/other,[]`},
		"connect with a string":      {`40/other,"x"`},
		"connect with broken JSON":   {`40/other,{`},
		"connect error":              {`44{"message":"x"}`},
		"disconnect with payload":    {`41["x"]`},
		"payload an object":          {`42{}`},
		"payload a string":           {`42"x"`},
		"no payload":                 {`42`},
		"empty array":                {`42[]`},
		"broken JSON":                {`42["x"`},
		"trailing data":              {`42["x"]]`},
		"NaN":                        {`42["x",NaN]`},
		"ack id of letters":          {`42abc["x"]`},
		"ack id negative":            {`42-1["x"]`},
		"ack id beyond 2^53":         {`429007199254740993["x"]`},
		"ack id of 40 digits":        {`42` + strings.Repeat("9", 40) + `["x"]`},
		"ack without id":             {`43["x"]`},
		"name an object":             {`42[{}]`},
		"name an array":              {`42[[]]`},
		"name null":                  {`42[null]`},
		"name connect":               {`42["connect"]`},
		"name connect_error":         {`42["connect_error"]`},
		"name disconnect":            {`42["disconnect"]`},
		"name disconnecting":         {`42["disconnecting"]`},
		"name newListener":           {`42["newListener"]`},
		"name removeListener":        {`42["removeListener"]`},
		"name __proto__":             {`42["__proto__"]`},
		"name escaped":               {`42["\u0063onnect"]`},
		"name too long":              {`42["` + strings.Repeat("x", 2000) + `"]`},
		"namespace too long":         {`40/` + strings.Repeat("x", 2000) + `,`},
		"depth":                      {`42["x",` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `]`},
		"no attachments announced":   {`450-["x"]`},
		"too many attachments":       {`4511-["x"]`},
		"attachments not a number":   {`45x-["x"]`},
		"attachments without dash":   {`451["x"]`},
		"text for an attachment":     {`451-["x",{"_placeholder":true,"num":0}]`, `42["y"]`},
		"binary without packet":      {"bAAAA"},
		"placeholder out of range":   {`451-["x",{"_placeholder":true,"num":1}]`, "bAAAA"},
		"placeholder negative":       {`451-["x",{"_placeholder":true,"num":-1}]`, "bAAAA"},
		"placeholder a string":       {`451-["x",{"_placeholder":true,"num":"0"}]`, "bAAAA"},
		"placeholder a fraction":     {`451-["x",{"_placeholder":true,"num":0.5}]`, "bAAAA"},
		"placeholder deep":           {`451-["x",{"a":[{"_placeholder":true,"num":7}]}]`, "bAAAA"},
		"placeholder without number": {`451-["x",{"_placeholder":true}]`, "bAAAA"},
		"binary not base64":          {"b$$$$"},
		"engine type unknown":        {"9"},
		"engine open":                {"0{}"},
		"empty":                      {""},
		"not UTF-8":                  {"42[\"\xff\"]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := newRecorder()
				a := newAccept(Session{Receiver: rec})
				serving(t, Config{}, func(s *Server) { s.Of("/", a); s.Of("/other", newAccept(Session{})) }, func(t *testing.T, r *rig) {
					c := r.join("/")
					for _, p := range packets {
						c.write(p)
					}
					c.wantClosed()
					if reason := <-rec.closed; reason != ParseError {
						t.Errorf("reason %q, want %q", reason, ParseError)
					}
					synctest.Wait()
					if len(rec.events) != 0 {
						t.Errorf("event %s was delivered", (<-rec.events).text())
					}
				})
			})
		})
	}
}

func Test_unusual_packets_that_are_allowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := newRecorder()
		a := newAccept(Session{Receiver: rec})
		serving(t, Config{}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			c := r.join("/")
			for packet, want := range map[string]string{
				`42[1,"x"]`:               `1["x"]`,
				`42["",{"a":1}]`:          `[{"a":1}]`,
				`42["error"]`:             `error[]`,
				`42/,["root"]`:            `root[]`,
				`42["e","\ud800"]`:        `e["\ud800"]`,
				`42["e",1e308,-0]`:        `e[1e308,-0]`,
				`42["e",{"x":1,"x":2}]`:   `e[{"x":1,"x":2}]`,
				`43123[]`:                 "", // an ack nobody asked for
				`6`:                       "", // noop
				`5`:                       "", // a late upgrade
				`429007199254740991["e"]`: `e[]`,
			} {
				c.write(packet)
				if want == "" {
					continue
				}
				if got := (<-rec.events).text(); got != want {
					t.Errorf("%s: %s, want %s", packet, got, want)
				}
			}
		})
	})
}

func Test_namespaces_are_checked_when_added(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.Of("/a", newAccept(Session{}))
	for _, name := range []string{"a", "/a,b", "/a", ""} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("namespace %q was added", name)
				}
			}()
			s.Of(name, newAccept(Session{}))
		}()
	}
	var _ http.Handler = s
}
