package socketio

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bms/transport/wsframe"
)

// echoing makes a bare Engine.IO server that sends everything back.
func echoing(t *testing.T, c Config, test func(t *testing.T, r *rig)) {
	t.Helper()
	s, err := NewEngine(c, func(text bool, data []byte, send func([]byte) error) {
		if text {
			_ = send(wsframe.Text(append([]byte{engineMessage}, data...)))
		} else {
			_ = send(wsframe.Binary(data))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	test(t, newRig(t, s))
}

func Test_polling_echoes_text_and_binary_in_one_body_and_in_order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			for _, body := range []string{
				"4hello",
				"4test1\x1e4test2\x1e4test3",
				"4hello\x1ebAQIDBA==",
				"4€\x1eb\x1e4",
			} {
				r.wantPost(sid, body)
				r.wantGet(sid, body)
			}
		})
	})
}

func Test_get_waits_for_packets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			got := make(chan string)
			go func() {
				_, body, _, err := r.try(context.Background(), "GET", "EIO=4&transport=polling&sid="+sid, "")
				if err != nil {
					body = err.Error()
				}
				got <- body
			}()
			synctest.Wait()
			r.wantPost(sid, "4late")
			if body := <-got; body != "4late" {
				t.Errorf("body %q, want 4late", body)
			}
		})
	})
}

func Test_invalid_packet_closes_the_polling_session_after_those_before_it(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, body := range []string{"abc", "4ok\x1eabc", "", "4ok\x1e", "7", "b!!", "4\xff", "2", "0{}"} {
			echoing(t, Config{}, func(t *testing.T, r *rig) {
				sid := r.open()
				if status, _ := r.post(sid, body); status != 400 {
					t.Errorf("POST %q: %d, want 400", body, status)
				}
				r.wantGone(sid)
			})
		}
	})
}

// A library that repeats a GET whose answer was lost takes packets from
// nobody but the next: the session ends, and the client comes back.
func Test_a_repeated_get_closes_the_session(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			get := func(stamp string) (int, string) {
				t.Helper()
				status, body, _, err := r.try(context.Background(), "GET", "EIO=4&transport=polling&t="+stamp+"&sid="+sid, "")
				if err != nil {
					t.Fatal(err)
				}
				return status, body
			}
			for _, stamp := range []string{"a", "b"} {
				r.wantPost(sid, "4"+stamp)
				if status, body := get(stamp); status != 200 || body != "4"+stamp {
					t.Fatalf("GET %s: %d %q, want 200 and the packet", stamp, status, body)
				}
			}
			r.wantPost(sid, "4lost otherwise")
			if status, _ := get("b"); status != 400 {
				t.Errorf("the same GET again: %d, want 400", status)
			}
			r.wantGone(sid)
		})
	})
}

func Test_second_get_at_once_closes_the_session(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			first := make(chan string)
			go func() {
				status, body, _, err := r.try(context.Background(), "GET", "EIO=4&transport=polling&sid="+sid, "")
				if err != nil || status != 200 {
					body = "failed"
				}
				first <- body
			}()
			synctest.Wait()
			if status, body := r.get(sid); status != 400 || body != "" {
				t.Errorf("second GET: %d %q, want 400 and nothing", status, body)
			}
			if body := <-first; body != "1" {
				t.Errorf("first GET: %q, want 1", body)
			}
			r.wantGone(sid)
		})
	})
}

func Test_second_post_at_once_closes_the_session(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			body, send := io.Pipe()
			first := make(chan struct{})
			go func() {
				defer close(first)
				answer, err := r.client.Post("http://server/socket.io/?EIO=4&transport=polling&sid="+sid, "text/plain", body)
				if err == nil { // it is cut off, with an answer or without
					_ = answer.Body.Close()
				}
			}()
			synctest.Wait()
			if status, _ := r.post(sid, "4x"); status != 400 {
				t.Errorf("second POST: %d, want 400", status)
			}
			_ = send.Close()
			<-first
			r.wantGone(sid)
		})
	})
}

func Test_cancelled_get_closes_the_session(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				_, _, _, err := r.try(ctx, "GET", "EIO=4&transport=polling&sid="+sid, "")
				done <- err
			}()
			synctest.Wait()
			cancel()
			if err := <-done; err == nil {
				t.Fatal("GET wasn't cancelled")
			}
			synctest.Wait()
			r.wantGone(sid)
		})
	})
}

