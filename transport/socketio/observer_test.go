package socketio

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
)

// tally counts what an Observer is told.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(what ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[fmt.Sprint(what...)]++
}

func (c *tally) observer() Observer {
	return Observer{
		Closed:  func(tr Transport, r Reason) { c.add("closed ", tr, ": ", r) },
		Refused: func(reason string) { c.add("refused: ", reason) },
	}
}

func Test_observer_is_told_what_happens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &tally{counts: map[string]int{}}
		serving(t, Config{Observer: c.observer()}, func(s *Server) { s.Of("/", newAccept(Session{})) }, func(t *testing.T, r *rig) {
			r.do("GET", "EIO=3&transport=polling", "")
			r.do("GET", "EIO=4&transport=polling", "", "Origin", "http://evil.example")
			r.get("unknown")
			first := r.join("/")
			first.write("40/nowhere")
			first.read()
			first.write("41")
			synctest.Wait()
			_ = first.conn.CloseNow()
			sid := r.open()
			up := r.dialWS("EIO=4&transport=websocket&sid=" + sid)
			up.write("2probe")
			up.want("3probe")
			up.write("5")
			up.write("4abc")
			up.wantClosed()
			r.post(r.open(), "abc")
			synctest.Wait()
			for what, want := range map[string]int{
				"refused: unsupported version":      1,
				"refused: forbidden origin":         1,
				"refused: unknown session":          1,
				"refused: unknown namespace":        1,
				"closed websocket: transport error": 1,
				"closed websocket: parse error":     1,
				"closed polling: parse error":       1,
			} {
				if got := c.counts[what]; got != want {
					t.Errorf("%s: told %d times, want %d", what, got, want)
				}
			}
		})
	})
}
