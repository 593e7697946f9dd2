package plainws

import (
	"encoding/json"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bms/transport/wsframe"
)

// pings counts the pings that a client gets, and answers them if it is told to.
func (b *bare) pings(answer bool) *atomic.Int32 {
	n := new(atomic.Int32)
	go func() {
		for {
			var head [2]byte
			if _, err := io.ReadFull(b.reader, head[:]); err != nil {
				return
			}
			if _, err := b.reader.Discard(int(head[1])); err != nil {
				return
			}
			if head[0] != 0x89 {
				continue
			}
			n.Add(1)
			if answer {
				_, _ = io.WriteString(b.conn, masked(0x8a, ""))
			}
		}
	}()
	return n
}

func Test_a_quiet_client_is_pinged_every_interval_and_stays(t *testing.T) {
	for name, c := range map[string]Config{
		"default":                      {},
		"timeout_longer_than_interval": {Config: wsframe.Config{PingInterval: 25 * time.Second, PingTimeout: time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			serving(t, c, newEverybody(Session{}), func(r *rig) {
				pings := r.upgrade().pings(true)
				for i := range 10 {
					pass(25*time.Second - 1)
					synctest.Wait()
					if got := int(pings.Load()); got != i {
						t.Fatalf("%d pings before %v, want %d", got, time.Duration(i+1)*25*time.Second, i)
					}
					pass(1)
					synctest.Wait()
				}
				r.wantClosed()
			})
		})
	}
}

func Test_a_silent_client_is_closed_after_interval_and_timeout(t *testing.T) {
	var rec *recorder
	bubble(t, Config{}, func() Session { rec = newRecorder(); return Session{Receiver: rec} }, func(r *rig, _ <-chan *Conn) {
		start := time.Now()
		c := r.upgrade()
		pings := c.pings(false)
		if reason := <-rec.closed; reason != ReasonSilent {
			t.Errorf("closed for %q, want %q", reason, ReasonSilent)
		}
		if got := time.Since(start); got != 45*time.Second || pings.Load() != 1 {
			t.Errorf("closed after %v and %d pings, want 45 s and 1", got, pings.Load())
		}
		r.wantClosed(closing{StatusTooSlow, ReasonSilent})
	})
}

// A peer that is gone without a word: its machine lost power, or the network
// between.
func Test_a_half_open_peer_leaves_nothing_behind(t *testing.T) {
	source := &backlog{}
	bubble(t, Config{}, func() Session { return Session{Source: source} }, func(r *rig, _ <-chan *Conn) {
		r.upgrade()
		source.put(long(1 << 20))
		pass(45*time.Second + closeGrace)
		synctest.Wait()
		if n := r.server.Connections(); n != 0 {
			t.Errorf("%d connections, want 0", n)
		}
	})
}

func Test_any_sign_of_life_counts(t *testing.T) {
	for name, frame := range map[string]string{
		"message": masked(0x81, `{"op":"x"}`), "pong": masked(0x8a, ""), "ping": masked(0x89, ""),
	} {
		t.Run(name, func(t *testing.T) {
			serving(t, Config{}, newEverybody(Session{Receiver: echo{}}), func(r *rig) {
				c := r.upgrade()
				pings := c.pings(false)
				for range 10 {
					pass(20 * time.Second)
					c.send(frame)
				}
				synctest.Wait()
				if n := pings.Load(); n != 0 {
					t.Errorf("%d pings to a client that is heard, want none", n)
				}
				pass(45*time.Second - 1)
				r.wantClosed()
				pass(1)
				r.wantClosed(closing{StatusTooSlow, ReasonSilent})
			})
		})
	}
}

func Test_a_message_that_never_ends_is_not_waited_for(t *testing.T) {
	var rec *recorder
	bubble(t, Config{}, func() Session { rec = newRecorder(); return Session{Receiver: rec} }, func(r *rig, _ <-chan *Conn) {
		c := r.upgrade()
		c.pings(true) // alive all the time
		start := time.Now()
		c.send(masked(0x01, "{"))
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				select {
				case <-time.After(time.Second):
					_, _ = io.WriteString(c.conn, masked(0x00, "x"))
				case <-stop:
					return
				}
			}
		}()
		if reason := <-rec.closed; reason != ReasonTooSlow {
			t.Errorf("closed for %q, want %q", reason, ReasonTooSlow)
		}
		if got := time.Since(start); got > 2*45*time.Second {
			t.Errorf("closed after %v, want at most 90 s", got)
		}
		r.wantClosed(closing{StatusTooSlow, ReasonTooSlow})
	})
}

func Test_a_large_message_over_a_slow_line_is_taken(t *testing.T) {
	var rec *recorder
	bubble(t, Config{}, func() Session { rec = newRecorder(); return Session{Receiver: rec} }, func(r *rig, _ <-chan *Conn) {
		c := r.upgrade()
		c.pings(true)
		c.send(masked(0x01, `{"op":"x","args":["`))
		for range 40 {
			pass(time.Second)
			c.send(masked(0x00, long(100)))
			synctest.Wait()
		}
		c.send(masked(0x80, `"]}`))
		o := <-rec.ops
		var arg string
		if err := json.Unmarshal(o.args[0], &arg); err != nil || len(arg) != 4000 {
			t.Errorf("argument of %d bytes, %v, want 4000", len(arg), err)
		}
		r.wantClosed()
	})
}
