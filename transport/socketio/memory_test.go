package socketio

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

// A stranger's request may be as large as net/http lets it; what is kept of it
// for the life of a session must not be.
func Test_a_session_keeps_nothing_of_its_requests(t *testing.T) {
	const sessions = 500
	var b strings.Builder
	for n := range 8000 { // 4 bytes each, and 100 or so as a map's entry
		fmt.Fprintf(&b, "&%c%c%c", 'a'+n%26, 'a'+n/26%26, 'a'+n/676)
	}
	query := b.String()
	synctest.Test(t, func(t *testing.T) {
		all := NamespaceFunc(func(context.Context, *Socket, Handshake) (Session, error) { return Session{}, nil })
		serving(t, Config{}, func(s *Server) { s.Of("/", all) }, func(t *testing.T, r *rig) {
			before := heap()
			for range sessions {
				_, body, _ := r.do("GET", "EIO=4&transport=polling"+query, "")
				sid := sidOf(t, body)
				r.wantPost(sid, "40")
				if status, _, _ := r.do("GET", "EIO=4&transport=polling&sid="+sid+"&t="+strings.Repeat("t", 30_000), ""); status != 200 {
					t.Fatalf("GET: %d, want 200", status)
				}
			}
			if n := r.server.Sessions(); n != sessions {
				t.Fatalf("%d sessions, want %d", n, sessions)
			}
			if got := (heap() - before) / sessions; got > 20<<10 {
				t.Errorf("%d bytes a session, want 20 KB at most", got)
			}
		})
	})
}

// heap is what is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func Test_who_has_not_joined_may_send_little(t *testing.T) {
	long := "40" + fmt.Sprintf(`{"token":%q}`, strings.Repeat("x", earlyPayload))
	large := "42" + fmt.Sprintf(`["event",%q]`, strings.Repeat("x", earlyPayload))
	t.Run("polling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			rec := newRecorder()
			serving(t, Config{}, func(s *Server) { s.Of("/", newAccept(Session{Receiver: rec})) }, func(t *testing.T, r *rig) {
				sid := r.open()
				if status, _ := r.post(sid, long); status != 413 {
					t.Errorf("status %d before it has joined, want 413", status)
				}
				r.wantPost(sid, "40")
				synctest.Wait()
				r.wantPost(sid, large)
				if e := <-rec.events; e.name != "event" {
					t.Errorf("event %q, want event", e.name)
				}
			})
		})
	})
	t.Run("websocket", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			rec := newRecorder()
			serving(t, Config{}, func(s *Server) { s.Of("/", newAccept(Session{Receiver: rec})) }, func(t *testing.T, r *rig) {
				early := r.openWS()
				early.write(long)
				early.wantClosed()
				c := r.join("/")
				c.write(large)
				if e := <-rec.events; e.name != "event" {
					t.Errorf("event %q, want event", e.name)
				}
			})
		})
	})
	t.Run("upgrade", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			rec := newRecorder()
			serving(t, Config{}, func(s *Server) { s.Of("/", newAccept(Session{Receiver: rec})) }, func(t *testing.T, r *rig) {
				sid := r.open()
				c := r.dialWS("EIO=4&transport=websocket&sid=" + sid) // before it has joined
				r.wantPost(sid, "40")
				r.get(sid)
				c.write("2probe")
				c.want("3probe")
				c.write("5")
				c.write(large)
				if e := <-rec.events; e.name != "event" {
					t.Errorf("event %q, want event", e.name)
				}
			})
		})
	})
}