func Test_post_of_exactly_the_limit_is_taken_and_one_more_byte_is_413(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{Config: wsframe.Config{MaxPayload: 1000}}, func(t *testing.T, r *rig) {
			sid := r.open()
			r.wantPost(sid, "4"+strings.Repeat("x", 999))
			r.get(sid)
			if status, body := r.post(sid, "4"+strings.Repeat("x", 1000)); status != 413 || body != "" {
				t.Errorf("POST over the limit: %d %q, want 413 and nothing", status, body)
			}
			chunked := io.MultiReader(strings.NewReader("4"), strings.NewReader(strings.Repeat("x", 1000)))
			answer, err := r.client.Post("http://server/socket.io/?EIO=4&transport=polling&sid="+sid, "text/plain", chunked)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != 413 {
				t.Errorf("chunked POST over the limit: %d, want 413", answer.StatusCode)
			}
			r.wantPost(sid, "4alive")
			r.wantGet(sid, "4alive")
		})
	})
}

func Test_octet_stream_is_refused_and_closes_the_session(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			status, _, _ := r.do("POST", "EIO=4&transport=polling&sid="+sid, "4x", "Content-Type", "application/octet-stream")
			if status != 400 {
				t.Errorf("status %d, want 400", status)
			}
			r.wantGone(sid)
		})
	})
}

func Test_close_packet_ends_the_pending_get_with_noop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			first := make(chan string)
			go func() {
				_, body, _, _ := r.try(context.Background(), "GET", "EIO=4&transport=polling&sid="+sid, "")
				first <- body
			}()
			synctest.Wait()
			r.wantPost(sid, "1")
			if body := <-first; body != "6" {
				t.Errorf("pending GET: %q, want 6", body)
			}
			r.wantGone(sid)
		})
	})
}

func Test_close_packet_that_overtakes_its_get_answers_that_one_too(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			r.wantPost(sid, "1")
			r.wantGet(sid, "6")
			r.wantGone(sid)
		})
	})
}

func Test_large_bodies_are_gzipped_for_those_who_take_it(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		echoing(t, Config{}, func(t *testing.T, r *rig) {
			sid := r.open()
			long := "4" + strings.Repeat("long ", 1000)
			for _, c := range []struct {
				accept string
				packed bool
			}{{"gzip, deflate", true}, {"br;q=1, GZIP;q=0.5", true}, {"gzip;q=0", false}, {"", false}} {
				r.wantPost(sid, long)
				_, body, h := r.do("GET", "EIO=4&transport=polling&sid="+sid, "", "Accept-Encoding", c.accept)
				if packed := h.Get("Content-Encoding") == "gzip"; packed != c.packed {
					t.Errorf("Accept-Encoding %q: packed %v, want %v", c.accept, packed, c.packed)
				}
				if c.packed {
					z, err := gzip.NewReader(strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					plain, err := io.ReadAll(z)
					if err != nil {
						t.Fatal(err)
					}
					body = string(plain)
				}
				if body != long {
					t.Errorf("Accept-Encoding %q: %d bytes, want %d", c.accept, len(body), len(long))
				}
			}
			r.wantPost(sid, "4short")
			if _, _, h := r.do("GET", "EIO=4&transport=polling&sid="+sid, "", "Accept-Encoding", "gzip"); h.Get("Content-Encoding") != "" {
				t.Error("short body was packed")
			}
		})
	})
}

func Test_source_is_asked_only_while_a_get_is_pending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &backlog{}
		a := newAccept(Session{Source: source, SID: "s"})
		serving(t, Config{Config: wsframe.Config{MaxPayload: 1000}}, func(s *Server) { s.Of("/", a) }, func(t *testing.T, r *rig) {
			sid := r.open()
			r.wantPost(sid, "40")
			r.wantGet(sid, `40{"sid":"s"}`)
			socket := <-a.sockets
			synctest.Wait()
			before, _ := source.counts()
			for range 50 {
				source.put(AppendEvent(nil, "/", "e", []byte(`"`+strings.Repeat("x", 92)+`"`))) // 101 bytes of body
				socket.Wake()
			}
			synctest.Wait()
			if asked, _ := source.counts(); asked != before {
				t.Errorf("source asked %d times without a GET, want none", asked-before)
			}
			_, body := r.get(sid)
			if n := strings.Count(body, "42["); n < 9 || n > 11 {
				t.Errorf("%d events in a body of about 1000 bytes, want about 10", n)
			}
			got := strings.Count(body, "42[")
			for got < 50 {
				_, body = r.get(sid)
				got += strings.Count(body, "42[")
			}
			if got != 50 {
				t.Errorf("%d events, want 50", got)
			}
		})
	})
}

func Test_get_may_wait_longer_than_the_http_servers_timeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		r := newRigOn(t, s, &http.Server{ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second})
		r.wantGet(r.open(), "2") // after 25s
	})
}
