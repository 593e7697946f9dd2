package socketio

import (
	"testing"
	"testing/synctest"
	"time"

	"bms/transport/wsframe"
)

func Test_sessions_are_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving(t, Config{MaxSessions: 3}, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
			for range 3 {
				r.wantPost(r.open(), "40")
			}
			synctest.Wait()
			if status, _, h := r.do("GET", "EIO=4&transport=polling", ""); status != 503 || h.Get("Retry-After") == "" {
				t.Errorf("status %d, Retry-After %q, want 503 with one: all are in a namespace", status, h.Get("Retry-After"))
			}
			if n := r.server.Sessions(); n != 3 {
				t.Errorf("%d sessions, want 3", n)
			}
		})
	})
}

func Test_who_comes_gets_in_however_many_have_come_and_said_nothing(t *testing.T) {
	for name, c := range map[string]Config{"unauthenticated": {MaxUnauthenticated: 20}, "sessions": {MaxSessions: 20}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccept(Session{SID: "s"})
				serving(t, c, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
					first := r.open()
					for range 39 {
						r.open()
					}
					r.wantGone(first)
					sid := r.open()
					r.wantPost(sid, "40")
					for range 40 {
						r.open()
					}
					r.wantGet(sid, `40{"sid":"s"}`)
					if n := r.server.Sessions(); n > 21 {
						t.Errorf("%d sessions, want 21 at most", n)
					}
				})
			})
		})
	}
}

func Test_the_oldest_that_has_said_nothing_makes_room_first(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serving(t, Config{MaxUnauthenticated: 3}, nil, func(t *testing.T, r *rig) {
			spoke, silent, sockets := r.open(), r.open(), r.openWS()
			r.wantPost(spoke, "3")
			last := r.open() // in place of silent
			r.wantGone(silent)
			r.wantPost(last, "3")
			r.open() // in place of sockets
			sockets.wantClosed()
			r.wantPost(spoke, "3")
			r.open() // in place of the one just now
			r.wantPost(last, "3")
			r.wantPost(spoke, "3")
			if n := r.server.Sessions(); n != 3 {
				t.Errorf("%d sessions, want 3", n)
			}
		})
	})
}

func Test_a_session_that_is_in_no_namespace_any_more_ends(t *testing.T) {
	leave := map[string]func(c *ws, s *Socket){
		"client_leaves":      func(c *ws, _ *Socket) { c.write("41") },
		"server_disconnects": func(c *ws, s *Socket) { s.Disconnect(false); c.want("41") },
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAccept(Session{})
				c := Config{Config: wsframe.Config{PingInterval: time.Hour}, MaxUnauthenticated: 30}
				serving(t, c, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
					for range 25 {
						leave(r.join("/"), <-a.sockets)
					}
					stays := r.join("/")
					again := r.join("/")
					<-a.sockets
					leave(again, <-a.sockets)
					synctest.Wait()
					if n := r.server.Sessions(); n != 27 {
						t.Errorf("%d sessions, want 27", n)
					}
					pass(44 * time.Second)
					again.write("40") // just in time
					again.read()
					pass(2 * time.Second)
					synctest.Wait()
					if n := r.server.Sessions(); n != 2 {
						t.Errorf("%d sessions, want the two that are in a namespace", n)
					}
					for range 31 { // they have given their places in the lobby back
						r.open()
					}
					if n := r.server.Sessions(); n != 32 {
						t.Errorf("%d sessions, want 2 and 30", n)
					}
					pass(time.Minute)
					stays.write("41")
					again.write("41")
					pass(time.Minute)
					synctest.Wait()
					if n := r.server.Sessions(); n != 0 {
						t.Errorf("%d sessions, want none", n)
					}
				})
			})
		})
	}
}
